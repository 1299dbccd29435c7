"""One cell from its number down to the artefacts: arms by seed, checks, stages in the store, logs and commands."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.report.worth import sentence
from bench.results import table
from bench.results.arms import ARMS
from bench.results.cells import cell_of
from bench.results.formats import DASH, bounds, number, text_table
from bench.results.measures import AUDIBILITY
from bench.results.record import CheckRecord, Record
from bench.results.roles import parts_of
from bench.results.sources import Source
from bench.results.worths import row_worths

__all__ = ["inspected"]

Locate = Callable[[str], str]  # key of a stage -> its folder, or that no store holds it


def inspected(source: Source, records: Sequence[Record], locate: Locate) -> str:
    """Return all that is known of a cell as text.

    Args:
        source: Where its records are.
        records: Its trials, by seed.
        locate: Says where the artefact of a stage is.
    """
    (row,) = table.rows(records)
    (score,) = row.cells
    cell = cell_of(records[0])
    seeds = [f"seed {record.trial.seed}" for record in records]
    head = [
        f"cell {cell.id}  {cell}",
        f"records: {source.path} ({cell.name}--s*)",
        f"learning denied {number(score.denied.mean, '+.3f')} ({bounds(score.denied)}), score 1, "
        f"metric: {score.metric or DASH}",
        *(f"{sentence(worth)}, score 2, to an attacker with this response alone" for worth in row_worths(records)),
    ]
    if score.void:
        head.append(f"void: {', '.join(score.void)}")
    parts = ["\n".join(head), _arms(records, seeds)]
    if row.audibility:
        measured_values = [
            (m.heading, number(row.audibility[m.name], m.form)) for m in AUDIBILITY if m.name in row.audibility
        ]
        parts.append("audibility: " + ", ".join(f"{heading} {value}" for heading, value in measured_values))
    parts += [_checks(records, seeds), _plugins(records[0]), _stages(records, locate), _logs(records, seeds)]
    parts += [_errors(records), _commands(source, records)]
    return "\n\n".join(part for part in parts if part)


def _arms(records: Sequence[Record], seeds: Sequence[str]) -> str:
    """Return the mean quality of every arm, and the score, by seed."""
    arms = [arm for arm in ARMS if any(arm in record.arms for record in records)]
    body = [[arm, *(number(record.mean(arm), ".4f") for record in records)] for arm in arms]
    denied = [math.nan if record.denied is None else record.denied for record in records]
    return text_table(["arm", *seeds], [*body, ["learning denied", *(number(value, "+.3f") for value in denied)]])


def _checks(records: Sequence[Record], seeds: Sequence[str]) -> str:
    """Return the validity checks by seed."""
    names = dict.fromkeys(check.name for record in records for check in record.checks)
    if not names:
        return ""
    body = []
    for name in names:
        checks = [next((check for check in record.checks if check.name == name), None) for record in records]
        values = [_check(check) if check else DASH for check in checks]
        limit = next((check.limit for check in checks if check), None)
        body.append([name, number(math.nan if limit is None else limit, ".3f"), *values])
    return text_table(["validity check", "limit", *seeds], body)


def _check(check: CheckRecord) -> str:
    """Return a check's value, and that it failed where it did."""
    value = number(math.nan if check.value is None else check.value, ".3f")
    return value if check.passed else f"{value} FAILED"


def _plugins(record: Record) -> str:
    """Return the plugins with version, digest and parameters."""
    body = [
        [role.title, part.label, str(part.version), part.digest, ", ".join(f"{k}={v}" for k, v in part.params.items())]
        for role, part in parts_of(record.trial)
    ]
    return text_table(["plugin", "name", "version", "digest", "parameters"], body)


def _stages(records: Sequence[Record], locate: Locate) -> str:
    """Return every stage: its cost, and where its artefact is."""
    body, keys = [], set()
    for record in records:
        for role, key in record.stages.items():
            if key in keys:
                continue
            keys.add(key)
            cost = record.cost.get(role, {}).get("cpu_seconds", math.nan)
            body.append([role.replace("_", " "), str(record.trial.seed), key[:12], number(cost, ".1f"), locate(key)])
    return text_table(["stage", "seed", "key", "CPU s", "artefact"], body)


def _logs(records: Sequence[Record], seeds: Sequence[str]) -> str:
    """Return the first and the last epoch of each arm, by seed."""
    body = []
    for arm in dict.fromkeys(arm for record in records for arm in record.epochs):
        for record, seed in zip(records, seeds, strict=True):
            lines = record.epochs.get(arm, [])
            if lines:
                names = dict.fromkeys(name for line in lines for name in line if name != "step")
                ends = [f"{name} {_ends([line.get(name) for line in lines])}" for name in names]
                body.append([arm, seed.removeprefix("seed "), str(len(lines)), ", ".join(ends)])
    return (
        text_table(["trained on", "seed", "epochs", "first and last (the log: epochs.json of the stage)"], body)
        if body
        else ""
    )


def _ends(values: Sequence[float | None]) -> str:
    """Return the first and the last number that there is."""
    present = [value for value in values if value is not None]
    return f"{present[0]:.4g} to {present[-1]:.4g}" if present else DASH


def _errors(records: Sequence[Record]) -> str:
    """Return why trials failed."""
    return "\n".join(
        f"seed {record.trial.seed} failed in {record.error.get('stage', '')}: {record.error.get('type', '')}: "
        f"{record.error.get('message', '').removeprefix(record.error.get('stage', '') + ': ')}\n"
        f"{record.error.get('tail', '')}".rstrip()
        for record in records
        if record.error
    )


def _commands(source: Source, records: Sequence[Record]) -> str:
    """Return what made the records, and the commands that go on from here."""
    first = records[0]
    git = first.provenance.get("git") or {}
    note = ", with changes that were not committed" if git.get("dirty") else ""
    lines = [
        f"made by: {first.provenance.get('command') or DASH}",
        f"         {first.provenance.get('at', '')}, commit {git.get('commit', DASH)}{note}",
    ]
    path, name = shlex.quote(str(source.path)), shlex.quote(first.name)
    if source.suite is not None:
        lines.append(f"make again: bench matrix {shlex.quote(_short(source.suite))}")
    lines.append(f"the record:  bench records show {path} {name}")
    lines.append(f"run one again and compare:  bench verify {path} --sample 1")
    if not first.trial.control.is_clean and first.status == "ok":
        lines.append(f"listen:  bench listen {name} --open")
    return "\n".join(lines)


def _short(path: Path) -> str:
    """Return a path below the current folder as one that starts there."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
