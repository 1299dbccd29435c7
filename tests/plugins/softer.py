"""A defense of velocities alone: every note softer by one factor."""

from dataclasses import dataclass, replace

import torch

from bench.api import Defense, Knowledge, Rolls


@dataclass(frozen=True)
class Softer(Defense[Rolls]):
    domains = ("midi",)

    factor: float = 0.8

    def protect(self, data: Rolls, knowledge: Knowledge, rng: torch.Generator) -> Rolls:
        return replace(data, velocity=data.velocity * self.factor)
