"""Two classes of noisy tones: a data set that a line can separate."""

from dataclasses import dataclass

import torch

from bench.api import Clips, Dataset


@dataclass(frozen=True)
class Tones(Dataset[Clips]):
    clips: int = 24
    rate: int = 8000
    seed: int = 0

    def load(self, split: str) -> Clips:
        rng = torch.Generator().manual_seed(self.seed * 10 + ("train", "validation", "test").index(split))
        labels = torch.arange(self.clips) % 2
        time = torch.arange(self.rate // 4) / self.rate
        pitch = torch.where(labels == 0, 440.0, 660.0)[:, None] * (1 + 0.02 * torch.randn(self.clips, 1, generator=rng))
        tone = 0.3 * torch.sin(2 * torch.pi * pitch * time)
        audio = (tone + 0.05 * torch.randn(tone.shape, generator=rng)).clamp(-1, 1)[:, None]
        ids = [f"{split}-{i}" for i in range(self.clips)]
        groups = tuple(f"{split}-song-{i // 2}" for i in range(self.clips))
        return Clips.of(audio, self.rate, ids, groups=groups, labels=labels, classes=("low", "high"))
