"""Training on batches made harder for the model as it is: what adversarial training and worst-of-k share.

A hard example depends on the model at that very step, which is why `Attacker.learn` hands its augmentation the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Generator, nn

from bench.api import Attacker, Clips, Log
from bench.errors import DataError

__all__ = ["Harden", "evaluating", "learn"]

Harden = Callable[[nn.Module, Clips], Clips]
"""Makes a batch harder for a model: (model, batch) -> batch."""


def learn(
    attacker: Attacker[Clips], harden: Harden, train: Clips, validation: Clips, rng: Generator, log: Log
) -> nn.Module:
    """Train an attacker by its own loop, each batch hardened; its checkpoint is chosen on clean clips as they are.

    Args:
        attacker: whose `learn` is called.
        harden: makes a batch harder for the model as it is.
        train: the training set.
        validation: a clean set for the choice of the checkpoint.
        rng: the only source of random numbers.
        log: called once an epoch.

    Raises:
        DataError: if the attacker's batches are not `Clips`, such as precomputed tokens.
    """

    def augment(batch: Any, rng: Generator, model: nn.Module) -> Clips:
        if not isinstance(batch, Clips):
            raise DataError(f"{type(attacker).__name__} trains on {type(batch).__name__}, expected Clips to harden")
        return harden(model, batch)

    return attacker.learn(train, validation, rng, augment=augment, log=log)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Set a model to evaluation mode for a block, so that a search for hard examples moves no running mean."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
