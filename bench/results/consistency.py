"""What in a record contradicts itself, or another record: pure functions, nothing is run and no plugin is imported.

What follows from a record (its score, its name, the common validity check) is not stored in it, so it cannot contradict
it. What can is the key, which follows from the stages; the shapes and ranges of what was measured; and two records that
name one stage.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.results.arms import ARMS, AUDIT, PROTECTED_SET, SCORED, TRAINED, Arm, curve_role, memorised_role
from bench.results.memorisation import items_of
from bench.results.names import trial_key
from bench.results.record import CheckRecord, Number, Record

__all__ = ["check_problems", "clashes", "close", "problems"]

_WITHIN = {"accuracy": (0.0, 1.0), "correlation": (-1.0, 1.0), "masked_energy": (0.0, 1.0), "stoi": (-1.0, 1.0)}


def problems(record: Record, file: Path | None = None) -> list[str]:
    """Return what contradicts itself in a record, one line each; nothing is run or imported.

    Args:
        record: The record.
        file: Where it was read from, whose name must be the record's; None for a record without a file.

    Returns:
        The lines; empty for a consistent record.
    """
    return list(_problems(record, file))


def clashes(records: Iterable[Record]) -> list[str]:
    """Return where two records give other numbers for one stage, one line each: a key stands for one piece of work.

    Args:
        records: The records of a suite.
    """
    first_values: dict[tuple[str, str], tuple[str, Any]] = {}
    lines = []
    for record in records:
        for quantity, key, value in _measured_values(record):
            name, first = first_values.setdefault((quantity, key), (record.name, value))
            if first != value:
                lines.append(f"{record.name}: {quantity} of stage {key[:8]} differs from that in {name}")
    return lines


def check_problems(record_checks: Sequence[CheckRecord], arm_checks: Sequence[CheckRecord]) -> Iterator[str]:
    """Yield how the validity checks that a record states differ from those that its arms give.

    Args:
        record_checks: The checks in the record.
        arm_checks: The checks computed from its arms.
    """
    by_name = {check.name: check for check in record_checks}
    for check in arm_checks:
        recorded_check = by_name.get(check.name)
        if recorded_check is None:
            yield f"validity check '{check.name}' is missing"
        elif (
            recorded_check.passed != check.passed
            or not close(recorded_check.value, check.value, 1e-4)
            or recorded_check.limit != check.limit
        ):
            gives = f"its arms give {check.value}, {check.passed}"
            yield f"validity check '{check.name}': {recorded_check.value}, passed {recorded_check.passed}; {gives}"


def close(a: Number, b: Number, tolerance: float) -> bool:
    """Return whether two numbers are equal within a tolerance; null equals null only.

    Args:
        a: A number or null.
        b: Another one.
        tolerance: Absolute up to magnitude 1, relative beyond.
    """
    if a is None or b is None:
        return a is b
    return abs(a - b) <= tolerance * max(1.0, abs(a), abs(b))


def _problems(record: Record, file: Path | None) -> Iterator[str]:
    """Yield what contradicts itself in a record."""
    if file is not None and file.name != f"{record.name}.json":
        yield f"name '{record.name}': the file is called {file.name}"
    for path in _not_finite(record.model_dump()):
        yield f"{path} is not finite: such numbers are written as null"
    key = trial_key(record.stages)
    if record.key != key:
        yield f"key {record.key[:8]}: its stages give {key[:8]}"
    if record.status == "failed":
        if record.error is None:
            yield "it failed and names no error"
        if record.arms:
            yield "it failed and still has numbers"
        return
    if record.error is not None:
        yield "it is ok and names an error"
    shapes = list(_shape_problems(record))
    yield from shapes
    if shapes:
        return
    yield from _range_problems(record)
    yield from _shared_problems(record)
    yield from _memorisation_problems(record)
    for check in record.attacker_checks:
        if check.passed and check.value is None:
            yield f"validity check '{check.name}' is passed without a value"


def _shape_problems(record: Record) -> Iterator[str]:
    """Yield fields whose lengths or names do not fit each other."""
    count = len(record.ids)
    if not count:
        yield "it names no held-out item"
    if len(set(record.ids)) != count:
        yield "duplicate ids"
    if len(record.groups) != count:
        yield f"groups: {len(record.groups)} for {count} items"
    if len(record.labels) not in (0, count):
        yield f"labels: {len(record.labels)} for {count} items"
    adapted_arms = {Arm.CLEAN_ADAPTED} if record.trial.adaptation else set()
    share = record.trial.share
    remainder_arms = {Arm.REMAINDER} if not isinstance(share, str) and share < 1 and not record.trial.control else set()
    expected_arms = {*SCORED, *adapted_arms, *remainder_arms}
    if set(record.arms) != expected_arms:
        yield f"arms: {', '.join(sorted(record.arms))}; expected {', '.join(sorted(expected_arms))}"
        return
    if record.metric not in record.arms[Arm.CLEAN]:
        yield f"arms.clean: it has no metric '{record.metric}'"
    yield from _threat_problems(record)
    if not record.scored:
        yield f"share '{record.trial.share}': no held-out item has that label"
    for metric, values in record.audibility.items():
        if len(values) != len(record.audibility_ids):
            yield f"audibility.{metric}: {len(values)} values for {len(record.audibility_ids)} clips"


def _threat_problems(record: Record) -> Iterator[str]:
    """The clean curve and the granted items are those of the threat model."""
    threat, metrics = record.trial.threat, set(record.arms[Arm.CLEAN])
    sizes = [str(size) for size in threat.smaller] if threat else []
    if set(record.curve) != set(sizes):
        yield f"curve: sizes {', '.join(record.curve) or 'none'}; expected {', '.join(sizes) or 'none'}"
    trained = {arm for arm in record.arms if arm in TRAINED} | {curve_role(size) for size in sizes}
    if set(record.granted) != (trained if threat else set()):
        yield f"granted: {', '.join(sorted(record.granted)) or 'none'}; expected {', '.join(sorted(trained))}"
    choosing = (threat.granted + 1) // 2 if threat else 0
    for path, (_, values) in record.evaluations.items():
        count = choosing if path.startswith("granted.") else len(record.ids)
        if set(values) != metrics:
            yield f"{path}: other metrics than the clean arm's"
        for metric, items in values.items():
            if len(items) != count:
                yield f"{path}.{metric}: {len(items)} values for {count} items"


def _range_problems(record: Record) -> Iterator[str]:
    """Yield values outside the range of their metric."""
    series = [
        (f"{path}.{name}", name, values)
        for path, (_, metrics) in record.evaluations.items()
        for name, values in metrics.items()
    ]
    series += [(f"audibility.{name}", name, values) for name, values in record.audibility.items()]
    for path, name, values in series:
        low, high = _WITHIN.get(name, (-math.inf, math.inf))
        out_of_range = [value for value in values if value is not None and not low - 1e-6 <= value <= high + 1e-6]
        if out_of_range:
            yield f"{path} holds {out_of_range[0]}, expected {low:g}..{high:g}"
    for value in record.input_change:
        if value is not None and not 0 <= value <= 1:
            yield f"input_change holds {value}, expected 0..1"
            return


def _shared_problems(record: Record) -> Iterator[str]:
    """Yield arms that differ although their stages have one key."""
    arms: dict[str, str] = {}
    for arm in ARMS:
        if arm in record.arms and arm in record.stages:
            first = arms.setdefault(record.stages[arm], arm)
            if record.arms[first] != record.arms[arm]:
                yield f"arms.{arm}: it is the same stage as arms.{first} and has other numbers"
    without_stage = [path for path, (role, _) in record.evaluations.items() if role not in record.stages]
    if without_stage:
        yield f"stages: none for {without_stage[0]}"


def _memorisation_problems(record: Record) -> Iterator[str]:
    """Yield models whose memorisation has no stage, or other numbers of values than those of as many items."""
    counts = {len(values) for values in record.memorisation.values()}
    for role, values in record.memorisation.items():
        if memorised_role(role) not in record.stages:
            yield f"stages: none for memorisation.{role}"
        if len(counts) > 1 or items_of(len(values)) < 2:
            yield f"memorisation.{role}: {len(values)} values, expected 2 n n for n items of each kind, for every model"


def _measured_values(record: Record) -> Iterator[tuple[str, str, Any]]:
    """(what, key of its stage, value) of all that a stage alone decides."""
    for path, (role, metrics) in record.evaluations.items():
        if role in record.stages:
            yield path if path != f"arms.{Arm.PROTECTED}" else "the quality", record.stages[role], metrics
    for role, measured in record.memorisation.items():
        if memorised_role(role) in record.stages:
            yield "memorisation", record.stages[memorised_role(role)], measured
    audit_key = record.stages.get(AUDIT) or record.stages.get(PROTECTED_SET)
    if audit_key and record.audibility:
        yield "audibility", audit_key, record.audibility
    for role, value in record.alignment.items():
        if role in record.stages:
            yield "alignment", record.stages[role], value


def _not_finite(value: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of numbers that are not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        yield path
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _not_finite(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for at, item in enumerate(value):
            yield from _not_finite(item, f"{path}[{at}]")
