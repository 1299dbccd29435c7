"""Mixup: classifiers are trained on weighted means of two clips and of their labels.

A mark of a class is then heard half loud, beside that of another class. Unlike `mix_in`, the labels are mixed too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, nn

from bench.api import Adaptation, Attacker, Clips, Log, check_range
from bench.training import mixing
from bench.training.learning import seeded


@dataclass(frozen=True)
class Mixup(Adaptation[Clips]):
    """Mix each clip of a batch with another one, with a share drawn from Beta(alpha, alpha) for each clip.

    The loss is the mean of the attacker's losses for either label, in the same shares: the cross entropy to the mixed
    label. It costs two passes a batch.

    Attributes:
        alpha: of the Beta distribution, 0.01..100; the strength: 0.1 rarely mixes, 1 draws every share equally often,
            above 1 both clips are often equally loud.
    """

    domains = ("audio",)
    requires = ("labels",)
    sweep = ("alpha", 0.1, 1.0)
    paper = "Zhang, Cisse, Dauphin, Lopez-Paz 2018, ICLR (mixup)"

    alpha: float = 0.4

    def __post_init__(self) -> None:
        check_range(self, "alpha", least=0.01, most=100)

    def train(
        self, attacker: Attacker[Clips], train: Clips, validation: Clips, rng: Generator, *, log: Log
    ) -> nn.Module:
        return mixing.learn(attacker, self._mixed, train, validation, rng, log)

    def _mixed(self, batch: Clips, rng: Generator) -> mixing.Mixture:
        """Mix a batch."""
        with seeded(rng):
            share = torch.distributions.Beta(self.alpha, self.alpha).sample((len(batch),)).to(batch.device)
        shares = torch.stack([share, 1 - share])
        return mixing.mixed(batch, shares, shares[..., None, None], rng)
