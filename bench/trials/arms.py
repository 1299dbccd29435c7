"""The arms of a trial: what each is trained on, and whether under the trial's adaptation. Pure values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.trials.trial import Trial

__all__ = ["ARMS", "UNTRAINED", "Arm", "TrainingSet"]

TrainingSet = Literal["published", "clean", "remainder"]


@dataclass(frozen=True)
class Arm:
    """One model of a trial and its evaluation. `role` names the evaluation in a record, `ROLE_learned` the model."""

    role: str
    train: TrainingSet | None  # None: the model as it comes, untrained
    adapted: bool  # trained and, where the adaptation preprocesses, tested under the trial's adaptation
    applies: Callable[[Trial], bool] = lambda trial: True


ARMS = (
    Arm("protected", "published", adapted=True),
    # The reference of the score: clean data, without adaptation.
    Arm("clean", "clean", adapted=False),
    # Chance, or the pretrained base; where the attacker has a `prior`, a model of the symbol frequencies in the clean
    # training set.
    Arm("untrained", None, adapted=False),
    # What the adaptation costs the attacker.
    Arm("clean_adapted", "clean", adapted=True, applies=lambda trial: trial.adaptation is not None),
    # The unprotected items alone, where only a share of the set is protected.
    Arm("remainder", "remainder", adapted=False, applies=lambda trial: trial.partial),
)
UNTRAINED = next(arm for arm in ARMS if arm.train is None)
