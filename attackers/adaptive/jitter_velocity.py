"""Jittered velocities: every note of every batch is a little louder or softer, anew each time.

A code in the last units of a velocity cannot be learnt from what never shows it twice alike; dynamics survive.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from bench.api import Adaptation, Rolls
from bench.notes.velocities import SOFTEST, rounded, sustained


@dataclass(frozen=True)
class JitterVelocity(Adaptation[Rolls]):
    """Gaussian noise of standard deviation `sd`, in MIDI velocities; what goes beyond 1 or 127 stays there."""

    domains = ("midi",)

    sd: float = 8.0

    def __post_init__(self) -> None:
        if self.sd < 0:
            raise ValueError(f"sd = {self.sd}, expected 0 or more, such as 8")

    def augment(self, batch: Rolls, rng: Generator) -> Rolls:
        noise = torch.randn(batch.velocity.shape, generator=rng, device=rng.device).to(batch.device)
        return sustained(batch, rounded((batch.velocity + noise * (self.sd / 127)).clamp(min=SOFTEST)))
