"""The name of a cell: what one row of a table reaches against one attacker under one response."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from bench.results.names import NONE, file_name, response_name
from bench.results.record import Record

__all__ = ["Cell", "cell_id", "cell_of"]


class Cell(NamedTuple):
    """All of a trial but the seed, by labels, as tables print them."""

    dataset: str
    defense: str
    knowledge: str
    attacker: str
    adaptation: str

    @property
    def name(self) -> str:
        """The name of its records without the seed."""
        return file_name(self)

    @property
    def id(self) -> str:
        """Six hexadecimal digits of a digest of its name, by which tables call it."""
        return cell_id(self.name)

    def __str__(self) -> str:
        response = response_name(self.attacker, self.adaptation)
        knowledge = "" if self.knowledge in (NONE, "white-box") else f" ({self.knowledge})"
        return f"{self.dataset}: {self.defense}{knowledge} against {response}"


def cell_id(name: str) -> str:
    """Return the id of a cell of that name: six hexadecimal digits."""
    return hashlib.sha256(name.encode()).hexdigest()[:6]


def cell_of(record: Record) -> Cell:
    """Return the cell of a record."""
    trial = record.trial
    return Cell(trial.dataset.label, trial.row, trial.knowledge, trial.attacker.label, trial.adaptation_label)
