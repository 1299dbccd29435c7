"""A loud tone at the other class's pitch: what a learner takes for the class is wrong on clean data."""

from dataclasses import dataclass

import torch

from bench.api import Clips, Defense, Knowledge


@dataclass(frozen=True)
class Labels(Defense[Clips]):
    level: float = 0.5

    def protect(self, data: Clips, knowledge: Knowledge, rng: torch.Generator) -> Clips:
        assert data.labels is not None
        time = torch.arange(data.audio.shape[-1]) / data.rate
        tones = torch.sin(2 * torch.pi * (660.0 - 220.0 * data.labels[:, None]) * time)[:, None]
        return data.with_audio((data.audio * 0.2 + self.level * tones).clamp(-1, 1))
