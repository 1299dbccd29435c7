"""Google's speech embedding in torch, with the weights of a TensorFlow Lite file.

A log-mel spectrogram (32 bands, 60 to 3,800 Hz, 25 ms every 10 ms) enters twenty convolutions with five pools, which
have no padding in time: 76 frames give one embedding of 96 numbers, and every 8 more give another. Batch normalisation
is folded into the convolutions. The spectrogram is that of openWakeWord, which scales samples to 16 bits.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.compat import workaround_torchaudio
from bench.errors import DataError
from bench.extras import command

from . import tflite

PACKAGE = "pyopen-wakeword"
WIDTH, RATE = 96, 16_000
_FRAMES, _HOP, _WINDOW, _FFT, _BANDS = 76, 160, 400, 512, 32
_SAMPLES = _FFT + (_FRAMES - 1) * _HOP  # of one embedding
_SLOPE, _LEAST = 0.2, -0.4  # activation: max(leaky rectifier, least)


class _Block(NamedTuple):
    """Convolutions, one along frequency and one along time in turns, and a pool."""

    widths: tuple[int, ...]
    pool: tuple[int, int]


_BLOCKS = (
    _Block((24, 24, 24), (2, 2)),
    _Block((48,) * 4, (1, 2)),
    _Block((72,) * 4, (2, 2)),
    _Block((96,) * 4, (1, 2)),
    _Block((96,) * 4, (2, 2)),
    _Block((96,), (1, 1)),
)


def packaged() -> Path:
    """Find the file in the installed package. Raises `DataError` where there is none."""
    spec = importlib.util.find_spec("pyopen_wakeword")
    if spec is None or spec.origin is None:
        raise DataError(
            f"frozen: the package {PACKAGE} is not installed: {command('embedding')}; or set attacker.source to a file "
            "embedding_model.tflite, or to a folder with wav2vec 2.0, HuBERT, WavLM or Whisper"
        )
    return Path(spec.origin).parent / "models" / "embedding_model.tflite"


def missing() -> str:
    """Return what the lack of the package disables, or ""."""
    if importlib.util.find_spec("pyopen_wakeword") is not None:
        return ""
    return f"frozen without attacker.source: {command('embedding')}"


def fingerprint(file: Path) -> str:
    """Digest the file."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise DataError(f"frozen: {file} cannot be read: {error.strerror}") from error


def load(file: Path) -> tuple[nn.Module, int, int]:
    """Load the embedding.

    Returns:
        The network, audio [clip, sample] -> [clip, frame, 96]; 96; and its rate.

    Raises:
        DataError: The file cannot be read, or holds another model.
    """
    network = SpeechEmbedding()
    weights = tflite.convolutions(file)
    layers = list(network.convolutions)
    shapes = [(tuple(weight.shape), tuple(bias.shape)) for weight, bias in weights]
    expected = [(tuple(layer.weight.shape), (layer.out_channels,)) for layer in network.layers()]
    if shapes != expected:
        raise DataError(f"frozen: {file} holds {len(shapes)} convolutions, expected the {len(layers)} of the embedding")
    with torch.no_grad():
        for layer, (weight, bias) in zip(network.layers(), weights, strict=True):
            assert layer.bias is not None
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
    return network, WIDTH, RATE


class SpeechEmbedding(nn.Module):
    """Audio [clip, sample] at 16 kHz -> embeddings [clip, frame, 96], one every 80 ms."""

    def __init__(self) -> None:
        super().__init__()
        workaround_torchaudio()
        from torchaudio.functional import melscale_fbanks

        self.window: Tensor
        self.filters: Tensor
        self.register_buffer("window", torch.hann_window(_WINDOW), persistent=False)
        filters = melscale_fbanks(_FFT // 2 + 1, 60.0, 3800.0, _BANDS, RATE, norm="slaney", mel_scale="slaney")
        self.register_buffer("filters", filters, persistent=False)
        layers: list[nn.Conv2d] = []
        inputs = 1
        for block in _BLOCKS:
            for width in block.widths:
                # The first spans both; then they alternate, frequency first; the last spans time.
                first, last = not layers, block is _BLOCKS[-1]
                along_time = len(layers) % 2 == 0
                kernel = (3, 3) if first else (3, 1) if along_time or last else (1, 3)
                layers.append(nn.Conv2d(inputs, width, kernel, padding=(0, kernel[1] // 2)))
                inputs = width
        self.convolutions = nn.ModuleList(layers)

    def layers(self) -> list[nn.Conv2d]:
        """Return the convolutions in order."""
        return [layer for layer in self.convolutions if isinstance(layer, nn.Conv2d)]

    def spectrogram(self, audio: Tensor) -> Tensor:
        """Return the log-mel spectrogram [clip, frame, band] as openWakeWord scales it."""
        audio = functional.pad(audio, (0, max(0, _SAMPLES - audio.shape[-1])))
        spectrum = torch.stft(audio * 2**15, _FFT, _HOP, _WINDOW, self.window, center=False, return_complex=True)
        power = (spectrum.real.square() + spectrum.imag.square()).mT @ self.filters
        decibels = 10 * power.clamp_min(1e-10).log10()
        return torch.maximum(decibels, decibels.amax((1, 2), keepdim=True) - 80) / 10 + 2

    def forward(self, audio: Tensor) -> Tensor:
        x = self.spectrogram(audio)[:, None]
        layers = iter(self.layers())
        for block in _BLOCKS:
            for _ in block.widths:
                x = next(layers)(x)
                if block is not _BLOCKS[-1]:
                    x = functional.leaky_relu(x, _SLOPE).clamp_min(_LEAST)
            x = functional.max_pool2d(x, block.pool)
        return x[..., 0].mT
