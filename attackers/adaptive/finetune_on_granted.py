"""Fine-tune on granted clean items after training on the published ones.

What a shortcut left wrong in a model is corrected on the few clean items that the attacker holds. Training the last
layer alone is deep feature reweighting: the features that were learnt beside the shortcut are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Generator, nn

from bench.api import Adaptation, Attacker, Data, Log
from bench.errors import DataError
from bench.training import Budget, fit


@dataclass(frozen=True)
class FinetuneOnGranted(Adaptation[Data]):
    """Train on the published items by the attacker's own loop, then on the granted clean items.

    The better of the models before and after fine-tuning, by the items that choose, is kept.

    layers: "last" trains the last layer that has trainable weights; "all" trains all that are trainable.
    steps: optimiser steps of fine-tuning, beside those of the training.
    lr: learning rate of fine-tuning (AdamW).
    batch: granted items of one step.
    """

    domains = ("audio", "midi")
    requires = ("granted",)
    paper = "Kirichenko et al. 2023, ICLR (last layer)"

    layers: Literal["last", "all"] = "last"
    steps: int = 60
    lr: float = 1e-3
    batch: int = 16

    def __post_init__(self) -> None:
        if self.steps < 1 or self.lr <= 0 or self.batch < 1:
            raise ValueError(
                f"steps = {self.steps}, lr = {self.lr}, batch = {self.batch}: expected more than 0, "
                "such as 60, 0.001 and 16"
            )

    def train_with_granted(
        self, attacker: Attacker[Data], train: Data, granted: Data, validation: Data, rng: Generator, *, log: Log
    ) -> nn.Module:
        if not len(granted):
            raise DataError("finetune_on_granted: no granted item is for training, expected `granted` of at least 2")
        model = attacker.learn(train, validation, rng, log=log)
        budget = Budget(self.steps, min(self.batch, len(granted)), self.lr, evaluate_every=max(1, self.steps // 4))
        trained = last_layer(model) if self.layers == "last" else None
        return fit(
            model, attacker.loss, granted, validation, rng, budget, _quality(attacker), log=log, parameters=trained
        )


def last_layer(model: nn.Module) -> list[nn.Parameter]:
    """Return the trainable weights of the last layer that has any, in the order in which the model declares its layers.

    Raises:
        DataError: the model has no trainable weight.
    """
    for module in reversed(list(model.modules())):
        weights = [weight for weight in module.parameters(recurse=False) if weight.requires_grad]
        if weights:
            return weights
    raise DataError("finetune_on_granted: the model has no trainable weight")


def _quality(attacker: Attacker[Data]) -> Callable[[nn.Module, Data], float]:
    """Return the mean of the attacker's first metric, as `fit` asks for it."""

    def quality(model: nn.Module, validation: Data) -> float:
        return float(next(iter(attacker.quality(model, validation).values())).mean())

    return quality
