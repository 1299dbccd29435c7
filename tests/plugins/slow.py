"""A defense that takes its time, so that a test can interrupt it; once, where a marker says that it was begun."""

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
        if not (self.marker and Path(self.marker).exists()):
            if self.marker:
                Path(self.marker).touch()
            time.sleep(self.seconds)
        return data.with_audio(data.audio * 0.5)
