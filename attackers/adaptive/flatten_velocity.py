"""Flat velocities: every note gets the same velocity, which removes all that loudness encodes.

The published MuseGAN and SymphonyNet do not read velocities; this gives a model that does the same input. It defeats
every defense that changes velocities alone, and makes added notes as loud as all others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Generator

from bench.api import Adaptation, Rolls
from bench.notes.velocities import beginnings


@dataclass(frozen=True)
class FlattenVelocity(Adaptation[Rolls]):
    """Set all velocities to one.

    Attributes:
        velocity: MIDI velocity.
    """

    domains = ("midi",)
    preprocess = True

    velocity: int = 64

    def __post_init__(self) -> None:
        if not 1 <= self.velocity <= 127:
            raise ValueError(f"velocity = {self.velocity}, expected 1..127, such as 64")

    def transform(self, data: Rolls, rng: Generator) -> Rolls:
        sounds = data.velocity.detach() > 0
        return replace(data, velocity=sounds * (self.velocity / 127), onset=beginnings(data))
