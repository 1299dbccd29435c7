"""Takes away what protection adds to a clip in the mean over pairs of clean and protected items."""

from dataclasses import dataclass

from torch import Generator

from bench.api import Adaptation, Clips


@dataclass(frozen=True)
class Undoes(Adaptation[Clips]):
    requires = ("pairs",)

    def transform_with_pairs(self, data: Clips, clean: Clips, protected: Clips, rng: Generator) -> Clips:
        added = (protected.audio - clean.audio).mean(0, keepdim=True)
        return data.with_audio((data.audio - added).clamp(-1, 1) * data.support)
