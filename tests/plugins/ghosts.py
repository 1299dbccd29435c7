"""Ghosts: within notes that sound, one step in so many is struck again softly, and the note goes on at its velocity."""

from dataclasses import dataclass, replace

import torch

from bench.api import Defense, Knowledge, Rolls
from bench.notes.velocities import beginnings


@dataclass(frozen=True)
class Ghosts(Defense[Rolls]):
    domains = ("midi",)

    share: float = 0.3
    velocity: int = 20  # MIDI

    def protect(self, data: Rolls, knowledge: Knowledge, rng: torch.Generator) -> Rolls:
        begins = beginnings(data)
        inside = (data.velocity > 0) & ~begins
        ghost = inside & (torch.rand(data.velocity.shape, generator=rng) < self.share)
        after = torch.nn.functional.pad(ghost, (0, 0, 1, 0))[:, :, :-1] & inside & ~ghost
        velocity = torch.where(ghost, self.velocity / 127, data.velocity)
        return replace(data, velocity=velocity, onset=begins | ghost | after)
