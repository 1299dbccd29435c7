"""Train on batches that are modified against the current model; shared by adversarial training and worst-of-k.

A hard example depends on the model at that step, so `Attacker.learn` passes the model to its augmentation.
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
    """Train an attacker by its own loop, each batch hardened; the checkpoint is chosen on unmodified clean clips.

    Args:
        attacker: Its `learn` is called.
        harden: Makes a batch harder for the current model.
        train: The training set.
        validation: A clean set for the choice of the checkpoint.
        rng: The only source of random numbers.
        log: Called once an epoch.

    Returns:
        The trained model.

    Raises:
        DataError: The attacker's batches are not `Clips` but, for example, precomputed tokens.
    """

    def augment(batch: Any, rng: Generator, model: nn.Module) -> Clips:
        if not isinstance(batch, Clips):
            raise DataError(
                f"{type(attacker).__name__} trains on {type(batch).__name__}, expected Clips, since audio is modified"
            )
        return harden(model, batch)

    return attacker.learn(train, validation, rng, augment=augment, log=log)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Set a model to evaluation mode for a block, so that a search for hard examples changes no running statistics.

    Args:
        model: The model.

    Returns:
        A context manager.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
