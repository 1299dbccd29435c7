"""Flat velocities: every note gets the same one, so that nothing can be hidden in loudness.

The published MuseGAN and SymphonyNet never read velocities; this is the same for a model that does. It ends every
defense that changes velocities alone, and leaves added notes as loud as all others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Generator

from bench.api import Adaptation, Rolls
from bench.notes.velocities import beginnings


@dataclass(frozen=True)
class FlattenVelocity(Adaptation[Rolls]):
    domains = ("midi",)
    preprocess = True

    velocity: int = 64  # MIDI

    def __post_init__(self) -> None:
        if not 1 <= self.velocity <= 127:
            raise ValueError(f"velocity = {self.velocity}, expected 1..127, such as 64")

    def transform(self, data: Rolls, rng: Generator) -> Rolls:
        sounds = data.velocity.detach() > 0
        return replace(data, velocity=sounds * (self.velocity / 127), onset=beginnings(data))
