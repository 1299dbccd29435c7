"""A loud tone for each class: what a learner will take for the class."""

from dataclasses import dataclass

import torch

from bench.api import Clips, Knowledge


@dataclass(frozen=True)
class Labels:
    level: float = 0.3

    def protect(self, data: Clips, knowledge: Knowledge, rng: torch.Generator) -> Clips:
        assert data.labels is not None
        time = torch.arange(data.audio.shape[-1]) / data.rate
        tones = torch.sin(2 * torch.pi * (1500.0 + 700.0 * data.labels[:, None]) * time)[:, None]
        return data.with_audio((data.audio * 0.5 + self.level * tones).clamp(-1, 1))
