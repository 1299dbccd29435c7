"""One JSON a trial: what was asked, what came out item by item, what it cost, where it was made.

NaN and infinity are written as null; `notes` says why. A record of an older schema is upgraded when it is read; one of
a newer schema is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic

from bench.errors import DataError
from bench.results.score import ValidityCheck, items_denied, learns_check
from bench.trials.plan import Cell
from bench.trials.provenance import provenance
from bench.trials.store import Store, holds_json, write_json
from bench.trials.trial import Part

SCHEMA = 1
# From the schema of the key to the next one. The chain is only ever added to.
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}

Number = float | None
EVALUATED = ("protected", "clean", "clean_adapted", "untrained", "remainder")
LEARNED = {
    "protected": "protected_learned",
    "clean": "clean_learned",
    "clean_adapted": "clean_adapted_learned",
    "remainder": "remainder_learned",
}


_ON_A_DEVICE = ("protect", "adapt", "learn", "evaluate", "compare")  # tasks of plugins, whose digits depend on it


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class PartRecord(_Strict):
    """A plugin as it was used."""

    name: str
    label: str
    version: int
    digest: str
    data: str = ""
    given: dict[str, Any]
    params: dict[str, Any]


class TrialRecord(_Strict):
    """What was asked."""

    row: str  # the defense's name in a table
    dataset: PartRecord
    defense: PartRecord
    knowledge: str
    surrogates: list[PartRecord]
    expects: list[PartRecord]
    reference: PartRecord | None
    adaptation: PartRecord | None
    attacker: PartRecord
    seed: int
    preset: str
    control: str
    share: float | str = 1.0  # of the training clips; a class's name: that class alone
    per: str = ""  # what one perturbation is made for


class GateRecord(_Strict):
    """A condition without which the cell is void."""

    name: str
    passed: bool
    value: Number
    limit: Number
    meaning: str


class Record(_Strict):
    """One trial. `arms` holds the quality of every held-out item for every arm, higher is better."""

    schema_version: int = SCHEMA
    name: str
    key: str
    status: Literal["ok", "failed"]
    error: dict[str, str] | None = None  # stage, type, message, tail
    trial: TrialRecord
    metric: str = ""  # the one that is scored
    denied: Number = None  # learning denied, see bench.results.score
    arms: dict[str, dict[str, list[Number]]] = {}  # arm -> metric -> [item]
    ids: list[str] = []  # of the held-out items
    groups: list[str] = []
    labels: list[str] = []  # of the held-out items, where they have any
    alignment: dict[str, str] = {}  # the protected set's and the mixed set's hash of which sound is whose
    gates: list[GateRecord] = []
    epochs: dict[str, list[dict[str, Number]]] = {}  # arm -> one row an epoch
    audibility: dict[str, list[Number]] = {}  # metric -> [clip], of the protected set
    heard: list[str] = []  # the names of those clips: all or, of a large set, some that are evenly spread
    distance: dict[str, dict[str, Number]] = {}  # protected set and each arm's generated set, from real data
    music: dict[str, dict[str, Number]] = {}  # metrics of rolls: real ones, references, protected, each arm's generated
    crafting: list[dict[str, Number]] = []  # what the defense told of its surrogates, a row a round; never scored
    view: dict[str, list[Number]] = {}  # "changed": of each training item, the share of the attacker's input
    stages: dict[str, str] = {}  # role -> key of its artefact
    notes: dict[str, str] = {}  # why a number is null
    cost: dict[str, dict[str, float]] = {}  # role -> seconds, cpu_seconds, peak_memory_mb
    made: dict[str, Any] = {}

    @property
    def scored(self) -> list[int]:
        """The held-out items that the score is about: those of the class that alone was protected, else all."""
        if not isinstance(self.trial.share, str):
            return list(range(len(self.ids)))
        return [at for at, label in enumerate(self.labels) if label == self.trial.share]

    def quality(self, arm: str, metric: str = "") -> list[Number]:
        """An arm's values of the items that are scored. Empty where the record has no such arm."""
        values = self.arms.get(arm, {}).get(metric or self.metric, [])
        return [values[at] for at in self.scored] if values else []

    def mean(self, arm: str, metric: str = "") -> float:
        """The mean quality of an arm. NaN where the arm has no number."""
        return mean(self.quality(arm, metric))

    @property
    def learning_denied(self) -> float:
        """The score of this seed, from the items. NaN where there is none."""
        arms = (
            [math.nan if q is None else q for q in self.quality(arm)] for arm in ("clean", "protected", "untrained")
        )
        return items_denied(*arms)

    @property
    def void(self) -> list[GateRecord]:
        """The gates that failed: any makes the cell void, shown and not ranked."""
        return [gate for gate in self.gates if not gate.passed]

    def science(self) -> dict[str, Any]:
        """All but what differs from run to run: costs and provenance."""
        return self.model_dump(exclude={"cost", "made"})

    def save(self, folder: Path) -> Path:
        """Write the record, unless the file says the same already: a resumed run has thousands that it does."""
        path = folder / f"{self.name}.json"
        if not holds_json(path, made := self.model_dump()):
            write_json(path, made)
        return path


def load(path: Path) -> Record:
    """Read a record. Raises `DataError` where it is not one, or of a schema newer than this program."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        version = int(data["schema_version"])
        if version > SCHEMA:
            raise DataError(f"{path} has schema {version}, this program reads up to {SCHEMA}: update cloakbench")
        while version < SCHEMA:
            data = UPGRADES[version](data)
            version = int(data["schema_version"])
        return Record.model_validate(data)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a record: {str(error).splitlines()[0]}") from error


def load_all(folder: Path) -> list[Record]:
    """Read every record of a folder, by name.

    Raises:
        DataError: a file is no record, is not called as its record is, or holds a trial that another file holds: a
            copy would count as one more seed.
    """
    read = [(path, load(path)) for path in sorted(folder.glob("*.json"))]
    require_unique((str(path), record) for path, record in read)
    for path, record in read:
        if path.name != f"{record.name}.json":
            raise DataError(f"{path} holds the record '{record.name}', expected in {record.name}.json: a renamed copy?")
    return [record for _, record in read]


def require_unique(records: Iterable[tuple[str, Record]]) -> None:
    """Refuse two records of one trial.

    Args:
        records: where each record was read from, and the record.

    Raises:
        DataError: two records have the same name, or the same data set, defense, attacker, adaptation and seed.
    """
    seen: dict[tuple[Any, ...], str] = {}
    for where, record in records:
        trial = record.trial
        adaptation = trial.adaptation.label if trial.adaptation else None
        parts = (trial.dataset.label, trial.row, trial.knowledge, trial.attacker.label, adaptation, trial.seed)
        for identity in ((record.name,), parts):
            first = seen.setdefault(identity, where)
            if first != where:
                raise DataError(f"{first} and {where} hold the same trial, {record.name}: remove one")


def of(cell: Cell, store: Store, command: str = "") -> Record:
    """The record of a cell whose stages are all in the store."""
    metas = {role: store.meta(key) for role, key in cell.keys.items()}

    def found(role: str, name: str, otherwise: Any) -> Any:
        value = store.json(cell.keys[role], name) if role in cell.keys else None
        return otherwise if value is None else value

    results = {role: found(role, "quality.json", None) for role in EVALUATED if role in cell.keys}
    reference = results["untrained"]
    metric = reference["metric"]
    heard = found("audit", "audibility.json", {"ids": [], "per_clip": {}, "distance": {}})
    distance = {f"generated_{arm}": result["distance"] for arm, result in results.items() if "distance" in result}
    if heard["distance"]:
        distance["protected_set"] = heard["distance"]
    arms = {arm: result["quality"] for arm, result in results.items()}
    own_gates = results["clean"].get("gates", [])
    record = Record(
        name=cell.trial.name,
        key=cell.key,
        status="ok",
        trial=_asked(cell),
        metric=metric,
        arms=arms,
        ids=reference["ids"],
        groups=reference["groups"],
        labels=reference.get("labels", []),
        alignment={
            role: metas[role]["alignment"]
            for role in ("protected_set", "mixed_set")
            if "alignment" in metas.get(role, {})
        },
        gates=[common_gate(arms, metric, reference["groups"]), *map(GateRecord.model_validate, own_gates)],
        epochs={arm: found(role, "epochs.json", []) for arm, role in LEARNED.items() if role in cell.keys},
        audibility=heard["per_clip"],
        heard=heard.get("ids", []),
        distance=distance,
        music=_music(results, heard.get("music", {})),
        crafting=found("protected_set", "crafting.json", []),
        view=found("view", "view.json", {}),
        stages=dict(cell.keys),
        cost={role: meta["cost"] for role, meta in metas.items() if not _cost_is_mixed(meta)},
        made={"command": command, **metas["protected"]["made"], "accelerator": _accelerators(metas.values())},
    )
    record = record.model_copy(update={"denied": numbers([record.learning_denied])[0]})
    return record.model_copy(update={"notes": why_null(record)})


def failed(cell: Cell, error: Mapping[str, str], command: str = "") -> Record:
    """The record of a cell one of whose stages failed."""
    return Record(
        name=cell.trial.name,
        key=cell.key,
        status="failed",
        error=dict(error),
        trial=_asked(cell),
        stages=dict(cell.keys),
        made={"command": command, **provenance(), "accelerator": None},
    )


def numbers(values: Iterable[float]) -> list[Number]:
    """Floats as JSON can hold them, to six digits, more than any of them means: what is not finite becomes null."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]


def mean(values: Iterable[Number]) -> float:
    """The mean of the numbers that there are. NaN where there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else math.nan


def numbers_by_name(values: Mapping[str, float]) -> dict[str, Number]:
    return dict(zip(values, numbers(values.values()), strict=True))


def _music(results: Mapping[str, Any], sets: Mapping[str, dict[str, Number]]) -> dict[str, dict[str, Number]]:
    """The metrics of rolls by whose they are; the references are the same for every arm."""
    arms = {arm: result["music"] for arm, result in results.items() if "music" in result}
    references: dict[str, dict[str, Number]] = next(iter(arms.values()), {})
    return {
        **{name: numbers for name, numbers in references.items() if name != "generated"},
        **{f"{name} set": numbers for name, numbers in sets.items()},
        **{f"generated, {arm}": found["generated"] for arm, found in arms.items()},
    }


def gates_of(
    part: Part, arms: Mapping[str, Mapping[str, list[Number]]], metric: str, groups: Sequence[str]
) -> list[GateRecord]:
    """The gate that every attacker must pass, and the attacker's own, computed again from the arms of a record."""
    from bench import plugins

    attacker = plugins.from_parameters(part.kind, part.name, plugins.load(part.kind, part.name), part.params)
    return [common_gate(arms, metric, groups), *attacker_gates(attacker, arms["clean"], arms["untrained"])]


def attacker_gates(
    attacker: Any, clean: Mapping[str, list[Number]], untrained: Mapping[str, list[Number]]
) -> list[GateRecord]:
    """The attacker's own validity checks; none where it declares none.

    Args:
        attacker: the plugin, an instance.
        clean: metric -> [item], of the arm that is trained on clean data.
        untrained: metric -> [item], of the untrained arm.
    """
    return [_gate(check) for check in attacker.validity(_means(clean), _means(untrained))]


def common_gate(arms: Mapping[str, Mapping[str, list[Number]]], metric: str, groups: Sequence[str]) -> GateRecord:
    """The gate that every attacker must pass: it follows from the arms alone, without the attacker's code."""
    every = zip(arms["clean"][metric], arms["untrained"][metric], groups, strict=True)
    pairs = [(a, b, g) for a, b, g in every if a is not None and b is not None]
    return _gate(learns_check([a for a, _, _ in pairs], [b for _, b, _ in pairs], [g for _, _, g in pairs]))


def _accelerators(metas: Iterable[Mapping[str, Any]]) -> str | None:
    """Which devices made the stages that compute on one: None for processors alone."""
    names = {meta["made"]["accelerator"] for meta in metas if meta["task"] in _ON_A_DEVICE}
    if names == {None}:
        return None
    return " and ".join(sorted(name or "processor" for name in names))


def _cost_is_mixed(meta: Mapping[str, Any]) -> bool:
    """Whether a protect stage was made when it also measured audibility: what protecting alone cost is then unknown."""
    return meta["task"] == "protect" and "audibility.json" in meta["files"]


def _gate(gate: ValidityCheck) -> GateRecord:
    value, limit = numbers([gate.value, gate.limit])
    return GateRecord(name=gate.name, passed=bool(gate.passed), value=value, limit=limit, meaning=gate.meaning)


def _means(arm: Mapping[str, list[Number]]) -> dict[str, float]:
    return {metric: mean(values) for metric, values in arm.items()}


def _asked(cell: Cell) -> TrialRecord:
    trial = cell.trial
    return TrialRecord(
        row=trial.row,
        dataset=_recorded(trial.dataset),
        defense=_recorded(trial.defense),
        knowledge=trial.knowledge,
        surrogates=[_recorded(part) for part in trial.surrogates],
        expects=[_recorded(part) for part in trial.expects],
        reference=_recorded(trial.reference) if trial.reference else None,
        adaptation=_recorded(trial.adaptation) if trial.adaptation else None,
        attacker=_recorded(trial.attacker),
        seed=trial.seed,
        preset=trial.preset,
        control=trial.defense.control,
        share=trial.share,
        per=trial.defense.traits.get("per", ""),
    )


def _recorded(part: Part) -> PartRecord:
    return PartRecord(
        name=part.name if not part.name.endswith(".py") else part.title,
        label=part.title,
        version=part.version,
        digest=part.digest,
        data=part.data,
        given=dict(part.given),
        params=dict(part.params),
    )


def why_null(record: Record) -> dict[str, str]:
    """The notes that a record must have: the place of every null -> why it is one."""
    notes = {}
    for metric, values in record.audibility.items():
        if None in values:
            notes[f"audibility.{metric}"] = (
                "not finite: the clip has no noise, or nothing that can be measured against it"
            )
    for arm, metrics in record.arms.items():
        for metric, values in metrics.items():
            if None in values:
                notes[f"arms.{arm}.{metric}"] = "not finite: the model gave NaN or infinity for the item"
    if record.denied is None:
        notes["denied"] = "the clean arm is exactly as good as the untrained one, or an arm has no number"
    return notes


__all__ = [
    "Record",
    "attacker_gates",
    "common_gate",
    "failed",
    "gates_of",
    "load",
    "load_all",
    "mean",
    "numbers",
    "numbers_by_name",
    "of",
    "require_unique",
    "why_null",
]
