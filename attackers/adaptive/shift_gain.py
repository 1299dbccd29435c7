"""Shift and gain: each batch moves in time and level at random, as in any training on speech.

A mark that is tied to a place or to a level, as noise made for one clip is, cannot be learnt from then. What moves in
is silence, and the loudest gain is the one that does not clip.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator

from bench.api import Adaptation, Clips
from bench.sound.augmentation import amplified, shifted


@dataclass(frozen=True)
class ShiftGain(Adaptation[Clips]):
    """Up to `milliseconds` earlier or later within the window, up to `decibels` louder or softer; lengths follow."""

    domains = ("audio",)

    milliseconds: float = 100.0
    decibels: float = 6.0

    def __post_init__(self) -> None:
        if self.milliseconds < 0 or self.decibels < 0:
            raise ValueError(
                f"milliseconds = {self.milliseconds}, decibels = {self.decibels}: expected at least 0, as 100 and 6"
            )

    def augment(self, batch: Clips, rng: Generator) -> Clips:
        return amplified(shifted(batch, self.milliseconds / 1000, rng), self.decibels, rng)
