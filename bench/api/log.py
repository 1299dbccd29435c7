"""The training log: what attackers and defenses report once an epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["Epoch", "Log", "silent_log"]


@dataclass(frozen=True)
class Epoch:
    """One line of a training log: of an attacker's training, or of a defense that minimises a loss.

    It is never scored.

    Attributes:
        step: Optimiser steps so far; for a defense, its rounds.
        loss: Mean training loss since the last line; None before the first step.
        validation: Quality on the clean validation set, higher is better.
        more: Further numbers by name, such as a critic's loss.
    """

    step: int
    loss: float | None = None
    validation: float | None = None
    more: Mapping[str, float] = field(default_factory=dict)

    def numbers(self) -> dict[str, float]:
        """Return all numbers by name, without those that are None."""
        values = {"step": self.step, **self.more, "loss": self.loss, "validation": self.validation}
        return {name: float(value) if name != "step" else value for name, value in values.items() if value is not None}


Log: TypeAlias = Callable[[Epoch], None]  # called once an epoch


def silent_log(epoch: Epoch) -> None:
    """Ignore a line of a log: the default of `log` arguments."""
