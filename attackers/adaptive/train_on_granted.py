"""Train on the granted clean items alone and ignore what is published: the fallback of every attacker.

A defense that leaves the attacker worse off than this has done harm that the attacker can refuse; what published items
are worth is the difference to it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Generator, nn

from bench.api import Adaptation, Attacker, Data, Log, check_range
from bench.errors import DataError


@dataclass(frozen=True)
class TrainOnGranted(Adaptation[Data]):
    """Train by the attacker's own loop on granted items, with as many steps as on all items together.

    Attributes:
        budget: optimiser steps as a share of those that published and granted items together would get, more than 0 to
            1; with fewer steps a small set is fitted less closely. It acts on attackers that count epochs.
    """

    domains = ("audio", "midi")
    requires = ("granted",)

    budget: float = 1.0

    def __post_init__(self) -> None:
        check_range(self, "budget", above=0, most=1)

    def train_with_granted(
        self, attacker: Attacker[Data], train: Data, granted: Data, validation: Data, rng: Generator, *, log: Log
    ) -> nn.Module:
        if not len(granted):
            raise DataError("train_on_granted: no granted item is for training, expected `granted` of at least 2")
        items = max(1, round(self.budget * (train.epoch_items + len(granted))))
        return attacker.learn(replace(granted, whole=items), validation, rng, log=log)
