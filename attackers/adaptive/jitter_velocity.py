"""Jittered velocities: random changes of the velocity of every note, drawn anew for every batch.

A code in the last units of a velocity is never seen twice alike and cannot be learnt; dynamics survive.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from bench.api import Adaptation, Rolls
from bench.notes.velocities import SOFTEST, rounded, sustained


@dataclass(frozen=True)
class JitterVelocity(Adaptation[Rolls]):
    """Add Gaussian noise to velocities, clipped to 1..127.

    Attributes:
        sd: standard deviation of the noise, MIDI velocities.
    """

    domains = ("midi",)
    sweep = ("sd", 2.0, 30.0)

    sd: float = 8.0

    def __post_init__(self) -> None:
        if self.sd < 0:
            raise ValueError(f"sd = {self.sd}, expected 0 or more, such as 8")

    def augment(self, batch: Rolls, rng: Generator) -> Rolls:
        noise = torch.randn(batch.velocity.shape, generator=rng, device=rng.device).to(batch.device)
        return sustained(batch, rounded((batch.velocity + noise * (self.sd / 127)).clamp(min=SOFTEST)))
