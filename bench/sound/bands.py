"""Levels of clips in Mel bands of rectangular shape, as features of filters that select clips."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api import Clips
from bench.sound.spectra import frames_inside, hop_size, hz_to_mel, power, stft

__all__ = ["band_levels", "band_statistics"]

_LEAST = 1e-8  # power, relative to a sine at full scale: -80 dB
_AT_ONCE = 1 << 22  # samples


def band_levels(data: Clips, bands: int = 32) -> tuple[Tensor, Tensor]:
    """Compute the level in each band and frame, channels averaged in power.

    Args:
        data: The clips.
        bands: Number of bands, of equal width in Mel from 0 to half the rate.

    Returns:
        float32 [clip, band, frame], decibels, at least -80; and bool [clip, 1, frame], the frames of the recordings.
    """
    size = max(1, _AT_ONCE // max(1, data.audio[:1].numel()))
    parts = torch.split(torch.arange(len(data), device=data.device), size)
    levels = torch.cat([_levels(data.audio.detach()[part], data.rate, bands) for part in parts])
    return levels, frames_inside(data.lengths, levels.shape[-1], hop_size(data.rate))[:, None]


def band_statistics(data: Clips, bands: int = 32) -> Tensor:
    """Compute mean and standard deviation over time of the levels in bands.

    Args:
        data: The clips.
        bands: Number of bands.

    Returns:
        float64 [clip, 2 bands], decibels.
    """
    levels, inside = band_levels(data, bands)
    count = inside.sum(-1).clamp_min(1)
    mean = (levels.double() * inside).sum(-1) / count
    variance = ((levels - mean[..., None]).square() * inside).sum(-1) / count
    return torch.cat([mean, variance.sqrt()], 1)


def _levels(audio: Tensor, rate: int, bands: int) -> Tensor:
    """Compute the levels of clips that fit in memory together."""
    cells = power(stft(audio, rate)).mean(1)  # [clip, bin, frame]
    hz = torch.linspace(0, rate / 2, cells.shape[1], device=audio.device)
    band = (hz_to_mel(hz) / hz_to_mel(hz[-1]) * bands).long().clamp(max=bands - 1)
    total = torch.zeros(len(cells), bands, cells.shape[2], device=audio.device).index_add(1, band, cells)
    sine = (cells.shape[1] - 1) / 2  # amplitude of a bin at the peak of a sine of amplitude 1, under Hann's window
    return 10.0 * (total / sine**2).clamp_min(_LEAST).log10()
