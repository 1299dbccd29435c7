"""An adaptation with all three hooks."""

from dataclasses import dataclass

import torch
from torch import nn

from bench.api import Adaptation, Attacker, Clips, Log


@dataclass(frozen=True)
class Quieter(Adaptation[Clips]):
    gain: float = 0.5

    def transform(self, data: Clips, rng: torch.Generator) -> Clips:
        return data.with_audio(data.audio * self.gain)

    def augment(self, batch: Clips, rng: torch.Generator) -> Clips:
        return batch.with_audio(batch.audio * (1 + 0.1 * torch.rand(len(batch), 1, 1, generator=rng)))

    def train(
        self, attacker: Attacker[Clips], train: Clips, validation: Clips, rng: torch.Generator, *, log: Log
    ) -> nn.Module:
        def augment(batch: Clips, rng: torch.Generator, model: nn.Module) -> Clips:
            return self.augment(batch, rng)

        return attacker.learn(train, validation, rng, augment=augment, log=log)
