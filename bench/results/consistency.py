"""What in a record contradicts itself, or another record: pure functions, nothing is run and no plugin is imported.

Records are written by `bench.trials.record.of`: the score follows from the arms, the gate from the arms and groups, the
key from the stages, the name from the trial. Numbers are kept to six digits, so that equal means equal to 2e-6.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.trials import record as records
from bench.trials import trial as trials
from bench.trials.record import EVALUATED, GateRecord, Number, PartRecord, Record
from bench.trials.trial import Part, Trial
from bench.vocabulary import Kind

__all__ = ["clashes", "close", "gate_problems", "problems"]

_ROUNDED = 2e-6  # records keep six digits
_NEEDED = ("protected", "clean", "untrained")
_WITHIN = {"accuracy": (0.0, 1.0), "correlation": (-1.0, 1.0), "masked_energy": (0.0, 1.0), "stoi": (-1.0, 1.0)}


def problems(record: Record, file: Path | None = None) -> list[str]:
    """What in a record contradicts itself, a line each; none of an honest record. Nothing is run or imported.

    file: where it was read from; its name must be the record's.
    """
    return list(_problems(record, file))


def clashes(found: Iterable[Record]) -> list[str]:
    """Where two records say other things of one stage: the same key is the same work, so the numbers must be equal."""
    seen: dict[tuple[str, str], tuple[str, Any]] = {}
    lines = []
    for record in found:
        for what, key, value in _told(record):
            name, first = seen.setdefault((what, key), (record.name, value))
            if first != value:
                lines.append(f"{record.name}: {what} of stage {key[:8]} differs from that in {name}")
    return lines


def gate_problems(told: Sequence[GateRecord], expected: Sequence[GateRecord]) -> Iterator[str]:
    """How the gates that a record tells differ from those that its arms give."""
    by_name = {gate.name: gate for gate in told}
    for gate in expected:
        found = by_name.get(gate.name)
        if found is None:
            yield f"gate '{gate.name}' is missing"
        elif found.passed != gate.passed or not _same_value(found, gate) or found.limit != gate.limit:
            yield f"gate '{gate.name}': {found.value}, passed {found.passed}; its arms give {gate.value}, {gate.passed}"


def _same_value(told: GateRecord, expected: GateRecord) -> bool:
    """Compare values; where all groups gain alike, version 1 divided by rounding alone, so any large value will do."""
    return close(told.value, expected.value, 1e-4) or (told.passed and (told.value or 0.0) > 1e9)


def close(a: Number, b: Number, tolerance: float) -> bool:
    """Whether two numbers are the same to a tolerance, which is relative beyond 1; null is only null."""
    if a is None or b is None:
        return a is b
    return abs(a - b) <= tolerance * max(1.0, abs(a), abs(b))


def _problems(record: Record, file: Path | None) -> Iterator[str]:
    if file is not None and file.name != f"{record.name}.json":
        yield f"name '{record.name}': the file is called {file.name}"
    name = _bare(record).name
    if record.name != name:
        yield f"name '{record.name}': a record of this trial is called '{name}'"
    if record.trial.row != _bare(record).row:
        yield f"row '{record.trial.row}': this trial's row is '{_bare(record).row}'"
    for place in _not_finite(record.model_dump()):
        yield f"{place} is not finite: such numbers are written as null"
    key = trials.digest({"schema": trials.SCHEMA, "stages": dict(record.stages)})
    if record.key != key:
        yield f"key {record.key[:8]}: its stages give {key[:8]}"
    if record.status == "failed":
        if record.error is None:
            yield "it failed and names no error"
        if record.denied is not None or record.arms:
            yield "it failed and still has numbers"
        return
    if record.error is not None:
        yield "it is ok and names an error"
    shapes = list(_shape_problems(record))
    yield from shapes
    if shapes:
        return
    denied = records.numbers([record.learning_denied])[0]
    if not close(record.denied, denied, _ROUNDED):
        yield f"denied {record.denied}: its arms give {denied}"
    yield from _range_problems(record)
    yield from _shared_problems(record)
    yield from gate_problems(record.gates, [records.common_gate(record.arms, record.metric, record.groups)])
    for gate in record.gates:
        if gate.passed and gate.value is None:
            yield f"gate '{gate.name}' is passed without a value"
    if record.notes != records.why_null(record):
        yield "notes: they do not say why just those numbers are null that are"


def _shape_problems(record: Record) -> Iterator[str]:
    count = len(record.ids)
    if not count:
        yield "it names no held-out item"
    if len(set(record.ids)) != count:
        yield "ids: one comes twice"
    if len(record.groups) != count:
        yield f"groups: {len(record.groups)} for {count} items"
    if len(record.labels) not in (0, count):
        yield f"labels: {len(record.labels)} for {count} items"
    adapted = {"clean_adapted"} if record.trial.adaptation else set()
    share = record.trial.share
    rest = {"remainder"} if not isinstance(share, str) and share < 1 and not record.trial.control else set()
    expected = {*_NEEDED, *adapted, *rest}
    if set(record.arms) != expected:
        yield f"arms: {', '.join(sorted(record.arms))}; expected {', '.join(sorted(expected))}"
        return
    for arm, metrics in record.arms.items():
        if set(metrics) != set(record.arms["clean"]) or record.metric not in metrics:
            yield f"arms.{arm}: other metrics than the clean arm's, or none called '{record.metric}'"
        for metric, values in metrics.items():
            if len(values) != count:
                yield f"arms.{arm}.{metric}: {len(values)} values for {count} items"
    if not record.scored:
        yield f"share '{record.trial.share}': no held-out item has that label"
    for metric, values in record.audibility.items():
        if len(values) != len(record.heard):
            yield f"audibility.{metric}: {len(values)} values for {len(record.heard)} clips"


def _range_problems(record: Record) -> Iterator[str]:
    told = [(f"arms.{arm}.{name}", name, values) for arm, of in record.arms.items() for name, values in of.items()]
    told += [(f"audibility.{name}", name, values) for name, values in record.audibility.items()]
    for place, name, values in told:
        low, high = _WITHIN.get(name, (-math.inf, math.inf))
        outside = [value for value in values if value is not None and not low - 1e-6 <= value <= high + 1e-6]
        if outside:
            yield f"{place} holds {outside[0]}, expected {low:g}..{high:g}"
    for value in record.view.get("changed", []):
        if value is not None and not 0 <= value <= 1:
            yield f"view.changed holds {value}, expected 0..1"
            return


def _shared_problems(record: Record) -> Iterator[str]:
    """Two arms whose stages have one key are one run."""
    arms: dict[str, str] = {}
    for arm in EVALUATED:
        if arm in record.arms and arm in record.stages:
            first = arms.setdefault(record.stages[arm], arm)
            if record.arms[first] != record.arms[arm]:
                yield f"arms.{arm}: it is the same stage as arms.{first} and has other numbers"
    missing = [arm for arm in record.arms if arm not in record.stages]
    if missing:
        yield f"stages: none for arm '{missing[0]}'"


def _told(record: Record) -> Iterator[tuple[str, str, Any]]:
    """(what, key of its stage, value) of all that a stage alone decides."""
    for arm, metrics in record.arms.items():
        if arm in record.stages:
            yield f"arms.{arm}" if arm != "protected" else "the quality", record.stages[arm], metrics
    audited = record.stages.get("audit") or record.stages.get("protected_set")
    if audited and record.audibility:
        yield "audibility", audited, record.audibility
    for role, value in record.alignment.items():
        if role in record.stages:
            yield "alignment", record.stages[role], value


def _bare(record: Record) -> Trial:
    """The trial by its names alone: enough for what it and its record are called."""
    asked = record.trial

    def bare(kind: Kind, part: PartRecord) -> Part:
        return Part(kind, part.name, {}, "", label=part.label)

    return Trial(
        dataset=bare("datasets", asked.dataset),
        defense=bare("defenses", asked.defense),
        attacker=bare("attackers", asked.attacker),
        seed=asked.seed,
        knowledge=asked.knowledge,
        adaptation=bare("adaptations", asked.adaptation) if asked.adaptation else None,
        reference=bare("defenses", asked.reference) if asked.reference else None,
        share=asked.share,
    )


def _not_finite(value: Any, place: str = "") -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield place
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _not_finite(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for at, item in enumerate(value):
            yield from _not_finite(item, f"{place}[{at}]")
