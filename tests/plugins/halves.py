"""A preprocessing adaptation: half the level,."""

from dataclasses import dataclass

import torch

from bench.api import Adaptation, Clips


@dataclass(frozen=True)
class Halves(Adaptation[Clips]):
    preprocess = True

    def transform(self, data: Clips, rng: torch.Generator) -> Clips:
        return data.with_audio(data.audio * 0.5)
