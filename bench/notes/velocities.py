"""Velocities of notes on the grid, differentiable: one number a note, held from its onset to its end.

Velocities are 0..1 (MIDI velocity / 127); a note that sounds has at least `SOFTEST`, since velocity 0 is its end.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from bench.api import Rolls

__all__ = ["SOFTEST", "beginnings", "rounded", "sustained"]

SOFTEST = 1 / 127


def beginnings(rolls: Rolls) -> Tensor:
    """bool [roll, track, step, pitch]: where a note begins, if only because the cell before it is silent."""
    sounds = rolls.velocity.detach() > 0
    before = torch.nn.functional.pad(sounds, (0, 0, 1, 0))[:, :, :-1]
    return sounds & (rolls.onset | ~before)


def sustained(rolls: Rolls, velocity: Tensor) -> Rolls:
    """The same notes, every cell at what `velocity` [roll, track, step, pitch] says at the note's onset.

    Differentiable in `velocity`. What it says elsewhere is of no account.
    """
    begins = beginnings(rolls)
    steps = torch.arange(begins.shape[2], device=begins.device).view(-1, 1)
    last = torch.where(begins, steps, 0).cummax(2).values
    return replace(rolls, velocity=velocity.gather(2, last) * (rolls.velocity.detach() > 0), onset=begins)


def rounded(velocity: Tensor) -> Tensor:
    """To whole MIDI velocities up to 127, as a file holds them; the gradient passes straight through."""
    return velocity + ((velocity.detach() * 127).round().clamp(max=127) / 127 - velocity.detach())
