"""A defense with the commonest bug of published code: it shuffles before it adds its noise."""

from dataclasses import dataclass, replace

import torch

from bench.api import Clips, Defense, Knowledge


@dataclass(frozen=True)
class Swaps(Defense[Clips]):
    level: float = 0.01

    def protect(self, data: Clips, knowledge: Knowledge, rng: torch.Generator) -> Clips:
        order = torch.randperm(len(data), generator=rng)
        noise = self.level * torch.randn(data.audio.shape, generator=rng) * data.support
        mixed = (data.audio[order] + noise).clamp(-1, 1)
        return replace(data.with_audio(mixed), lengths=data.lengths[order])
