"""Zero-phase filters of whole clips, by one product in the frequency domain; the ends are padded with silence."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["equalise", "shift"]

_LOWEST_HZ = 60.0  # where the lowest band of an equaliser has its middle


def equalise(audio: Tensor, rate: int, decibels: Tensor) -> Tensor:
    """Audio [clip, channel, sample] through a graphic equaliser of gains [clip, band] in dB; differentiable.

    The bands' middles lie evenly on a logarithmic scale from 60 Hz to half the rate; between them the gain in dB runs
    in straight lines, outside it is that of the last band. A gain spreads a few milliseconds around each sample.
    """
    samples, bands = audio.shape[-1], decibels.shape[-1]
    size = 2 * samples
    hz = torch.linspace(0, rate / 2, size // 2 + 1, device=audio.device)
    top = math.log2(max(rate / 2, 2 * _LOWEST_HZ) / _LOWEST_HZ)
    place = (hz.clamp_min(_LOWEST_HZ) / _LOWEST_HZ).log2() / top * (bands - 1)
    below = place.floor().clamp(0, max(0, bands - 2)).long()
    part = (place - below).clamp(0, 1)
    above = (below + 1).clamp(max=bands - 1)
    gain = 10 ** ((decibels[:, below] * (1 - part) + decibels[:, above] * part) / 20)
    filtered: Tensor = torch.fft.irfft(torch.fft.rfft(audio, size) * gain[:, None], size)
    return filtered[..., :samples]


def shift(audio: Tensor, by: Tensor) -> Tensor:
    """Audio [clip, channel, sample], each clip `by` [clip] samples later (negative: earlier); silence comes in."""
    samples = audio.shape[-1]
    source = torch.arange(samples, device=audio.device) - by[:, None].to(audio.device)
    inside = (source >= 0) & (source < samples)
    at = source.clamp(0, samples - 1)[:, None].expand(audio.shape)
    return audio.gather(2, at) * inside[:, None]
