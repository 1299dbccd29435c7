"""A preprocessing adaptation: half the level,."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from bench.api import Clips


@dataclass(frozen=True)
class Halves:
    preprocess: ClassVar[bool] = True

    def transform(self, data: Clips, rng: torch.Generator) -> Clips:
        return data.with_audio(data.audio * 0.5)
