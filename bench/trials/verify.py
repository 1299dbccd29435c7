"""Whether a record is what its trial gives: its trial rebuilt, its provenance, and a comparison with a second run.

Pure functions; nothing here runs a trial. What a record says against itself is in `bench.results.consistency`. Here
`trial_problems`, `key_problems` and `differences` set it beside its trial, rebuilt by `bench.trials.again`, and
`compare` beside a record that was made again.

What counts as the same
-----------------------
* identical: every number that is not a cost (items of every arm, audibility, view, distances, music, epochs, the score)
  differs by at most 1e-4 (of numbers beyond 1, relatively), and the protected set has the same alignment hash.
* holds: the score differs by at most 0.05, or by at most one standard deviation of the score over the record's seeds,
  of which no more than 0.15 is believed, since it is the submitter's own; each trained arm's mean by at most that share
  of what the clean arm gained; the untrained arm, which no training blurs, is identical; each mean of audibility
  differs by at most 1 % (and 0.001); items, groups, labels and the clips that are heard are the same. What else
  differs (distances, music, epochs) is told and not judged. But where packages, processor and plugins are the record's
  and no accelerator was used, only identical holds: the same work gives the same bits.
* else it does not hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.results.arms import Arm
from bench.results.consistency import check_problems, close
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
    """What a second run says of a record. `reasons` say why it does not hold, `remarks` what else differs."""

    finding: Finding
    denied: Number  # of the record
    again: Number  # of the second run
    reasons: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def trial_problems(record: Record, trial: Trial) -> list[str]:
    """What contradicts the rebuilt trial: what it is called, and the validity checks of its attacker."""
    lines = []
    if trial.name != record.name:
        lines.append(f"name '{record.name}': its trial is called '{trial.name}'")
    expected: dict[str, str] = {"control": trial.defense.control}
    if trial.defense.digest == record.trial.defense.digest:
        expected["scope"] = trial.defense.traits.get("per", "")
    for field, current in expected.items():
        if getattr(record.trial, field) != current:
            lines.append(f"{field} '{getattr(record.trial, field)}': the trial has '{current}'")
    if record.status == "ok" and trial.attacker.digest == record.trial.attacker.digest:
        lines += check_problems(record.attacker_checks, recording.checks_again(trial.attacker, record.arms))
    return lines


def key_problems(record: Record, trial: Trial) -> list[str]:
    """The stages whose keys the record's own parameters and digests do not give: something was changed afterwards.

    Where the plugins here are of other source they may rightly have other stages. Records from before auditing was a
    stage of its own have stages of another layout, which is not compared.
    """
    (cell,) = plan([as_recorded(trial, record)]).cells
    if "audit" in cell.keys and "audit" not in record.stages:
        return []
    pairs = [(role, record.stages.get(role), cell.keys.get(role)) for role in sorted({*cell.keys, *record.stages})]
    return [
        f"stage {role}: key {_short(recorded)}, what the record says was done gives {_short(given)}"
        for role, recorded, given in pairs
        if recorded != given
    ]


def differences(record: Record, trial: Trial) -> list[str]:
    """How the plugins and their data here differ from those that the record was made with, a line each."""
    lines: dict[str, None] = {}
    for (role, recorded_part), (_, current) in zip(parts_of(record.trial), parts_of(trial), strict=True):
        for what, recorded, value in _compared(recorded_part, current):
            lines[f"{role.title} '{recorded_part.label}': {what} {value} here, {recorded} in the record"] = None
    return list(lines)


def spread(record: Record, siblings: Iterable[Record]) -> float:
    """The standard deviation of the score over the seeds of the record's cell; 0 with fewer than two of them."""
    cell = _cell(record)
    values = [sibling.denied for sibling in siblings if _cell(sibling) == cell and sibling.denied is not None]
    if len(values) < 2:
        return 0.0
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def compare(record: Record, again: Record, over_seeds: float = 0.0, same_code: bool = False) -> Verdict:
    """A record beside the second run of its trial. over_seeds: see `spread`; same_code: no `differences` were found."""
    fixed = ("metric", "ids", "groups", "labels", "audibility_ids")
    unequal = [f"{name}: others than when run again" for name in fixed if getattr(record, name) != getattr(again, name)]
    if unequal:
        return Verdict("does not hold", record.denied, again.denied, tuple(unequal))
    moved = [line for line in _moved(record, again) if line]
    if not moved:
        return Verdict("identical", record.denied, again.denied)
    reasons = list(_reasons(record, again, max(DENIED, min(over_seeds, MOST_SPREAD))))
    if not reasons and same_code and _same_place(record, again):
        reasons = [f"{line}, though code, packages and processor are the record's" for line in moved]
    finding: Finding = "does not hold" if reasons else "holds"
    return Verdict(finding, record.denied, again.denied, tuple(reasons), tuple(moved) if not reasons else ())


def _moved(record: Record, again: Record) -> Iterator[str]:
    """What differs by more than 1e-4, a line each."""
    for arm, metrics in again.arms.items():
        for metric, values in metrics.items():
            yield _furthest(f"arms.{arm}.{metric}", record.arms.get(arm, {}).get(metric, []), values)
    for metric, values in again.audibility.items():
        yield _furthest(f"audibility.{metric}", record.audibility.get(metric, []), values)
    yield _furthest("denied", [record.denied], [again.denied])
    yield _furthest("input_change", record.input_change, again.input_change)
    for field in ("distance", "music", "epochs", "crafting_log"):
        first, second = (dict(_leaves(getattr(each, field), field)) for each in (record, again))
        if first.keys() != second.keys():
            yield f"{field}: other entries than when run again"
        else:
            yield _furthest(field, list(first.values()), list(second.values()))
    for role, value in again.alignment.items():
        if record.alignment.get(role) != value:
            yield f"alignment.{role}: another hash"


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Number]]:
    """(place, number) of every number in a nest of mappings and lists."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}")
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _leaves(item, f"{path}[{at}]")
    else:
        yield path, value


def _furthest(name: str, first: Sequence[Number], second: Sequence[Number]) -> str:
    if len(first) != len(second):
        return f"{name}: {len(first)} values, {len(second)} when run again"
    far = [(a, b) for a, b in zip(first, second, strict=True) if not close(a, b, IDENTICAL)]
    if not far:
        return ""
    a, b = max(far, key=lambda pair: abs((pair[0] or 0.0) - (pair[1] or 0.0)))
    return f"{name}: {len(far)} of {len(first)} values differ, at most {_text(a)} and {_text(b)} when run again"


def _reasons(record: Record, again: Record, tolerance: float) -> Iterator[str]:
    """Why a record that is not identical does not hold either."""
    if record.denied is None or again.denied is None:
        if record.denied is not again.denied:
            yield f"denied {_text(record.denied)}, {_text(again.denied)} when run again"
    elif abs(record.denied - again.denied) > tolerance:
        yield f"denied {record.denied:+.3f}, {again.denied:+.3f} when run again: more than {tolerance:.3f} apart"
    gained = abs(again.mean(Arm.CLEAN) - again.mean(Arm.UNTRAINED))
    for arm in again.arms:
        first, second = record.mean(arm), again.mean(arm)
        if arm == Arm.UNTRAINED:
            line = _furthest("arms.untrained", record.quality(arm), again.quality(arm))
            if line:
                yield f"{line}, and no training blurs it"
        elif not abs(first - second) <= tolerance * gained and not (math.isnan(first) and math.isnan(second)):
            limit = f"more than {tolerance:.1%} of what is learned"
            yield f"arms.{arm}: mean {first:.4f}, {second:.4f} when run again: {limit}"
    for metric in sorted({*record.audibility, *again.audibility}):
        first, second = (mean(each.audibility.get(metric, [])) for each in (record, again))
        if not abs(first - second) <= AUDIBLE * abs(second) + AUDIBLE_FLOOR and not (
            math.isnan(first) and math.isnan(second)
        ):
            yield f"audibility.{metric}: mean {first:.4g}, {second:.4g} when run again: more than {AUDIBLE:.0%} apart"


def _same_place(record: Record, again: Record) -> bool:
    fields = ("python", "platform", "processor", "packages", "accelerator")
    first, second = ([each.provenance.get(field) for field in fields] for each in (record, again))
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


def _short(key: str | None) -> str:
    return key[:8] if key else "none"
