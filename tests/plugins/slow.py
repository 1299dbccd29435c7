"""A defense that takes its time, so that a test can interrupt it."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.api import Clips, Defense, Knowledge


@dataclass(frozen=True)
class Slow(Defense[Clips]):
    seconds: float = 1.0
    marker: str = ""

    def protect(self, data: Clips, knowledge: Knowledge, rng: torch.Generator) -> Clips:
        if self.marker:
            Path(self.marker).touch()
        time.sleep(self.seconds)
        return data.with_audio(data.audio * 0.5)
