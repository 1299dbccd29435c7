"""Trials, stages, keys and the plan: pure values.

A trial is one cell: dataset x defense x knowledge x adaptation x attacker x seed. A plan turns trials into stages

    load -> protect -> mix -> adapt -> learn -> evaluate

each named by a content key over what it does: the task, the resolved parameters and source digests of its plugins, its
options and its parents' keys. Equal stages have equal keys and so collapse: one protected set serves every attacker,
one clean arm serves every defense. The arms of a trial are stages like all others:

    protected        protect, adapt, learn, evaluate
    clean            learn and evaluate on the data as it is, without adaptation: the reference of the score
    clean adapted    the same under the trial's adaptation: what the adaptation costs the attacker
    untrained        evaluate the model as it comes: chance, or the pretrained base; where the attacker has a `prior`,
                     what the frequencies of single symbols in the clean training set are worth
    remainder        where only a share of the set is protected: learn from the unprotected rest alone

One more stage, where the attacker has a `view`: compare what it reads of the protected set with what it reads of the
clean one, both adapted.

A preprocessing adaptation before a classifier changes what is validated and tested on too: it is the attacker's own
pipeline.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePath
from typing import Any

from bench.api import Needs
from bench.vocabulary import Kind

# Part of every key. Raise it when the engine itself changes what a stage computes; a test freezes the keys it gives.
SCHEMA = 1
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
    control: str = ""
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
        return PurePath(self.name).stem if self.name.endswith(".py") else self.name

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
        name = f"{self.defense.title} ~ {self.reference.title}" if self.reference else self.defense.title
        if isinstance(self.share, str):
            return f"{name} on '{self.share}'"
        return name if self.share == 1 else f"{name} on {100 * self.share:g}%"

    @property
    def name(self) -> str:
        """A file name for the trial's record, unique within a suite."""
        adapted = self.adaptation.title if self.adaptation else "none"
        parts = (self.dataset.title, self.row, self.knowledge, self.attacker.title, adapted, f"s{self.seed}")
        return "--".join("".join(c if c.isalnum() or c in "-_." else "-" for c in part).strip("-.") for part in parts)


@dataclass(frozen=True)
class Stage:
    """One unit of work. `key` names its artefact in the store."""

    task: str  # "load", "protect", "mix", "adapt", "learn", "evaluate", "compare"
    parts: Mapping[str, tuple[Part, ...]]  # role -> plugins
    options: Mapping[str, Any]
    parents: Mapping[str, str]  # role -> key
    title: str = ""  # for people
    key: str = ""

    @property
    def needs(self) -> Needs:
        """The most that any of its plugins needs; reading and writing sets is nobody's need."""
        needs = [part.needs for role, parts in self.parts.items() if role != "dataset" for part in parts]
        if not needs:
            return Needs()
        return Needs(
            cpus=max(need.cpus for need in needs),
            gpus=max(need.gpus for need in needs),
            memory_gb=max(need.memory_gb for need in needs),
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Stage:
        parts = {role: tuple(_part(item) for item in items) for role, items in data["parts"].items()}
        return cls(**{**data, "parts": parts})


@dataclass(frozen=True)
class Cell:
    """Which artefacts a trial's record is made of: role -> key."""

    trial: Trial
    keys: Mapping[str, str]

    @property
    def key(self) -> str:
        return digest({"schema": SCHEMA, "stages": dict(self.keys)})


@dataclass(frozen=True)
class Plan:
    """Stages by key, parents before children, and the cells that they are for."""

    stages: Mapping[str, Stage]
    cells: tuple[Cell, ...]


def digest(value: Any) -> str:
    """The content key of a JSON value: the first 32 hexadecimal digits of the SHA-256 of its canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def stage(
    task: str,
    title: str,
    parts: Mapping[str, Part | tuple[Part, ...] | None],
    options: Mapping[str, Any] | None = None,
    parents: Mapping[str, Stage] | None = None,
) -> Stage:
    """A stage with its key. Roles without a plugin are left out of the key."""
    listed = {role: part if isinstance(part, tuple) else (part,) for role, part in parts.items() if part}
    keys = {role: parent.key for role, parent in (parents or {}).items()}
    content = {
        "schema": SCHEMA,
        "task": task,
        "parts": {role: [part.identity for part in items] for role, items in listed.items()},
        "options": dict(options or {}),
        "parents": keys,
    }
    return Stage(task, listed, dict(options or {}), keys, title, digest(content))


def plan(trials: Iterable[Trial]) -> Plan:
    """Every stage that the trials need, once each, parents before children."""
    builder, cells = _Builder(), []
    kept = tuple(trials)  # the builder knows parts by identity, so none may go while it works
    for trial in kept:
        cells.append(Cell(trial, {role: made.key for role, made in _arms(trial, builder).items()}))
    return Plan(builder.stages, tuple(cells))


class _Builder:
    """The stages made so far, parents before children. What was made once is not made, or digested, again."""

    def __init__(self) -> None:
        self.stages: dict[str, Stage] = {}
        self._known: dict[Any, Stage] = {}

    def made(
        self,
        task: str,
        title: str,
        parts: Mapping[str, Part | tuple[Part, ...] | None],
        options: Mapping[str, Any],
        parents: Mapping[str, Stage],
    ) -> Stage:
        listed = {role: part if isinstance(part, tuple) else (part,) for role, part in parts.items() if part}
        known = (
            task,
            tuple((role, *map(id, items)) for role, items in listed.items()),
            tuple((name, type(value), value) for name, value in options.items()),  # 1 and 1.0 have different keys
            tuple((role, parent.key) for role, parent in parents.items()),
        )
        found = self._known.get(known)
        if found is None:
            own = stage(task, title, listed, options, parents)
            found = self._known[known] = self.stages.setdefault(own.key, own)
        return found


def _arms(trial: Trial, build: _Builder) -> dict[str, Stage]:
    data, attacker, seed = trial.dataset, trial.attacker, trial.seed
    loaded = {split: _load(data, split, build) for split in SPLITS}
    protected = _protect(trial, loaded["train"], build)
    published = _mix(trial, loaded["train"], protected, build)
    both = trial.adaptation and trial.adaptation.traits.get("preprocess") and attacker.traits.get("task") == "classify"
    where = f"{attacker.title} on {data.title}"

    def learn(train: Stage, adaptation: Part | None, what: str) -> Stage:
        hooked = adaptation if adaptation and {"augment", "train"} & set(adaptation.hooks) else None
        validation = loaded["validation"]
        if adaptation and both:
            validation = adapt(validation, "the validation set")
        parents = {"train": train, "validation": validation}
        parts = {"attacker": attacker, "adaptation": hooked}
        return build.made("learn", f"learn {where}, {what}, seed {seed}", parts, {"seed": seed}, parents)

    def evaluate(model: Stage | None, what: str, adapted: bool = False) -> Stage:
        test = adapt(loaded["test"], "the test set") if adapted and both else loaded["test"]
        prior = model is None and "prior" in attacker.hooks
        parents = {"test": test} | ({"model": model} if model else {}) | ({"train": loaded["train"]} if prior else {})
        title = f"evaluate {where}, {what}, seed {seed}"
        return build.made("evaluate", title, {"attacker": attacker}, {"seed": seed}, parents)

    def adapt(train: Stage, what: str) -> Stage:
        if not trial.adaptation or "transform" not in trial.adaptation.hooks:
            return train
        title = f"adapt {what} by {trial.adaptation.title}, seed {seed}"
        return build.made("adapt", title, {"adaptation": trial.adaptation}, {"seed": seed}, {"train": train})

    under = f" under {trial.adaptation.title}" if trial.adaptation else ""
    given, bare = adapt(published, trial.row), adapt(loaded["train"], "clean")
    learned = learn(given, trial.adaptation, trial.row + under)
    clean_learned = learn(loaded["train"], None, "clean")
    adapted_learned = learn(bare, trial.adaptation, "clean" + under)
    roles = {
        "clean_set": loaded["train"],
        "test_set": loaded["test"],
        "protected_set": protected,
        **({"mixed_set": published} if published is not protected else {}),
        "protected_learned": learned,
        "protected": evaluate(learned, trial.row + under, adapted=True),
        "clean_learned": clean_learned,
        "clean": evaluate(clean_learned, "clean"),
        "untrained": evaluate(None, "untrained"),
    }
    if trial.adaptation:
        roles["clean_adapted_learned"] = adapted_learned
        roles["clean_adapted"] = evaluate(adapted_learned, "clean" + under, adapted=True)
    if "view" in attacker.hooks:
        title = f"compare what {attacker.title} reads, {trial.row}{under}, seed {seed}"
        roles["view"] = build.made("compare", title, {"attacker": attacker}, {}, {"clean": bare, "protected": given})
    if isinstance(trial.share, float) and trial.share < 1:
        rest = learn(_remainder(trial, loaded["train"], build), None, f"the rest of {100 * trial.share:g}%")
        roles["remainder_learned"] = rest
        roles["remainder"] = evaluate(rest, f"the rest of {100 * trial.share:g}%")
    return roles


def _load(data: Part, split: str, build: _Builder) -> Stage:
    return build.made("load", f"load {data.title} {split}", {"dataset": data}, {"split": split}, {})


def _protect(trial: Trial, train: Stage, build: _Builder) -> Stage:
    """The protected set; the data itself for the clean control, so that its arms collapse into one."""
    if trial.defense.control == "clean":
        return train
    parents = {"train": train}
    content = {"content": trial.dataset.traits["content"]} if "content" in trial.dataset.traits else {}
    surrogates, expects = trial.surrogates, trial.expects
    if trial.reference:
        surrogates, expects = (), ()
        parents["reference"] = _protect(replace(trial, defense=trial.reference, reference=None), train, build)
    return build.made(
        "protect",
        f"protect {trial.dataset.title} with {trial.row}, seed {trial.seed}",
        {"defense": trial.defense, "surrogates": surrogates, "expects": expects},
        {"seed": trial.seed, "knowledge": "none" if trial.reference else trial.knowledge, **content},
        parents,
    )


def _mix(trial: Trial, train: Stage, protected: Stage, build: _Builder) -> Stage:
    """What is published where only a share is protected. Which clips is drawn by the seed, alike for every defense."""
    if trial.share == 1 or trial.defense.control == "clean":
        return protected
    options = {"seed": trial.seed, "share": trial.share}
    title = f"mix {trial.dataset.title} with {trial.row}, seed {trial.seed}"
    return build.made("mix", title, {}, options, {"train": train, "protected": protected})


def _remainder(trial: Trial, train: Stage, build: _Builder) -> Stage:
    """The clips that a share leaves unprotected, alone: what the protected ones add is measured against it."""
    title = f"keep the rest of {100 * float(trial.share):g}% of {trial.dataset.title}, seed {trial.seed}"
    return build.made("mix", title, {}, {"seed": trial.seed, "share": trial.share}, {"train": train})


def _part(data: Mapping[str, Any]) -> Part:
    return Part(**{**data, "hooks": tuple(data["hooks"]), "needs": Needs(**data["needs"])})
