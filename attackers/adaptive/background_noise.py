"""Pink to brown noise at a random level, on every clip of every batch.

Rooms, traffic and recorders are louder at low frequencies, unlike the white noise of `add_noise`, which mostly covers
high ones. The level is relative to the recording; silence stays silent.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from bench.api import Adaptation, Clips, check_range
from bench.sound.noises import coloured, with_noise


@dataclass(frozen=True)
class BackgroundNoise(Adaptation[Clips]):
    """Add noise whose power falls as 1 / f^exponent, at a ratio and with an exponent drawn uniformly for each clip.

    Attributes:
        lowest_db: lowest signal-to-noise ratio; the strength: at 30 the noise is hardly heard, at 5 words are covered.
        highest_db: highest signal-to-noise ratio.
        flattest: smallest exponent, 0..3: 0 is white noise, 1 pink.
        steepest: largest exponent, 0..3: 2 is brown.
    """

    domains = ("audio",)
    sweep = ("lowest_db", 25.0, 0.0)

    lowest_db: float = 5.0
    highest_db: float = 30.0
    flattest: float = 1.0
    steepest: float = 2.0

    def __post_init__(self) -> None:
        check_range(self, "flattest", "steepest", least=0, most=3)
        if self.lowest_db > self.highest_db or self.flattest > self.steepest:
            raise ValueError(
                f"lowest_db = {self.lowest_db}, highest_db = {self.highest_db}, flattest = {self.flattest}, steepest = "
                f"{self.steepest}: expected the lower first, such as 5 and 30, 1 and 2"
            )

    def augment(self, batch: Clips, rng: Generator) -> Clips:
        drawn = torch.rand(2, len(batch), generator=rng, device=rng.device).to(batch.device)
        exponents = self.flattest + (self.steepest - self.flattest) * drawn[0]
        ratios = self.lowest_db + (self.highest_db - self.lowest_db) * drawn[1]
        return with_noise(batch, coloured(batch, exponents, rng), ratios)
