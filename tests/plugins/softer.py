"""A defense of velocities alone: every note softer by one factor."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from bench.api import Knowledge, Rolls


@dataclass(frozen=True)
class Softer:
    domains: ClassVar[tuple[str, ...]] = ("midi",)

    factor: float = 0.8

    def protect(self, data: Rolls, knowledge: Knowledge, rng: torch.Generator) -> Rolls:
        return replace(data, velocity=data.velocity * self.factor)
