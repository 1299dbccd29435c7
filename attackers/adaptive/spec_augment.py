"""SpecAugment on the waveform: random frequency bands and a random interval are removed.

A shortcut in one band, such as a tone, is missing from every other batch, while the word stays intelligible.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator

from bench.api import Adaptation, Clips
from bench.sound.augmentation import band_stopped, interrupted


@dataclass(frozen=True)
class SpecAugment(Adaptation[Clips]):
    """Remove random frequency bands and random intervals from each clip.

    Attributes:
        bands: how many frequency bands.
        band_share: widest band, as a share of the mel range.
        gaps: how many intervals.
        gap_share: longest interval, as a share of the recording.
    """

    domains = ("audio",)
    paper = "Park et al. 2019, Interspeech"

    bands: int = 2
    band_share: float = 0.25
    gaps: int = 1
    gap_share: float = 0.2

    def __post_init__(self) -> None:
        if not (0 <= self.band_share <= 1 and 0 <= self.gap_share <= 1 and self.bands >= 0 and self.gaps >= 0):
            raise ValueError(
                f"bands = {self.bands} of {self.band_share}, gaps = {self.gaps} of {self.gap_share}: "
                "expected at least 0 of shares in 0..1, such as 2 of 0.25 and 1 of 0.2"
            )

    def augment(self, batch: Clips, rng: Generator) -> Clips:
        return interrupted(band_stopped(batch, self.bands, self.band_share, rng), self.gaps, self.gap_share, rng)
