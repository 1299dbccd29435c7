"""Whether a record's numbers are what they say: its own arithmetic, its provenance, and a comparison with a second run.

Pure functions of records; nothing here runs a trial. `problems` needs the record alone, `clashes` several of them;
`trial_problems`, `key_problems` and `differences` need its trial, rebuilt by `bench.trials.again`. `compare` sets a
record beside one that was made again.

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
from pathlib import Path
from typing import Any, Literal

from bench.metrics.learning import learning_denied, learns_gate
from bench.trials import record as records
from bench.trials import trial as trials
from bench.trials.again import as_recorded, recorded_parts
from bench.trials.record import EVALUATED, GateRecord, Number, PartRecord, Record
from bench.trials.trial import Part, Trial, plan

IDENTICAL = 1e-4
DENIED = 0.05
MOST_SPREAD = 0.15
AUDIBLE, AUDIBLE_FLOOR = 0.01, 1e-3
_ROUNDED = 2e-6  # records keep six digits
_NEEDED = ("protected", "clean", "untrained")
_WITHIN = {"accuracy": (0.0, 1.0), "correlation": (-1.0, 1.0), "masked_energy": (0.0, 1.0), "stoi": (-1.0, 1.0)}

Finding = Literal["identical", "holds", "does not hold"]


@dataclass(frozen=True)
class Verdict:
    """What a second run says of a record. `reasons` say why it does not hold, `remarks` what else differs."""

    finding: Finding
    denied: Number  # of the record
    again: Number  # of the second run
    reasons: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


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


def trial_problems(record: Record, trial: Trial) -> list[str]:
    """What contradicts the rebuilt trial: what it is called, and the gates that its attacker sets."""
    lines = []
    if trial.name != record.name:
        lines.append(f"name '{record.name}': its trial is called '{trial.name}'")
    told = {"row": trial.row, "control": trial.defense.control}
    if trial.defense.digest == record.trial.defense.digest:
        told["per"] = trial.defense.traits.get("per", "")
    for field, here in told.items():
        if getattr(record.trial, field) != here:
            lines.append(f"{field} '{getattr(record.trial, field)}': the trial has '{here}'")
    if record.status == "ok" and trial.attacker.digest == record.trial.attacker.digest:
        expected = records.gates_of(trial.attacker, record.arms, record.metric, record.groups)
        lines += _gate_problems(record.gates, expected)
    return lines


def key_problems(record: Record, trial: Trial) -> list[str]:
    """The stages whose keys the record's own parameters and digests do not give: something was changed afterwards.

    Where the plugins here are of other source they may rightly have other stages.
    """
    (cell,) = plan([as_recorded(trial, record)]).cells
    pairs = [(role, record.stages.get(role), cell.keys.get(role)) for role in sorted({*cell.keys, *record.stages})]
    return [
        f"stage {role}: key {_short(then)}, what the record says was done gives {_short(now)}"
        for role, then, now in pairs
        if then != now
    ]


def differences(record: Record, trial: Trial) -> list[str]:
    """How the plugins and their data here differ from those that the record was made with, a line each."""
    here = [trial.dataset, trial.defense, trial.attacker, trial.adaptation, trial.reference]
    parts = [*(part for part in here if part), *trial.surrogates, *trial.expects]
    lines: dict[str, None] = {}
    for (role, _, was), part in zip(recorded_parts(record), parts, strict=True):
        for what, then, now in _compared(was, part):
            lines[f"{role} '{was.label}': {what} {now} here, {then} in the record"] = None
    return list(lines)


def spread(record: Record, siblings: Iterable[Record]) -> float:
    """The standard deviation of the score over the seeds of the record's cell; 0 with fewer than two of them."""
    cell = _cell(record)
    values = [other.denied for other in siblings if _cell(other) == cell and other.denied is not None]
    if len(values) < 2:
        return 0.0
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def compare(record: Record, again: Record, over_seeds: float = 0.0, same_code: bool = False) -> Verdict:
    """A record beside the second run of its trial. over_seeds: see `spread`; same_code: no `differences` were found."""
    told = ("metric", "ids", "groups", "labels", "heard")
    other = [f"{name}: others than when run again" for name in told if getattr(record, name) != getattr(again, name)]
    if other:
        return Verdict("does not hold", record.denied, again.denied, tuple(other))
    moved = [line for line in _moved(record, again) if line]
    if not moved:
        return Verdict("identical", record.denied, again.denied)
    reasons = list(_reasons(record, again, max(DENIED, min(over_seeds, MOST_SPREAD))))
    if not reasons and same_code and _same_place(record, again):
        reasons = [f"{line}, though code, packages and processor are the record's" for line in moved]
    finding: Finding = "does not hold" if reasons else "holds"
    return Verdict(finding, record.denied, again.denied, tuple(reasons), tuple(moved) if not reasons else ())


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
    denied = learning_denied(record.mean("clean"), record.mean("protected"), record.mean("untrained"))
    if not _close(record.denied, records.numbers([denied])[0], _ROUNDED):
        yield f"denied {record.denied}: its arms give {records.numbers([denied])[0]}"
    yield from _range_problems(record)
    yield from _shared_problems(record)
    yield from _gate_problems(record.gates, _common_gate(record))
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


def _common_gate(record: Record) -> list[GateRecord]:
    """The gate that every attacker must pass, from the arms; the attacker's own need its code."""
    pairs = zip(
        record.arms["clean"][record.metric], record.arms["untrained"][record.metric], record.groups, strict=True
    )
    kept = [(a, b, group) for a, b, group in pairs if a is not None and b is not None]
    gate = learns_gate([a for a, _, _ in kept], [b for _, b, _ in kept], [group for _, _, group in kept])
    value = records.numbers([gate.value])[0]
    return [GateRecord(name=gate.name, passed=gate.passed, value=value, limit=gate.limit, meaning=gate.meaning)]


def _gate_problems(told: Sequence[GateRecord], expected: Sequence[GateRecord]) -> Iterator[str]:
    by_name = {gate.name: gate for gate in told}
    for gate in expected:
        found = by_name.get(gate.name)
        if found is None:
            yield f"gate '{gate.name}' is missing"
        elif found.passed != gate.passed or not _close(found.value, gate.value, 1e-4) or found.limit != gate.limit:
            yield f"gate '{gate.name}': {found.value}, passed {found.passed}; its arms give {gate.value}, {gate.passed}"


def _told(record: Record) -> Iterator[tuple[str, str, Any]]:
    """(what, key of its stage, value) of all that a stage alone decides."""
    for arm, metrics in record.arms.items():
        if arm in record.stages:
            yield f"arms.{arm}" if arm != "protected" else "the quality", record.stages[arm], metrics
    if "protected_set" in record.stages and record.audibility:
        yield "audibility", record.stages["protected_set"], record.audibility
    for role, value in record.alignment.items():
        if role in record.stages:
            yield "alignment", record.stages[role], value


def _moved(record: Record, again: Record) -> Iterator[str]:
    """What differs by more than 1e-4, a line each."""
    for arm, metrics in again.arms.items():
        for metric, values in metrics.items():
            yield _furthest(f"arms.{arm}.{metric}", record.arms.get(arm, {}).get(metric, []), values)
    for metric, values in again.audibility.items():
        yield _furthest(f"audibility.{metric}", record.audibility.get(metric, []), values)
    yield _furthest("denied", [record.denied], [again.denied])
    yield _furthest("view.changed", record.view.get("changed", []), again.view.get("changed", []))
    for field in ("distance", "music", "epochs", "crafting"):
        then, now = (dict(_leaves(getattr(made, field), field)) for made in (record, again))
        if then.keys() != now.keys():
            yield f"{field}: other entries than when run again"
        else:
            yield _furthest(field, list(then.values()), list(now.values()))
    for role, value in again.alignment.items():
        if record.alignment.get(role) != value:
            yield f"alignment.{role}: another hash"


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Number]]:
    """(place, number) of every number in a nest of mappings and lists."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{place}.{key}")
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _leaves(item, f"{place}[{at}]")
    else:
        yield place, value


def _furthest(place: str, then: Sequence[Number], now: Sequence[Number]) -> str:
    if len(then) != len(now):
        return f"{place}: {len(then)} values, {len(now)} when run again"
    far = [(a, b) for a, b in zip(then, now, strict=True) if not _close(a, b, IDENTICAL)]
    if not far:
        return ""
    a, b = max(far, key=lambda pair: abs((pair[0] or 0.0) - (pair[1] or 0.0)))
    return f"{place}: {len(far)} of {len(then)} values differ, at most {_text(a)} and {_text(b)} when run again"


def _reasons(record: Record, again: Record, tolerance: float) -> Iterator[str]:
    """Why a record that is not identical does not hold either."""
    if record.denied is None or again.denied is None:
        if record.denied is not again.denied:
            yield f"denied {_text(record.denied)}, {_text(again.denied)} when run again"
    elif abs(record.denied - again.denied) > tolerance:
        yield f"denied {record.denied:+.3f}, {again.denied:+.3f} when run again: more than {tolerance:.3f} apart"
    gained = abs(again.mean("clean") - again.mean("untrained"))
    for arm in again.arms:
        then, now = record.mean(arm), again.mean(arm)
        if arm == "untrained":
            line = _furthest("arms.untrained", record.quality(arm), again.quality(arm))
            if line:
                yield f"{line}, and no training blurs it"
        elif not abs(then - now) <= tolerance * gained and not (math.isnan(then) and math.isnan(now)):
            yield f"arms.{arm}: mean {then:.4f}, {now:.4f} when run again: more than {tolerance:.1%} of what is learned"
    for metric in sorted({*record.audibility, *again.audibility}):
        then, now = (_mean(made.audibility.get(metric, [])) for made in (record, again))
        if not abs(then - now) <= AUDIBLE * abs(now) + AUDIBLE_FLOOR and not (math.isnan(then) and math.isnan(now)):
            yield f"audibility.{metric}: mean {then:.4g}, {now:.4g} when run again: more than {AUDIBLE:.0%} apart"


def _same_place(record: Record, again: Record) -> bool:
    fields = ("python", "platform", "processor", "packages", "accelerator")
    then, now = ([made.made.get(field) for field in fields] for made in (record, again))
    return then == now and now[-1] is None


def _compared(was: PartRecord, part: Part) -> Iterator[tuple[str, Any, Any]]:
    named = (("version", was.version, part.version), ("source", was.digest, part.digest), ("data", was.data, part.data))
    yield from (found for found in named if found[1] != found[2])
    for key in sorted({*was.params, *part.params}):
        if key not in was.params or key not in part.params or was.params[key] != part.params[key]:
            yield f"parameter {key} =", *(values.get(key, "absent") for values in (was.params, part.params))


def _bare(record: Record) -> Trial:
    """The trial by its names alone: enough for what it and its record are called."""
    asked = record.trial

    def bare(kind: str, part: PartRecord) -> Part:
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


def _cell(record: Record) -> tuple[str, str]:
    return record.name.rpartition("--")[0], record.trial.preset


def _not_finite(value: Any, place: str = "") -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield place
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _not_finite(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for at, item in enumerate(value):
            yield from _not_finite(item, f"{place}[{at}]")


def _close(a: Number, b: Number, tolerance: float) -> bool:
    if a is None or b is None:
        return a is b
    return abs(a - b) <= tolerance * max(1.0, abs(a), abs(b))


def _mean(values: Sequence[Number]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else math.nan


def _text(value: Number) -> str:
    return "null" if value is None else f"{value:.6g}"


def _short(key: str | None) -> str:
    return key[:8] if key else "none"
