"""The name of a cell: what one row of a table reaches against one attacker under one response."""

from __future__ import annotations

from typing import NamedTuple

from bench.trials.matrix import NONE
from bench.trials.record import Record
from bench.trials.trial import Trial

__all__ = ["Cell", "cell_of"]


class Cell(NamedTuple):
    """All of a trial but the seed, by labels, as tables print them."""

    dataset: str
    defense: str
    knowledge: str
    attacker: str
    adaptation: str

    def __str__(self) -> str:
        response = self.attacker if self.adaptation == NONE else f"{self.attacker} + {self.adaptation}"
        known = "" if self.knowledge in (NONE, "white-box") else f" ({self.knowledge})"
        return f"{self.dataset}: {self.defense}{known} against {response}"


def cell_of(asked: Record | Trial) -> Cell:
    """The cell of a record, or of a trial that has yet to be run."""
    if isinstance(asked, Trial):
        adapted = asked.adaptation.title if asked.adaptation else NONE
        return Cell(asked.dataset.title, asked.row, asked.knowledge, asked.attacker.title, adapted)
    trial = asked.trial
    adapted = trial.adaptation.label if trial.adaptation else NONE
    return Cell(trial.dataset.label, trial.row, trial.knowledge, trial.attacker.label, adapted)
