"""Training on batches made harder for the model as it is: what adversarial training and worst-of-k share.

An attacker's `learn` is handed its augmentation before there is a model, while a hard example needs the model of that
very step. So the attacker is lent another `loss`: `hardened` gives its twin, of a subclass that overrides nothing else,
whose loss changes the batch first. It relies on one thing: that `learn` trains by `self.loss`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Tensor, nn

from bench.api import Attacker, Clips, Log
from bench.errors import DataError

__all__ = ["Harden", "evaluating", "hardened", "learn"]

Harden = Callable[[Attacker[Any], nn.Module, Clips], Clips]  # the attacker as it was, its model now, a batch -> a batch


def learn(attacker: Attacker[Any], harden: Harden, train: Any, validation: Any, rng: Generator, log: Log) -> nn.Module:
    """The attacker's own training, each batch of it hardened."""
    return hardened(attacker, harden).learn(train, validation, rng, augment=_fresh, log=log)


def hardened(attacker: Attacker[Any], harden: Harden) -> Attacker[Any]:
    """A twin of the attacker whose loss is that of hardened batches wherever gradients are recorded.

    Without gradients it is the attacker's own, so that the checkpoint is chosen on the validation set as it is. The
    loss raises `DataError` for a batch that holds no sound, such as one of precomputed tokens.
    """

    def loss(self: Any, model: nn.Module, batch: Any) -> Tensor:
        if not torch.is_grad_enabled():
            return attacker.loss(model, batch)
        if not isinstance(batch, Clips):
            raise DataError(f"{type(attacker).__name__} trains on {type(batch).__name__}, expected Clips to harden")
        return attacker.loss(model, harden(attacker, model, batch))

    kind = type(attacker)
    twin: Any = copy.copy(attacker)
    object.__setattr__(twin, "__class__", type(kind.__name__, (kind,), {"loss": loss, "__slots__": ()}))
    made: Attacker[Any] = twin
    return made


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Inside the block the model is in evaluation mode, so that looking for hard examples moves no running mean."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _fresh(batch: Any, rng: Generator) -> Any:
    """Changes nothing, but is not `unchanged`, at which an attacker may compute its features once, before training."""
    return batch
