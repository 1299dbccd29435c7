"""Levels of sets of recordings."""

from __future__ import annotations

from torch import Tensor

__all__ = ["energy"]


def energy(audio: Tensor) -> Tensor:
    """Sum the squares of each clip.

    Args:
        audio: [clip, channel, sample].

    Returns:
        [clip, 1, 1], to be multiplied with audio.
    """
    return audio.square().sum((1, 2), keepdim=True)
