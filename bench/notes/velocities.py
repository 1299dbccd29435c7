"""Velocities of notes on the grid, differentiable: one number a note, from its onset to its end.

Velocities are 0..1 (MIDI velocity / 127); a sounding note has at least `SOFTEST`, since velocity 0 ends a note.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from bench.api import Rolls

__all__ = ["SOFTEST", "beginnings", "rounded", "sustained"]

SOFTEST = 1 / 127


def beginnings(rolls: Rolls) -> Tensor:
    """Find the cells where notes begin; a cell after a silent one begins a note even without an onset flag.

    Args:
        rolls: the set.

    Returns:
        bool [roll, track, step, pitch].
    """
    sounds = rolls.velocity.detach() > 0
    before = torch.nn.functional.pad(sounds, (0, 0, 1, 0))[:, :, :-1]
    return sounds & (rolls.onset | ~before)


def sustained(rolls: Rolls, velocity: Tensor) -> Rolls:
    """Set velocities of whole notes: every cell takes the velocity at the onset of its note. Differentiable.

    Args:
        rolls: the set.
        velocity: [roll, track, step, pitch], 0..1, read where notes begin.

    Returns:
        The same notes at these velocities.
    """
    begins = beginnings(rolls)
    steps = torch.arange(begins.shape[2], device=begins.device).view(-1, 1)
    last = torch.where(begins, steps, 0).cummax(2).values
    return replace(rolls, velocity=velocity.gather(2, last) * (rolls.velocity.detach() > 0), onset=begins)


def rounded(velocity: Tensor) -> Tensor:
    """Round to whole MIDI velocities up to 127, as a file stores them; the gradient is that of the identity.

    Args:
        velocity: Any shape, 0..1.

    Returns:
        The same shape.
    """
    return velocity + ((velocity.detach() * 127).round().clamp(max=127) / 127 - velocity.detach())
