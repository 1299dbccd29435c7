"""White noise at a random level, on every clip of every batch.

The level is relative to the recording, so that soft speakers stay intelligible; silence stays silent.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator

from bench.api import Adaptation, Clips
from bench.sound.augmentation import noisy


@dataclass(frozen=True)
class AddNoise(Adaptation[Clips]):
    """Add white noise at a signal-to-noise ratio drawn uniformly for each clip.

    Attributes:
        lowest_db: lowest signal-to-noise ratio.
        highest_db: highest signal-to-noise ratio.
    """

    domains = ("audio",)
    sweep = ("lowest_db", 30.0, 0.0)

    lowest_db: float = 10.0
    highest_db: float = 30.0

    def __post_init__(self) -> None:
        if self.lowest_db > self.highest_db:
            raise ValueError(
                f"lowest_db = {self.lowest_db} over highest_db = {self.highest_db}, expected the lower first, "
                "such as 10 and 30"
            )

    def augment(self, batch: Clips, rng: Generator) -> Clips:
        return noisy(batch, self.lowest_db, self.highest_db, rng)
