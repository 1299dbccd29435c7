"""What is asked: plugins as a trial names them, and the trial itself. Pure values, without torch.

A trial is one cell of a matrix: dataset x defense x knowledge x adaptation x attacker x seed. `bench.trials.plan` turns
trials into stages of work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.results import cells
from bench.results.names import NONE, file_name, row_name
from bench.sources import plain_name
from bench.vocabulary import Control, Kind, Needs

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Part:
    """One plugin of a trial, resolved: what the key and the record must know of it."""

    kind: Kind  # "datasets", "defenses", "attackers", "adaptations"
    name: str
    params: Mapping[str, Any]  # every field, JSON
    digest: str  # of its source, see plugins.digest
    given: Mapping[str, Any] = field(default_factory=dict)  # the parameters that the user gave
    data: str = ""  # a fingerprint of the files that it reads beside its own
    version: int = 1
    label: str = ""  # what the table calls it; the name unless the suite says otherwise
    control: Control = Control.NONE
    hooks: tuple[str, ...] = ()  # which it has of the optional methods that decide about stages, see plugins.HOOKS
    needs: Needs = field(default_factory=Needs)
    # What the plan or the tables read of its declarations: per, task, preprocess, content.
    traits: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides its results: not the label, not what it needs, not where a user's file lies."""
        identity = {"name": self._plain_name, "params": dict(self.params), "digest": self.digest}
        return {**identity, "data": self.data} if self.data else identity

    @property
    def _plain_name(self) -> str:
        return plain_name(Path(self.name)) if self.name.endswith(".py") else self.name

    @property
    def title(self) -> str:
        return self.label or self._plain_name


@dataclass(frozen=True)
class Trial:
    """One cell of a matrix. `adaptation` None: the attacker trains on the data as it was published."""

    dataset: Part
    defense: Part
    attacker: Part
    seed: int
    knowledge: str = "white-box"
    surrogates: tuple[Part, ...] = ()  # the attackers that the defender may use, by `knowledge`
    expects: tuple[Part, ...] = ()  # the adaptations that the defender prepares for
    adaptation: Part | None = None
    reference: Part | None = None  # of a matched control: the defense whose audibility it must have
    preset: str = "small"
    share: float | str = 1.0  # of the training clips that are protected; a class's name: all of that class, no other

    @property
    def row(self) -> str:
        """The defense's name in a table: with what it is matched to, and with the share of the set that it protects."""
        return row_name(self.defense.title, self.reference.title if self.reference else "", self.share)

    @property
    def cell(self) -> cells.Cell:
        """The cell of its result: all of it but the seed, by labels."""
        adapted = self.adaptation.title if self.adaptation else NONE
        return cells.Cell(self.dataset.title, self.row, self.knowledge, self.attacker.title, adapted)

    @property
    def partial(self) -> bool:
        """Whether a share of the items of every class is protected and the rest is not."""
        return not isinstance(self.share, str) and self.share < 1

    @property
    def name(self) -> str:
        """A file name for the trial's record, unique within a suite."""
        return file_name([*self.cell, f"s{self.seed}"])
