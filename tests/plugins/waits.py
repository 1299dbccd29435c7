"""A defense that says which process it runs in and waits until it may go on."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.api import Clips, Defense, Knowledge


@dataclass(frozen=True)
class Waits(Defense[Clips]):
    folder: str

    def protect(self, data: Clips, knowledge: Knowledge, rng: torch.Generator) -> Clips:
        folder, limit = Path(self.folder), time.monotonic() + 120
        (folder / f"{os.getppid()}-{os.getpid()}-{time.monotonic_ns()}").touch()
        while not (folder / "go").exists():
            if time.monotonic() > limit:
                raise TimeoutError(f"nobody said go in {folder}")
            time.sleep(0.05)
        return data.with_audio(data.audio * 0.5)
