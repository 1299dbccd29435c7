"""A defense that kills its own worker, once or always: what the memory killer does."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.api import Clips, Defense, Knowledge


@dataclass(frozen=True)
class Dies(Defense[Clips]):
    marker: str
    always: bool = False

    def protect(self, data: Clips, knowledge: Knowledge, rng: torch.Generator) -> Clips:
        marker = Path(self.marker)
        if self.always or not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return data.with_audio(data.audio * 0.5)
