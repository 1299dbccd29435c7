"""Frozen encoders of Hugging Face Transformers that take waveforms: wav2vec 2.0, HuBERT, WavLM, and Whisper's encoder.

Their feature extractors are computed in torch, so that gradients reach the audio.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.compat import workaround_torchaudio
from bench.errors import DataError
from bench.training import checkpoints

_RATE = 16_000
_WAVEFORM = ("wav2vec2", "hubert", "wavlm")
_SHORTEST = 400  # samples that the convolutions of wav2vec 2.0 need for one frame


def find(source: str) -> Path:
    """Find the folder of a model. Raises `DataError` where there is none."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return checkpoints.require_checkpoint(folder, "frozen", "attacker.source")
    from huggingface_hub.errors import HFValidationError

    try:
        return checkpoints.from_hub(source, "frozen", download=False)
    except HFValidationError as error:
        raise DataError(f"frozen: source = '{source}' is no folder and no name of a repository") from error


def load(folder: Path, layer: int) -> tuple[nn.Module, int, int]:
    """Load a model in float32, and the hidden state that is taken of it.

    Returns:
        The network, audio [clip, sample] -> [clip, frame, width]; the width; and its rate.

    Raises:
        DataError: The folder holds a model of another kind, or weights are missing or damaged.
    """
    from safetensors import SafetensorError
    from transformers import AutoModel
    from transformers.utils import logging

    kind = _json(folder / "config.json").get("model_type")
    if kind not in (*_WAVEFORM, "whisper"):
        raise DataError(f"frozen: {folder} holds a model of type {kind!r}, expected {', '.join(_WAVEFORM)} or whisper")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        network, report = AutoModel.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError, TypeError, SafetensorError) as error:
        raise DataError(
            f"frozen: the model in {folder} cannot be read: {str(error).strip().splitlines()[0]}"
        ) from error
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise DataError(f"frozen: the model in {folder} lacks {len(missing)} weights, first {missing[0]}")
    states = network.config.encoder_layers if kind == "whisper" else network.config.num_hidden_layers
    if not -states - 1 <= layer <= states:
        raise DataError(f"frozen: layer = {layer}, expected {-states - 1}..{states} for the model in {folder}")
    preprocessor = folder / "preprocessor_config.json"
    options = _json(preprocessor) if preprocessor.is_file() else {}
    if (rate := options.get("sampling_rate", _RATE)) != _RATE:
        raise DataError(f"frozen: the model in {folder} takes {rate} samples a second, expected {_RATE}")
    if kind == "whisper":
        return _Whisper(network.encoder, layer), network.config.d_model, _RATE
    return _Waveform(network, layer, bool(options.get("do_normalize", True))), network.config.hidden_size, _RATE


class _Waveform(nn.Module):
    """Audio [clip, sample] -> hidden states [clip, frame, width] of wav2vec 2.0 and its kin."""

    def __init__(self, network: nn.Module, layer: int, normalised: bool):
        super().__init__()
        self.network, self.layer, self.normalised = network, layer, normalised

    def forward(self, audio: Tensor) -> Tensor:
        audio = functional.pad(audio, (0, max(0, _SHORTEST - audio.shape[-1])))
        if self.normalised:
            deviation = (audio.var(-1, correction=0, keepdim=True) + 1e-7).sqrt()
            audio = (audio - audio.mean(-1, keepdim=True)) / deviation
        states: Tensor = self.network(audio, output_hidden_states=True).hidden_states[self.layer]
        return states


class _Whisper(nn.Module):
    """Audio [clip, sample] -> hidden states [clip, frame, width] of the frames that hold the clip."""

    def __init__(self, encoder: Any, layer: int):
        super().__init__()
        workaround_torchaudio()
        from torchaudio.functional import melscale_fbanks

        self.encoder, self.layer = encoder, layer
        self.frames = 2 * encoder.config.max_source_positions  # the encoder takes exactly so many
        self.window: Tensor
        self.filters: Tensor
        self.register_buffer("window", torch.hann_window(400), persistent=False)
        bank = melscale_fbanks(201, 0.0, 8000.0, encoder.config.num_mel_bins, _RATE, norm="slaney", mel_scale="slaney")
        self.register_buffer("filters", bank, persistent=False)

    def spectrogram(self, audio: Tensor) -> Tensor:
        """Return the log-mel spectrogram [clip, band, frame] of a clip cut or padded with silence."""
        audio = functional.pad(audio, (0, self.frames * 160 - audio.shape[-1]))
        spectrum = torch.stft(audio, 400, 160, window=self.window, return_complex=True)[..., :-1]
        power = (spectrum.real.square() + spectrum.imag.square()).mT @ self.filters
        levels = power.clamp_min(1e-10).log10().mT
        return (torch.maximum(levels, levels.amax((1, 2), keepdim=True) - 8.0) + 4.0) / 4.0

    def forward(self, audio: Tensor) -> Tensor:
        states: Tensor = self.encoder(self.spectrogram(audio), output_hidden_states=True).hidden_states[self.layer]
        inside = -(-audio.shape[-1] // 320)  # a state stands for 20 ms
        return states[:, : max(1, inside)]


def _json(file: Path) -> dict[str, Any]:
    """Read a JSON object. Raises `DataError` where the file holds none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"frozen: {file} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"frozen: {file} holds a {type(content).__name__}, expected an object")
    return content
