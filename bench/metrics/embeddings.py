"""Embeddings of clips for distances between sets: log-mel statistics, and pretrained networks from local files.

An embedding turns clips into rows, float [row, feature], the same number of rows for equally long clips. Nothing is
downloaded; the weights of pretrained networks are read from `weights_folder()`.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import pickle  # for its exception only
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from bench.api import Clips
from bench.compat import import_frechet_audio_distance
from bench.errors import DataError
from bench.sound.masking import frame_size
from bench.sound.resampling import resample
from bench.sound.spectra import frames_inside, hz_to_mel, mel_to_hz

__all__ = ["EMBEDDINGS", "Embedding", "logmel", "mel_filters", "weights_folder"]

Embedding = Callable[[Clips], Tensor]

_MELS = 32
_LEAST_POWER = 1e-8  # 80 dB below full scale
_SAMPLES_PER_BLOCK = 1 << 22  # bounds the memory


def logmel(clips: Clips) -> Tensor:
    """Embed each clip by mean and standard deviation over time of 32 log-mel bands. Needs no weights.

    Natural logarithm of the power (floor 80 dB under full scale) on the HTK mel scale from 0 to half the rate; frames
    of `frame_size` within the recording; channels are averaged in power. The embedding represents timbre and level, not
    the order of events.

    Args:
        clips: The clips.

    Returns:
        float [clip, 64].
    """
    size = frame_size(clips.rate)
    window = torch.hann_window(size, device=clips.device)
    filters = mel_filters(clips.rate, size, _MELS).to(clips.device)
    clip, channels, samples = clips.audio.shape
    at_once = max(1, _SAMPLES_PER_BLOCK // max(1, channels * samples))
    rows = []
    for start in range(0, clip, at_once):
        audio = clips.audio.detach()[start : start + at_once]
        spectrum = torch.stft(
            audio.flatten(0, 1), size, size // 2, window=window, pad_mode="constant", return_complex=True
        )
        power = (spectrum.abs() * (2.0 / window.sum())).square().view(*audio.shape[:2], *spectrum.shape[1:]).mean(1)
        bands = (power.transpose(1, 2) @ filters).clamp(min=_LEAST_POWER).log()  # [clip, frame, band]
        lengths = clips.lengths[start : start + at_once]
        within = frames_inside(lengths, bands.shape[1], size // 2)[..., None].double()
        mean = (bands * within).sum(1) / within.sum(1)
        variance = ((bands - mean[:, None]).square() * within).sum(1) / within.sum(1)
        rows.append(torch.cat([mean, variance.sqrt()], dim=1))
    return torch.cat(rows)


def mel_filters(rate: int, size: int, bands: int) -> Tensor:
    """Return triangular filters on the HTK mel scale, each of sum 1, so that it is a weighted mean of bins.

    Args:
        rate: Samples a second.
        size: Samples of the transform's window.
        bands: Number of filters.

    Returns:
        float32 [bin, band].
    """
    hz = torch.arange(1 + size // 2, dtype=torch.float64) * (rate / size)
    highest = float(hz_to_mel(torch.tensor(rate / 2, dtype=torch.float64)))
    edges = mel_to_hz(torch.linspace(0.0, highest, bands + 2, dtype=torch.float64))
    rising = (hz[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hz[:, None]) / (edges[2:] - edges[1:-1])
    triangles = torch.minimum(rising, falling).clamp(min=0.0)
    return (triangles / triangles.sum(0).clamp(min=1e-12)).float()


def weights_folder() -> Path:
    """Return the folder of pretrained weights: the environment's BENCH_WEIGHTS, else torch.hub's folder.

    Returns:
        The folder, which need not exist.
    """
    return Path(os.environ.get("BENCH_WEIGHTS") or torch.hub.get_dir())


class _Pretrained(NamedTuple):
    """An embedding of the `frechet_audio_distance` package: its rate, weight files and packages."""

    rate: int
    files: tuple[str, ...]
    packages: tuple[str, ...]
    rows: Callable[[Any, Tensor, int], Tensor]  # model, audio [1, sample], rate -> [row, feature]


_VGGISH_CODE = "harritaylor_torchvggish_master"
_PRETRAINED: Mapping[str, _Pretrained] = {
    "vggish": _Pretrained(
        16_000,
        (f"{_VGGISH_CODE}/hubconf.py", "checkpoints/vggish-10086976.pth", "checkpoints/vggish_pca_params-970ea276.pth"),
        ("resampy", "soundfile"),
        lambda model, audio, rate: torch.as_tensor(model.forward(audio[0].cpu().numpy(), rate)),
    ),
    "pann": _Pretrained(
        16_000,
        ("Cnn14_16k_mAP%3D0.438.pth",),
        ("frechet_audio_distance", "torchlibrosa"),
        lambda model, audio, rate: model(audio, None)["embedding"],
    ),
    "clap": _Pretrained(
        48_000,
        ("630k-audioset-best.pt",),
        ("frechet_audio_distance", "laion_clap"),
        lambda model, audio, rate: model.get_audio_embedding_from_data(audio, use_tensor=True),
    ),
    "encodec": _Pretrained(
        24_000,
        ("checkpoints/encodec_24khz-d7cc33bc.th",),
        ("frechet_audio_distance", "encodec"),
        lambda model, audio, rate: model.encoder(audio[None])[0].T,
    ),
}


def _pretrained(name: str, clips: Clips) -> Tensor:
    """Return the rows of a pretrained model: one a clip (pann, clap) or one a frame (vggish, encodec).

    Channels are averaged. Clips below 1 s are padded with silence, because the models need that length.
    """
    kind = _PRETRAINED[name]
    model = _model(name, str(weights_folder())).to(clips.device)
    rows = []
    with torch.no_grad():
        for audio, length in zip(clips.audio.mean(1), clips.lengths.tolist(), strict=True):
            sound = resample(audio[:length], clips.rate, kind.rate)
            sound = functional.pad(sound, (0, max(0, kind.rate - len(sound))))
            embedding = kind.rows(model, sound[None], kind.rate)
            rows.append(embedding.reshape(-1, embedding.shape[-1]).to(clips.device))
    return torch.cat(rows)


@functools.lru_cache(maxsize=1)
def _model(name: str, folder: str) -> Any:
    """Load a pretrained model from local files. Raise `DataError` where a file or package is missing; download
    nothing.
    """
    kind = _PRETRAINED[name]
    for package in kind.packages:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise DataError(
                f"embedding '{name}' needs the package '{package}', which is not installed: install it, or use 'logmel'"
            )
    for file in kind.files:
        if not Path(folder, file).is_file():
            raise DataError(
                f"embedding '{name}' needs its weights at '{Path(folder, file)}', where there is no file: "
                "set BENCH_WEIGHTS to the folder that has it, or use 'logmel', which needs none"
            )
    hub, forced = torch.hub.get_dir(), os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    torch.hub.set_dir(folder)
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # a checkpoint may contain tensors, but no code
    try:
        return _loaded(name, folder, kind.rate).eval()
    except (OSError, EOFError, RuntimeError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"embedding '{name}': the weights in '{folder}' cannot be loaded: {reason}") from error
    finally:
        torch.hub.set_dir(hub)
        if forced is None:
            del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
        else:
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = forced


def _loaded(name: str, folder: str, rate: int) -> Any:
    if name == "vggish":  # directly from the folder: the package would query the network
        model = torch.hub.load(str(Path(folder, _VGGISH_CODE)), "vggish", source="local")
        model.postprocess = False
        model.embeddings = torch.nn.Sequential(*list(model.embeddings.children())[:-1])  # before the last activation
        return model
    package = import_frechet_audio_distance()
    return package.FrechetAudioDistance(ckpt_dir=folder, model_name=name, sample_rate=rate).model


EMBEDDINGS: Mapping[str, Embedding] = {
    "logmel": logmel,
    **{name: functools.partial(_pretrained, name) for name in _PRETRAINED},
}
