"""Uniform noise within a bound."""

from dataclasses import dataclass

import torch

from bench.api import Clips, Defense, Knowledge


@dataclass(frozen=True)
class Hiss(Defense[Clips]):
    epsilon: float = 0.1

    def protect(self, data: Clips, knowledge: Knowledge, rng: torch.Generator) -> Clips:
        noise = (2 * torch.rand(data.audio.shape, generator=rng) - 1) * self.epsilon
        return data.with_audio((data.audio + noise * data.support).clamp(-1, 1))
