"""Random shift in time and random gain of every clip, drawn for each batch.

Against perturbations that depend on exact time or level. Silence is shifted in, and gains stop short of clipping.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator

from bench.api import Adaptation, Clips
from bench.sound.augmentation import amplified, shifted


@dataclass(frozen=True)
class ShiftGain(Adaptation[Clips]):
    """Shift clips in time within their window, and change their level; lengths are updated.

    Attributes:
        milliseconds: largest shift in either direction.
        decibels: largest gain in either direction.
    """

    domains = ("audio",)
    sweep = ("milliseconds", 10.0, 300.0)

    milliseconds: float = 100.0
    decibels: float = 6.0

    def __post_init__(self) -> None:
        if self.milliseconds < 0 or self.decibels < 0:
            raise ValueError(
                f"milliseconds = {self.milliseconds}, decibels = {self.decibels}: expected at least 0, as 100 and 6"
            )

    def augment(self, batch: Clips, rng: Generator) -> Clips:
        return amplified(shifted(batch, self.milliseconds / 1000, rng), self.decibels, rng)
