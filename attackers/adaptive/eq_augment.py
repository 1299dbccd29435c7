"""Random equalisation of every clip, drawn for each batch.

Against perturbations that are filters, such as one equaliser per class, and against levels of single bands.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator

from bench.api import Adaptation, Clips
from bench.sound.augmentation import equalised


@dataclass(frozen=True)
class EqAugment(Adaptation[Clips]):
    """Apply a random zero-phase equaliser to each clip, linear in decibels between points evenly spread in mel.

    Attributes:
        decibels: largest gain in either direction.
        bands: points of the equaliser.
    """

    domains = ("audio",)

    decibels: float = 8.0
    bands: int = 12

    def __post_init__(self) -> None:
        if self.decibels < 0 or self.bands < 1:
            raise ValueError(
                f"decibels = {self.decibels}, bands = {self.bands}: expected at least 0 and 1, such as 8 and 12"
            )

    def augment(self, batch: Clips, rng: Generator) -> Clips:
        return equalised(batch, self.decibels, self.bands, rng)
