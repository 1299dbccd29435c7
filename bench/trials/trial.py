"""Trials and the plugins that they name. Pure values, without torch.

A trial is one cell of a matrix: dataset x defense x knowledge x adaptation x attacker x seed. `bench.trials.plan` turns
trials into stages of work.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.results import cells
from bench.results.names import JOINT, NONE, file_name, row_name
from bench.results.threat import ThreatModel
from bench.sources import plain_name
from bench.vocabulary import Control, Kind, Needs

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Part:
    """One plugin of a trial, resolved: what the key and the record need of it; or a chain of adaptations."""

    kind: Kind  # "datasets", "defenses", "attackers", "adaptations"
    name: str
    params: Mapping[str, Any]  # every field, JSON
    digest: str  # of its source, see plugins.digest
    overrides: Mapping[str, Any] = field(default_factory=dict)  # the parameters that the user gave
    data: str = ""  # fingerprint of the files that it reads beside its source
    version: int = 1
    label: str = ""  # its name in tables; empty for `name`
    control: Control = Control.NONE
    hooks: tuple[str, ...] = ()  # the optional methods that it defines and that decide about stages, see plugins.HOOKS
    needs: Needs = field(default_factory=Needs)
    # The declarations that the plan or the tables read: per, task, preprocess, content, unoptimised.
    traits: Mapping[str, str] = field(default_factory=dict)
    links: tuple[Part, ...] = ()  # of a chain, in order; the chain has nothing else but its name, see `chain`

    @property
    def steps(self) -> tuple[Part, ...]:
        """The plugins that it stands for: the links of a chain, in order; else the plugin itself."""
        return self.links or (self,)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides its results: not the label, the needs or the path of a user's file."""
        if self.links:
            return {"links": [link.identity for link in self.links]}
        identity = {"name": self._plain_name, "params": dict(self.params), "digest": self.digest}
        return {**identity, "data": self.data} if self.data else identity

    @property
    def _plain_name(self) -> str:
        return plain_name(Path(self.name)) if self.name.endswith(".py") else self.name

    @property
    def title(self) -> str:
        """Its name in tables and messages."""
        return self.label or self._plain_name

    def unoptimised(self, domain: str) -> dict[str, Any] | None:
        """Return the parameters with which a defense is its own control "random"; None if it declares none."""
        params: dict[str, Any] | None = ast.literal_eval(self.traits.get("unoptimised", "{}")).get(domain)
        return params


def chain(links: Sequence[Part]) -> Part:
    """Return adaptations that follow one another as one part, called by all of their names.

    Args:
        links: The adaptations, in order.
    """
    name = JOINT.join(link.title for link in links)
    return Part(kind="adaptations", name=name, label=name, params={}, digest="", links=tuple(links))


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
    reference: Part | None = None  # for a matched control: the defense whose audibility it matches
    preset: str = "small"
    share: float | str = 1.0  # protected share of the training items; a class's name: all of that class, no other
    threat: ThreatModel | None = None  # None: the whole training set is published and the validation set chooses
    replacement: Part | None = None  # of `threat`: a data set that the attacker trains on as well

    @property
    def row(self) -> str:
        """The defense's name in a table, with the defense that it is matched to and the share that it protects."""
        return row_name(self.defense.title, self.reference.title if self.reference else "", self.share)

    @property
    def control(self) -> Control:
        """The kind of control that its row is; a defense that is matched to another one is one."""
        return Control.MATCHED if self.reference else self.defense.control

    @property
    def cell(self) -> cells.Cell:
        """The cell of its result: everything but the seed, by labels."""
        adapted = self.adaptation.title if self.adaptation else NONE
        return cells.Cell(self.dataset.title, self.row, self.knowledge, self.attacker.title, adapted)

    @property
    def partial(self) -> bool:
        """Whether a share of every class is protected and the rest is not."""
        return not isinstance(self.share, str) and self.share < 1

    @property
    def name(self) -> str:
        """The file name of the trial's record, unique within a suite."""
        return file_name([*self.cell, f"s{self.seed}"])
