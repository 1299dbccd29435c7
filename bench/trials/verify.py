"""Compare a record with its rebuilt trial and with a second run of it.

Pure functions; nothing here runs a trial. Contradictions within a record are found by `bench.results.consistency`.
`trial_problems`, `key_problems` and `differences` compare it with the trial that `bench.trials.again` rebuilds,
`compare` with a record that was made again.

What counts as the same
-----------------------

* identical: every number that is not a cost (items of every arm, audibility, view, distances, music, epochs, the score)
  differs by at most 1e-4 (relative for numbers beyond 1), and the protected set has the same alignment hash.
* holds: the score differs by at most 0.05, or by at most one standard deviation of the score over the record's seeds
  (limited to 0.15, because the submitter chose the seeds); the mean of each trained arm differs by at most that share
  of what the clean arm gained; the untrained arm, which does not depend on training, is identical; each mean of
  audibility differs by at most 1 % (and 0.001); items, groups, labels and the measured clips are the same. Other
  differences (distances, music, epochs) are reported but not judged. Where packages, processor and plugins are the
  record's and no accelerator was used, only identical holds: the same work gives the same bits.
* does not hold: everything else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev
from typing import Any, Literal

from bench.results.arms import Arm, is_clean_role
from bench.results.consistency import check_problems, close
from bench.results.names import NONE
from bench.results.record import Number, PartRecord, Record
from bench.results.roles import parts_of
from bench.results.statistics import mean
from bench.trials import recording
from bench.trials.again import as_recorded
from bench.trials.plan import plan
from bench.trials.trial import Part, Trial

IDENTICAL = 1e-4
DENIED = 0.05
MOST_SPREAD = 0.15
AUDIBLE, AUDIBLE_FLOOR = 0.01, 1e-3

Finding = Literal["identical", "holds", "does not hold"]


@dataclass(frozen=True)
class Verdict:
    """The result of comparing a record with a second run.

    `reasons` say why it does not hold, `remarks` what else differs.
    """

    finding: Finding
    denied: Number  # of the record
    rerun: Number  # denied of the second run
    reasons: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def trial_problems(record: Record, trial: Trial) -> list[str]:
    """List what contradicts the rebuilt trial: the names, and the validity checks of its attacker.

    Args:
        record: The record.
        trial: Its trial, rebuilt by `bench.trials.again.trial_of`.

    Returns:
        One line a problem.
    """
    lines = []
    if trial.name != record.name:
        lines.append(f"name '{record.name}', expected '{trial.name}' of its trial")
    expected: dict[str, str] = {"control": trial.control}
    if trial.defense.digest == record.trial.defense.digest:
        expected["scope"] = trial.defense.traits.get("per", "")
    for field, current in expected.items():
        if getattr(record.trial, field) != current:
            lines.append(f"{field} '{getattr(record.trial, field)}', expected '{current}' of its trial")
    if record.status == "ok" and trial.attacker.digest == record.trial.attacker.digest:
        lines += check_problems(record.attacker_checks, recording.checks_again(trial.attacker, record.arms))
    return lines


def key_problems(record: Record, trial: Trial) -> list[str]:
    """List the stages whose keys do not follow from the record's parameters and digests: the record was edited.

    Where the plugins here have other source, they may have other stages. Records from before auditing was a stage of
    its own have stages of another layout, which is not compared.

    Args:
        record: The record.
        trial: Its rebuilt trial.

    Returns:
        One line a stage.
    """
    (cell,) = plan([as_recorded(trial, record)]).cells
    if "audit" in cell.keys and "audit" not in record.stages:
        return []
    roles = {*cell.keys, *record.stages}
    if record.attempts:  # of a track, whose clean arms are those of the responses chosen on clean items
        roles = {role for role in roles if not is_clean_role(role)}
    pairs = [(role, record.stages.get(role), cell.keys.get(role)) for role in sorted(roles)]
    return [
        f"stage {role}: key {_short_key(recorded)}, expected {_short_key(derived)} by its parameters and digests"
        for role, recorded, derived in pairs
        if recorded != derived
    ]


def differences(record: Record, trial: Trial) -> list[str]:
    """List how the plugins and their data here differ from those that the record was made with.

    Args:
        record: The record.
        trial: Its rebuilt trial.

    Returns:
        One line a difference.
    """
    lines: dict[str, None] = {}
    for (role, recorded_part), (_, current) in zip(parts_of(record.trial), parts_of(trial), strict=True):
        for field, recorded, value in _compared(recorded_part, current):
            lines[f"{role.title} '{recorded_part.label}': {field} {value} here, {recorded} in the record"] = None
    return list(lines)


def spread(record: Record, siblings: Iterable[Record]) -> float:
    """Return the standard deviation of the score over the seeds of a record's cell.

    Args:
        record: The record.
        siblings: Records that may be of the same cell, itself included.

    Returns:
        The standard deviation; 0 with fewer than two scores.
    """
    cell = _cell(record)
    values = [sibling.denied for sibling in siblings if _cell(sibling) == cell and sibling.denied is not None]
    return stdev(values) if len(values) > 1 else 0.0


def compare(record: Record, rerun: Record, over_seeds: float = 0.0, same_code: bool = False) -> Verdict:
    """Compare a record with the second run of its trial.

    Args:
        record: The record.
        rerun: The record of the second run.
        over_seeds: See `spread`.
        same_code: Whether `differences` found none.

    Returns:
        The verdict.
    """
    if record.attempts:  # the second run is of the chosen response, so its clean arms are no track's
        rerun = recording.with_clean_arms(rerun, record)
    fixed = ("metric", "ids", "groups", "labels", "audibility_ids")
    unequal = [
        f"{name}: differs from the second run" for name in fixed if getattr(record, name) != getattr(rerun, name)
    ]
    if unequal:
        return Verdict("does not hold", record.denied, rerun.denied, tuple(unequal))
    changes = [line for line in _changes(record, rerun) if line]
    if not changes:
        return Verdict("identical", record.denied, rerun.denied)
    reasons = list(_reasons(record, rerun, max(DENIED, min(over_seeds, MOST_SPREAD))))
    if not reasons and same_code and _same_environment(record, rerun):
        reasons = [f"{line}, though code, packages and processor are the record's" for line in changes]
    finding: Finding = "does not hold" if reasons else "holds"
    return Verdict(finding, record.denied, rerun.denied, tuple(reasons), tuple(changes) if not reasons else ())


def _changes(record: Record, rerun: Record) -> Iterator[str]:
    """Yield a line for every field that differs by more than 1e-4; empty lines for those that do not."""
    recorded = record.evaluations
    for path, (_, metrics) in rerun.evaluations.items():
        for metric, values in metrics.items():
            yield _furthest(f"{path}.{metric}", recorded.get(path, ("", {}))[1].get(metric, []), values)
    for metric, values in rerun.audibility.items():
        yield _furthest(f"audibility.{metric}", record.audibility.get(metric, []), values)
    yield _furthest("denied", [record.denied], [rerun.denied])
    yield _furthest("input_change", record.input_change, rerun.input_change)
    since = ("memorisation",) if record.memorisation else ()  # older records do not have it
    for field in ("distance", "music", "epochs", "crafting_log", *since):
        first, second = (dict(_leaves(getattr(side, field), field)) for side in (record, rerun))
        if first.keys() != second.keys():
            yield f"{field}: other entries than in the second run"
        else:
            yield _furthest(field, list(first.values()), list(second.values()))
    for role, value in rerun.alignment.items():
        if record.alignment.get(role) != value:
            yield f"alignment.{role}: the hash differs from the second run"


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Number]]:
    """Yield (path, number) of every number in nested mappings and lists."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    else:
        yield path, value


def _furthest(name: str, first: Sequence[Number], second: Sequence[Number]) -> str:
    """Describe the largest difference between two lists; empty if none exceeds the tolerance."""
    if len(first) != len(second):
        return f"{name}: {len(first)} values, {len(second)} in the second run"
    different = [(a, b) for a, b in zip(first, second, strict=True) if not close(a, b, IDENTICAL)]
    if not different:
        return ""
    a, b = max(different, key=lambda pair: abs((pair[0] or 0.0) - (pair[1] or 0.0)))
    return f"{name}: {len(different)} of {len(first)} values differ, at most {_text(a)} and {_text(b)} when run again"


def _reasons(record: Record, rerun: Record, tolerance: float) -> Iterator[str]:
    """Yield why a record that is not identical does not hold either."""
    if record.denied is None or rerun.denied is None:
        if record.denied is not rerun.denied:
            yield f"denied {_text(record.denied)}, {_text(rerun.denied)} when run again"
    elif abs(record.denied - rerun.denied) > tolerance:
        yield f"denied {record.denied:+.3f}, {rerun.denied:+.3f} when run again: more than {tolerance:.3f} apart"
    gained = abs(rerun.mean(Arm.CLEAN) - rerun.mean(Arm.UNTRAINED))
    recorded = record.evaluations
    for path, (role, metrics) in rerun.evaluations.items():
        values = recorded.get(path, (role, {}))[1].get(rerun.metric, [])
        first, second = mean(values), mean(metrics.get(rerun.metric, []))
        if role == Arm.UNTRAINED:
            line = _furthest("arms.untrained", values, metrics[rerun.metric])
            if line:
                yield f"{line}, though it does not depend on training"
        elif not abs(first - second) <= tolerance * gained and not (math.isnan(first) and math.isnan(second)):
            limit = f"more than {tolerance:.1%} of what is learned"
            yield f"{path}: mean {first:.4f}, {second:.4f} when run again: {limit}"
    for metric in sorted({*record.audibility, *rerun.audibility}):
        first, second = (mean(side.audibility.get(metric, [])) for side in (record, rerun))
        if not abs(first - second) <= AUDIBLE * abs(second) + AUDIBLE_FLOOR and not (
            math.isnan(first) and math.isnan(second)
        ):
            yield f"audibility.{metric}: mean {first:.4g}, {second:.4g} when run again: more than {AUDIBLE:.0%} apart"


def _same_environment(record: Record, rerun: Record) -> bool:
    """Return whether both runs had the same packages and processor, and no accelerator."""
    fields = ("python", "platform", "processor", "packages", "accelerator")
    first, second = ([side.provenance.get(field) for field in fields] for side in (record, rerun))
    return first == second and second[-1] is None


def _compared(recorded: PartRecord, part: Part) -> Iterator[tuple[str, Any, Any]]:
    named = (
        ("version", recorded.version, part.version),
        ("source", recorded.digest, part.digest),
        ("data", recorded.data, part.data),
    )
    yield from (triple for triple in named if triple[1] != triple[2])
    for key in sorted({*recorded.params, *part.params}):
        if key not in recorded.params or key not in part.params or recorded.params[key] != part.params[key]:
            yield f"parameter {key} =", *(values.get(key, "absent") for values in (recorded.params, part.params))


def _cell(record: Record) -> tuple[str, str]:
    return record.name.rpartition("--")[0], record.trial.preset


def _text(value: Number) -> str:
    return "null" if value is None else f"{value:.6g}"


def _short_key(key: str | None) -> str:
    return key[:8] if key else NONE
