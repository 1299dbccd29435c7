"""Amplitude of a recording by segments, and masks that scale a noise bound by it.

Conventions: audio [clip, channel, sample]; channels are averaged; a mask is [clip, 1, sample] within 0..1. The last
segment of a clip may be short and is averaged over its own samples.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["TABLE", "continuous_mask", "segment_amplitude", "stepped_mask"]

# Table 1 of "Dynamic Epsilon applied Masks in Unlearnable Audio": above the amplitude, that share of the epsilon.
TABLE = ((0.0, 0.0385), (0.01, 0.0769), (0.03, 0.1538), (0.05, 0.3077), (0.08, 0.538), (0.1, 1.0))


def segment_amplitude(audio: Tensor, size: int) -> Tensor:
    """Return the mean amplitude of every segment.

    Args:
        audio: [clip, channel, sample].
        size: samples of a segment.

    Returns:
        Mean of |x|, [clip, 1, segment].
    """
    loudness = audio.abs().mean(1, keepdim=True)
    padded = functional.pad(loudness, (0, -loudness.shape[-1] % size))
    count = functional.pad(torch.ones_like(loudness[:1, :, :]), (0, padded.shape[-1] - loudness.shape[-1]))
    return functional.avg_pool1d(padded, size) / functional.avg_pool1d(count, size)


def stepped_mask(audio: Tensor, size: int, table: tuple[tuple[float, float], ...] = TABLE) -> Tensor:
    """Return the mask of the paper: one level a segment, looked up by the segment's mean amplitude.

    Args:
        audio: [clip, channel, sample].
        size: samples of a segment.
        table: pairs (amplitude above which a level holds, level), rising.

    Returns:
        [clip, 1, sample] within 0..1.
    """
    edges = torch.tensor([edge for edge, _ in table[1:]], device=audio.device, dtype=audio.dtype)
    levels = torch.tensor([level for _, level in table], device=audio.device, dtype=audio.dtype)
    segment_levels = levels[torch.bucketize(segment_amplitude(audio, size), edges)]
    return segment_levels.repeat_interleave(size, dim=-1)[..., : audio.shape[-1]]


def continuous_mask(audio: Tensor, size: int, full: float, exponent: float, floor: float) -> Tensor:
    """Return a mask without steps: `(A / full) ** exponent` within floor..1.

    A power law through the ends of `TABLE` has the exponent 1.1 and is full at 0.1.

    Args:
        audio: [clip, channel, sample].
        size: samples of the moving average A of |x|.
        full: amplitude at which the mask is 1.
        exponent: of the power law.
        floor: lowest value of the mask.

    Returns:
        [clip, 1, sample] within floor..1.
    """
    loudness = audio.abs().mean(1, keepdim=True)
    before = (size - 1) // 2
    padded = functional.pad(loudness, (before, size - 1 - before))
    level = functional.avg_pool1d(padded, size, stride=1)
    return (level / full).pow(exponent).clamp(floor, 1.0)
