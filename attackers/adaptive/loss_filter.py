"""A loss filter: the items that a short training fits best (or worst) are left out of the training.

Noise that minimises a loss, and marks of a class, are learnt before anything else, so that protected items have the
lowest loss early in a training. Items that a model does not fit at all, such as mislabelled ones, have the highest
(Han et al., "Co-teaching", NeurIPS 2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, nn

from bench.api import Adaptation, Attacker, Data, Log, check_range, silent_log
from bench.training.filtering import losses, shortened, without


@dataclass(frozen=True)
class LossFilter(Adaptation[Data]):
    """Train briefly, leave out the items of the lowest loss, and train anew on the rest with as many steps.

    Losses are compared within a class, where items have classes: one class may be easier than another. At least one
    item of each class stays.

    Attributes:
        share: share of the items that is left out, 0 to under 1; more removes more protected items, and more others.
        side: "low" leaves out the items of the lowest loss, "high" those of the highest.
        early: share of the attacker's epochs (or steps) after which the losses are taken, more than 0 to 1.
    """

    domains = ("audio", "midi")
    sweep = ("share", 0.1, 0.6)
    paper = "Li et al. 2021, NeurIPS (Anti-backdoor learning: what is learnt first is isolated)"

    share: float = 0.3
    side: Literal["low", "high"] = "low"
    early: float = 0.2

    def __post_init__(self) -> None:
        if not 0.0 <= self.share < 1.0:
            raise ValueError(f"share = {self.share}, expected 0 to under 1, such as 0.3")
        check_range(self, "early", above=0, most=1)

    def train(self, attacker: Attacker[Data], train: Data, validation: Data, rng: Generator, *, log: Log) -> nn.Module:
        model = shortened(attacker, self.early).learn(train, validation, rng, log=silent_log)
        values = losses(attacker, model, train, rng)
        if train.labels is not None:
            count = train.labels.bincount(minlength=len(train.classes)).clamp_min(1)
            mean = torch.zeros_like(count, dtype=values.dtype).index_add(0, train.labels, values) / count
            values = values / mean.clamp_min(1e-12)[train.labels]
        suspicion = -values if self.side == "low" else values
        rest = without(train, suspicion, math.floor(self.share * len(train)))
        return attacker.learn(rest, validation, rng, log=log)
