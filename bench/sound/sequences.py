"""Filters that follow one another in time: a repeated sequence of equalisers."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.sound.spectra import hop_size
from bench.sound.time_filters import equalise_frames, frame_count

__all__ = ["in_turn", "with_inverses"]


def in_turn(audio: Tensor, rate: int, curves: Tensor, milliseconds: float, start: Tensor) -> Tensor:
    """Filter each clip by one curve after another, and by the first again after the last.

    Args:
        audio: [clip, channel, sample].
        rate: Samples a second.
        curves: Gains, dB, [clip, curve, band], at points evenly spaced in Mel, see `equalise_frames`.
        milliseconds: How long a curve lasts; below about 30 the windows average neighbours.
        start: [clip], where in the sequence a clip begins, as a share of the whole sequence, 0..1.

    Returns:
        [clip, channel, sample], not delayed.
    """
    frames = torch.arange(frame_count(audio.shape[-1], rate), device=audio.device)
    elapsed = frames * (1000 * hop_size(rate) / rate / milliseconds)
    count = curves.shape[1]
    turn = (elapsed + start[:, None] * count).long() % count
    gains = curves.gather(1, turn[..., None].expand(-1, -1, curves.shape[2]))
    return equalise_frames(audio, rate, gains.mT)


def with_inverses(curves: Tensor) -> Tensor:
    """Put after each curve its inverse, so that the gains of each band have a mean of 0 dB over the sequence.

    Args:
        curves: dB, [item, curve, band].

    Returns:
        dB, [item, 2 curve, band].
    """
    return torch.stack([curves, -curves], 2).flatten(1, 2)
