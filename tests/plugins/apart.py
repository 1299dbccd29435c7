"""Trains on the granted items alone, and tells how many items of each kind it was given."""

from dataclasses import dataclass
from typing import Any

from torch import Generator, nn

from bench.api import Adaptation, Clips, Epoch, Log


@dataclass(frozen=True)
class Apart(Adaptation[Clips]):
    requires = ("granted",)

    def train_with_granted(
        self, attacker: Any, train: Clips, granted: Clips, validation: Clips, rng: Generator, *, log: Log
    ) -> nn.Module:
        log(Epoch(0, more={"published": len(train), "granted": len(granted), "validation items": len(validation)}))
        model: nn.Module = attacker.learn(granted, validation, rng, log=log)
        return model
