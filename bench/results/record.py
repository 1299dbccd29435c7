"""The record of a trial: its plugins and parameters, the results item by item, the cost, and the provenance.

A record holds what was measured. Whatever follows from that (its name, the row of the table, the score, the validity
check that every attacker must pass, why a number is null) is computed when it is read. NaN and infinity are written as
null. Records of an older schema are upgraded when they are read; those of a newer one are refused.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pydantic

from bench.files import replacing
from bench.results.arms import SCORED, Arm, curve_role, granted_role
from bench.results.names import file_name
from bench.results.plugin_records import PartRecord, Strict, TrialRecord
from bench.results.score import ValidityCheck, items_denied, learns_check
from bench.results.statistics import mean

__all__ = [
    "SCHEMA",
    "AttemptRecord",
    "CheckRecord",
    "Number",
    "PartRecord",
    "Record",
    "TrialRecord",
    "common_check",
    "numbers",
    "numbers_by_name",
]

SCHEMA = 5
_SCHEMA_WITHOUT_CHAINS_AND_ATTEMPTS = 4
_SCHEMA_WITHOUT_MEMORISATION = 3
_SCHEMA_WITHOUT_THREAT = 2

Number = float | None
_SEED = "s"  # before the seed, in a record's name


class AttemptRecord(Strict):
    """A response that the attacker of a track tried on one training set.

    Attributes:
        response: Model and adaptation.
        effort: The part of its epochs or steps.
        granted: Its quality on the granted items that choose; None where it failed.
        cpu_seconds: Of its adaptation, training and evaluation on the granted items; what an earlier attempt on the
            same training set shares is counted there.
    """

    response: str
    effort: float
    granted: Number
    cpu_seconds: float


class CheckRecord(Strict):
    """A validity check as records hold it: a condition without which a cell is void.

    Attributes:
        name: What it checks.
        passed: Whether the condition holds.
        value: The measured value; None where there is no finite one.
        limit: The value that it is compared with.
        meaning: What the value is, in words.
    """

    name: str
    passed: bool
    value: Number
    limit: Number
    meaning: str

    @classmethod
    def of(cls, check: ValidityCheck) -> CheckRecord:
        """Return a validity check as records hold it: numbers to six digits."""
        value, limit = numbers([check.value, check.limit])
        return cls(name=check.name, passed=bool(check.passed), value=value, limit=limit, meaning=check.meaning)


class Record(Strict):
    """One trial.

    Attributes:
        schema_version: Of this form.
        key: The trial's content key: a digest of parameters, plugins' source and engine.
        status: Whether it has results.
        error: Of a failed trial: stage, type, message and the tail of the traceback.
        trial: Its plugins and settings.
        metric: Which of the attacker's metrics is scored.
        arms: Arm -> metric -> one value a held-out item, higher is better.
        curve: Clean items published, fewer than all -> metric -> one value a held-out item: the clean curve of score 2.
        granted: Arm -> metric -> one value for each granted item by which the attacker chooses.
        ids: The held-out items, in the order of `arms`.
        groups: The song or speaker of each.
        labels: The class of each, where they have one.
        alignment: Role -> a hash of which sound is whose, for the protected and the mixed set.
        attacker_checks: The validity checks that are the attacker's own; `checks` holds these and the common one.
        epochs: Arm -> one row an epoch: step, loss, validation.
        audibility: Metric -> one value a clip of the protected set.
        audibility_ids: Those clips: all or, of a large set, some that are evenly spread.
        distance: Protected set and generated sets -> FAD, KAD and their floors, from real data.
        music: Set -> metrics of piano rolls.
        crafting_log: One row a round: what the defense logged of its surrogates; never scored.
        input_change: For each training item, the share of what the attacker reads that differs from the clean one.
        memorisation: Model -> log-likelihoods of continuations of published and of unpublished items, in the order of
            `bench.results.memorisation`: by the models of the protected and the clean set, and by one that saw neither.
        attempts: Of a track: arm -> the responses that were tried on its training set with this seed. The record's
            response is the one chosen of `protected`; the arms of the clean curve are of those chosen there.
        stages: Role -> key of its artefact in the store.
        cost: Role -> seconds, cpu_seconds and peak_memory_mb of its stage.
        provenance: When, by which command and commit, with which packages, on which machine.
    """

    schema_version: int = SCHEMA  # see `_least_schema`
    key: str
    status: Literal["ok", "failed"]
    error: dict[str, str] | None = None
    trial: TrialRecord
    metric: str = ""
    arms: dict[str, dict[str, list[Number]]] = {}
    curve: dict[str, dict[str, list[Number]]] = {}
    granted: dict[str, dict[str, list[Number]]] = {}
    ids: list[str] = []
    groups: list[str] = []
    labels: list[str] = []
    alignment: dict[str, str] = {}
    attacker_checks: list[CheckRecord] = []
    epochs: dict[str, list[dict[str, Number]]] = {}
    audibility: dict[str, list[Number]] = {}
    audibility_ids: list[str] = []
    distance: dict[str, dict[str, Number]] = {}
    music: dict[str, dict[str, Number]] = {}
    crafting_log: list[dict[str, Number]] = []
    input_change: list[Number] = []
    memorisation: dict[str, list[Number]] = {}
    attempts: dict[str, list[AttemptRecord]] = {}
    stages: dict[str, str] = {}
    cost: dict[str, dict[str, float]] = {}
    provenance: dict[str, Any] = {}

    @pydantic.model_validator(mode="before")
    @classmethod
    def _least_schema(cls, data: Any) -> Any:
        """Give a new record the least schema that holds it, which older programs read."""
        if not isinstance(data, dict) or "schema_version" in data:
            return data
        trial = data.get("trial")
        if data.get("attempts") or (isinstance(trial, TrialRecord) and trial.has_chain):
            return {**data, "schema_version": SCHEMA}
        if data.get("memorisation"):
            return {**data, "schema_version": _SCHEMA_WITHOUT_CHAINS_AND_ATTEMPTS}
        threat = trial.get("threat") if isinstance(trial, dict) else getattr(trial, "threat", None)
        return {**data, "schema_version": _SCHEMA_WITHOUT_MEMORISATION if threat else _SCHEMA_WITHOUT_THREAT}

    @pydantic.model_serializer(mode="wrap")
    def _as_older_programs_read_it(self, serialise: pydantic.SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the fields that the least schema of such a record does not have."""
        data: dict[str, Any] = serialise(self)
        for name in ("memorisation", "attempts"):
            if not getattr(self, name):
                data.pop(name, None)
        if self.trial.threat is None:
            for holder, names in ((data, ("curve", "granted")), (data.get("trial", {}), ("threat", "replacement"))):
                for name in names:
                    holder.pop(name, None)
        return data

    def __copy__(self) -> Record:
        """Copy the record without what was computed from it, since `model_copy` changes fields of the copy."""
        copy = super().__copy__()
        for name in ("name", "cell_name", "denied", "checks"):
            copy.__dict__.pop(name, None)
        return copy

    @cached_property
    def name(self) -> str:
        """The name of the record's file, unique within a suite."""
        return file_name([*self._cell, f"{_SEED}{self.trial.seed}"])

    @cached_property
    def cell_name(self) -> str:
        """The name without the seed: all records of a cell have it."""
        return file_name(self._cell)

    @property
    def _cell(self) -> tuple[str, ...]:
        """The labels that name the cell."""
        trial = self.trial
        return trial.dataset.label, trial.row, trial.knowledge, trial.attacker.label, trial.adaptation_label

    @property
    def scored(self) -> list[int]:
        """The held-out items that the score is about: those of the class that alone was protected, else all."""
        if not isinstance(self.trial.share, str):
            return list(range(len(self.ids)))
        return [at for at, label in enumerate(self.labels) if label == self.trial.share]

    def quality(self, arm: str, metric: str = "") -> list[Number]:
        """Return an arm's values for the items that are scored.

        Args:
            arm: The arm's name.
            metric: A metric of the attacker; by default the one that is scored.

        Returns:
            One value a scored item; empty where the record has no such arm.
        """
        values = self.arms.get(arm, {}).get(metric or self.metric, [])
        return [values[at] for at in self.scored] if values else []

    def curve_quality(self, size: int | str) -> list[Number]:
        """Return the values of a smaller clean set for the items that are scored, as `quality` does."""
        values = self.curve[str(size)][self.metric]
        return [values[at] for at in self.scored]

    def mean(self, arm: str, metric: str = "") -> float:
        """Return the mean quality of an arm over the items that are scored; NaN where there is no number.

        Args:
            arm: The arm's name.
            metric: A metric of the attacker; by default the one that is scored.
        """
        return mean(self.quality(arm, metric))

    @property
    def evaluations(self) -> dict[str, tuple[str, dict[str, list[Number]]]]:
        """Where in the record a model's qualities stand -> the role of the stage that measured them, and the qualities:
        of the arms, of the clean curve, and on the granted items.
        """
        return {
            **{f"arms.{arm}": (arm, metrics) for arm, metrics in self.arms.items()},
            **{f"curve.{size}": (curve_role(size), metrics) for size, metrics in self.curve.items()},
            **{f"granted.{role}": (granted_role(role), metrics) for role, metrics in self.granted.items()},
        }

    @cached_property
    def denied(self) -> Number:
        """Learning denied of this seed, to six digits; None where there is none: see `notes`."""
        clean, protected, untrained = ([math.nan if q is None else q for q in self.quality(arm)] for arm in SCORED)
        if self.status != "ok" or not len(clean) == len(protected) == len(untrained):
            return None
        return numbers([items_denied(clean, protected, untrained)])[0]

    @cached_property
    def checks(self) -> list[CheckRecord]:
        """The validity checks: the one that every attacker must pass, and the attacker's own."""
        if self.status != "ok":
            return []
        return [common_check(self.arms, self.metric, self.groups), *self.attacker_checks]

    @property
    def void(self) -> list[CheckRecord]:
        """The checks that failed: any makes the cell void, shown and not ranked."""
        return [check for check in self.checks if not check.passed]

    @property
    def tried(self) -> tuple[str, ...]:
        """The responses that the attacker of a track tried on the protected set with this seed; () elsewhere."""
        return tuple(dict.fromkeys(attempt.response for attempt in self.attempts.get(Arm.PROTECTED, [])))

    @property
    def notes(self) -> dict[str, str]:
        """Why numbers are null: their path in the record -> the reason."""
        notes = {}
        for metric, values in self.audibility.items():
            if None in values:
                notes[f"audibility.{metric}"] = (
                    "not finite: the clip has no noise, or nothing that can be measured against it"
                )
        for arm, metrics in self.arms.items():
            for metric, values in metrics.items():
                if None in values:
                    notes[f"arms.{arm}.{metric}"] = "not finite: the model gave NaN or infinity for the item"
        if self.status == "ok" and self.denied is None:
            notes["denied"] = "the clean arm is exactly as good as the untrained one, or an arm has no number"
        return notes

    def science(self) -> dict[str, Any]:
        """Return all but what differs from run to run: costs and provenance."""
        data = self.model_dump(exclude={"cost", "provenance"})
        for attempt in itertools.chain(*data.get("attempts", {}).values()):
            del attempt["cpu_seconds"]
        return data

    def text(self) -> str:
        """Return the record as JSON, on one line."""
        return json.dumps(self.model_dump(), separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n"

    def save(self, folder: Path) -> Path:
        """Write the record, unless its file holds it already: a resumed run has thousands that do.

        Args:
            folder: Where to write; made where it is missing.

        Returns:
            The file.
        """
        path = folder / f"{self.name}.json"
        data = self.text().encode()
        if not path.is_file() or path.read_bytes() != data:
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(path) as draft:
                draft.write_bytes(data)
        return path


def numbers(values: Iterable[float]) -> list[Number]:
    """Return floats as JSON can hold them, to six digits, more than any of them means; None for what is not finite."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]


def numbers_by_name(values: Mapping[str, float]) -> dict[str, Number]:
    """Return named floats as `numbers` does."""
    return dict(zip(values, numbers(values.values()), strict=True))


def common_check(arms: Mapping[str, Mapping[str, list[Number]]], metric: str, groups: list[str]) -> CheckRecord:
    """Return the validity check that every attacker must pass: the clean arm beats the untrained one.

    Args:
        arms: Arm -> metric -> one value an item.
        metric: The one that is scored.
        groups: The song or speaker of each item.
    """
    clean, untrained = (arms.get(arm, {}).get(metric, []) for arm in (Arm.CLEAN, Arm.UNTRAINED))
    if not len(clean) == len(untrained) == len(groups):  # a stranger's record may be anything
        meaning = f"{len(clean)} clean values, {len(untrained)} untrained ones and {len(groups)} groups do not pair"
        return CheckRecord(name="learns clean data", passed=False, value=None, limit=None, meaning=meaning)
    pairs = [(a, b, g) for a, b, g in zip(clean, untrained, groups, strict=True) if a is not None and b is not None]
    check = learns_check([a for a, _, _ in pairs], [b for _, b, _ in pairs], [g for _, _, g in pairs])
    return CheckRecord.of(check)
