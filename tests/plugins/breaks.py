"""A defense that fails, to see that the rest goes on."""

from dataclasses import dataclass

import torch

from bench.api import Clips, Defense, Knowledge


@dataclass(frozen=True)
class Breaks(Defense[Clips]):
    def protect(self, data: Clips, knowledge: Knowledge, rng: torch.Generator) -> Clips:
        raise RuntimeError("this defense always breaks")
