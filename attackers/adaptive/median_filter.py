"""A median filter: every sample becomes the median of those around it.

Clicks and single peaks are removed. It is the rank-order analogue of a low-pass filter: noise of high frequencies goes,
and with it what the recording has there.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator
from torch.nn import functional

from bench.api import Adaptation, Clips


@dataclass(frozen=True)
class MedianFilter(Adaptation[Clips]):
    """Replace each sample by the median of its neighbourhood.

    Attributes:
        width: samples of the neighbourhood, odd.
    """

    domains = ("audio",)
    preprocess = True
    sweep = ("width", 3, 9)
    paper = "Tukey 1977, Exploratory Data Analysis"

    width: int = 3

    def __post_init__(self) -> None:
        if self.width < 3 or self.width % 2 == 0:
            raise ValueError(f"width = {self.width}, expected an odd number from 3 on, such as 3 or 5")

    def transform(self, data: Clips, rng: Generator) -> Clips:
        half = self.width // 2
        around = functional.pad(data.audio, (half, half), mode="replicate").unfold(-1, self.width, 1)
        return data.with_audio(around.median(-1).values * data.support)
