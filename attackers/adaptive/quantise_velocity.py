"""Quantised velocities: a few levels, as dynamics are notated, from pianissimo to fortissimo.

A code that moves velocities by less than half a level is removed; loud and soft remain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Generator

from bench.api import Adaptation, Rolls
from bench.notes.velocities import beginnings


@dataclass(frozen=True)
class QuantiseVelocity(Adaptation[Rolls]):
    """Set each velocity to the centre of its band, rounded to a MIDI velocity.

    Attributes:
        levels: bands of equal width over 1..127.
    """

    domains = ("midi",)
    preprocess = True
    sweep = ("levels", 16, 2)

    levels: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.levels <= 127:
            raise ValueError(f"levels = {self.levels}, expected 1..127, such as 8")

    def transform(self, data: Rolls, rng: Generator) -> Rolls:
        velocity = data.velocity.detach()
        level = ((velocity * 127 - 0.5) / 127 * self.levels).floor().clamp(0, self.levels - 1)
        middle = ((level + 0.5) / self.levels * 127 + 0.5).floor() / 127
        return replace(data, velocity=torch.where(velocity > 0, middle, 0.0), onset=beginnings(data))
