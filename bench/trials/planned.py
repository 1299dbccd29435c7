"""What a plan consists of: stages with content keys, the cells that need them, and their builder. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.results.names import KEY_SCHEMA, digest, trial_key
from bench.trials.trial import Part, Trial
from bench.vocabulary import Needs

__all__ = ["Builder", "Cell", "Parts", "Plan", "Stage", "stage"]

Parts = Mapping[str, Part | tuple[Part, ...] | None]  # role -> plugins


@dataclass(frozen=True)
class Stage:
    """One unit of work. `key` names its artefact in the store."""

    task: str  # "load", "draw", "protect", "audit", "mix", "adapt", "learn", "evaluate", "compare", "memorise"
    parts: Mapping[str, tuple[Part, ...]]  # role -> plugins
    options: Mapping[str, Any]
    parents: Mapping[str, str]  # role -> key
    title: str = ""  # in messages
    key: str = ""

    @property
    def needs(self) -> Needs:
        """The largest need of its plugins; reading, writing and auditing sets need no accelerator."""
        parts = [part for role, parts in self.parts.items() if role != "dataset" for part in parts]
        needs = [step.needs for part in parts for step in part.steps]
        return Needs(
            cpus=max((need.cpus for need in needs), default=Needs.cpus),
            memory_gb=max((need.memory_gb for need in needs), default=Needs.memory_gb),
            accelerator_gb=max((need.accelerator_gb for need in needs), default=0.0),
        )


@dataclass(frozen=True)
class Cell:
    """The artefacts that a trial's record is built from: role -> key."""

    trial: Trial
    keys: Mapping[str, str]

    @property
    def key(self) -> str:
        """The record's key."""
        return trial_key(self.keys)


@dataclass(frozen=True)
class Plan:
    """Stages by key, parents before children, and the cells that need them."""

    stages: Mapping[str, Stage]
    cells: tuple[Cell, ...]


def stage(
    task: str,
    title: str,
    parts: Parts,
    options: Mapping[str, Any] | None = None,
    parents: Mapping[str, Stage] | None = None,
) -> Stage:
    """Return a stage with its key. Roles without a plugin are left out of the key.

    Args:
        task: The function of `bench.trials.stages.TASKS` that does it.
        title: Its name in messages; not part of the key.
        parts: Role -> plugin or plugins.
        options: JSON values that the task reads.
        parents: Role -> the stage whose artefact it reads.

    Returns:
        The stage.
    """
    listed = {role: part if isinstance(part, tuple) else (part,) for role, part in parts.items() if part}
    keys = {role: parent.key for role, parent in (parents or {}).items()}
    content = {
        "schema": KEY_SCHEMA,
        "task": task,
        "parts": {role: [part.identity for part in items] for role, items in listed.items()},
        "options": dict(options or {}),
        "parents": keys,
    }
    return Stage(task, listed, dict(options or {}), keys, title, digest(content))


class Builder:
    """Builds stages, parents before children. No stage is built, or digested, twice."""

    def __init__(self) -> None:
        self.stages: dict[str, Stage] = {}
        self._stages_of: dict[Any, Stage] = {}

    def stage(
        self, task: str, title: str, parts: Parts, options: Mapping[str, Any], parents: Mapping[str, Stage]
    ) -> Stage:
        listed = {role: part if isinstance(part, tuple) else (part,) for role, part in parts.items() if part}
        arguments = (
            task,
            tuple((role, *map(id, items)) for role, items in listed.items()),
            tuple((name, type(value), value) for name, value in options.items()),  # 1 and 1.0 have different keys
            tuple((role, parent.key) for role, parent in parents.items()),
        )
        cached = self._stages_of.get(arguments)
        if cached is None:
            new = stage(task, title, listed, options, parents)
            cached = self._stages_of[arguments] = self.stages.setdefault(new.key, new)
        return cached
