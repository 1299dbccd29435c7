"""A record as an experiment tracker takes it: settings, final metrics, curves over training, tags.

Names are paths (`quality/clean`), by which both trackers group. They hold letters, digits, `_ - . / :` and spaces only,
since MLflow takes no more: `kad[logmel]` becomes `kad.logmel`. A null number is left out, never written as 0.

    denied                          learning denied, score 1
    quality/ARM                     the mean of the scored metric over the scored held-out items, higher is better
    arms/METRIC/ARM                 the same of every metric
    audibility/METRIC               mean over clips
    distance/SET/METRIC, music/SET/METRIC
    input change                    the share of the attacker's input that differs, mean over the training set
    gate/NAME                       the value of a validity check
    cost/seconds, cost/cpu_seconds  of all stages, each once, however many roles it has
    cost/peak_memory_mb             the most that any stage took
    epochs/ARM/COLUMN               curves: the attacker's training, by its own steps
    crafting/COLUMN                 curves: what the defense logged of its surrogates, by round
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bench.results.record import Number, PartRecord, Record
from bench.results.roles import parts_of
from bench.results.statistics import mean

__all__ = ["Facts", "Setting", "of"]

Setting = bool | int | float | str
Curve = tuple[tuple[int, float], ...]  # (step, value)


@dataclass(frozen=True)
class Facts:
    """One trial, for a tracker's run."""

    suite: str
    name: str
    key: str
    ok: bool
    at: float  # when its last stage was made, seconds since 1970
    settings: Mapping[str, Setting]  # names, parameters, seed
    sources: Mapping[str, str]  # version and digest of each plugin
    metrics: Mapping[str, float]
    curves: Mapping[str, Curve]
    tags: Mapping[str, str]
    text: str  # the whole record, JSON


def of(record: Record, suite: str) -> Facts:
    """Prepare one record for a tracker.

    Args:
        record: The record.
        suite: The name of its suite.
    """
    parts = _parts(record)
    return Facts(
        suite=suite,
        name=record.name,
        key=record.key,
        ok=record.status == "ok",
        at=_seconds(record.provenance.get("at")),
        settings=dict(_settings(record, parts)),
        sources={
            f"{attribute}.{kind}": str(value)
            for kind, part in parts.items()
            for attribute, value in (("version", part.version), ("digest", part.digest))
        },
        metrics=_finite(_metrics(record)),
        curves=dict(_curves(record)),
        tags=_tags(record, suite),
        text=json.dumps(record.model_dump(), ensure_ascii=False, allow_nan=False),
    )


def _parts(record: Record) -> dict[str, PartRecord]:
    """Return the plugins whose parameters are exported, by role."""
    return {role.name: part for role, part in parts_of(record.trial) if not role.many}


def _settings(record: Record, parts: Mapping[str, PartRecord]) -> Iterator[tuple[str, Setting]]:
    """Yield names, parameters and seed of a trial."""
    trial = record.trial
    yield "row", trial.row
    for kind, part in parts.items():
        yield kind, part.label
        yield f"{kind}.plugin", part.name
        for name, value in part.params.items():
            if value is not None:
                yield _name(f"{kind}.{name}"), value if isinstance(value, Setting) else json.dumps(value)
    yield "adaptation", trial.adaptation_label  # of a chain the names of all its links
    yield "knowledge", trial.knowledge
    yield "surrogates", ", ".join(part.label for part in trial.surrogates)
    yield "expects", ", ".join(part.label for part in trial.expects)
    yield "control", str(trial.control)
    yield "scope", trial.scope
    yield "share", trial.share
    yield "seed", trial.seed
    yield "preset", trial.preset
    yield "metric", record.metric


def _metrics(record: Record) -> Iterator[tuple[str, Number]]:
    """Yield the final metrics of a trial; null for those that it has no number for."""
    yield "denied", record.denied
    for arm, metrics in record.arms.items():
        yield f"quality/{arm}", record.mean(arm)
        for metric in metrics:
            yield f"arms/{metric}/{arm}", record.mean(arm, metric)
    for metric, values in record.audibility.items():
        yield f"audibility/{metric}", mean(values)
    for group, sets in (("distance", record.distance), ("music", record.music)):
        for whose, numbers in sets.items():
            for metric, value in numbers.items():
                yield f"{group}/{whose}/{metric}", value
    if record.input_change:
        yield "input change", mean(record.input_change)
    for check in record.checks:
        yield f"gate/{check.name}", check.value
    stages = {record.stages.get(role, role): cost for role, cost in record.cost.items()}
    for resource, total in (("seconds", math.fsum), ("cpu_seconds", math.fsum), ("peak_memory_mb", max)):
        amounts = [cost[resource] for cost in stages.values() if resource in cost]
        yield f"cost/{resource}", total(amounts) if amounts else None


def _curves(record: Record) -> Iterator[tuple[str, Curve]]:
    """Yield the training curves of a trial."""
    groups = {f"epochs/{arm}": lines for arm, lines in record.epochs.items()} | {"crafting": record.crafting_log}
    for group, lines in groups.items():
        for column in dict.fromkeys(column for line in lines for column in line if column != "step"):
            points = [(_step(line, at), line.get(column)) for at, line in enumerate(lines)]
            curve = tuple((step, value) for step, value in points if value is not None and math.isfinite(value))
            if curve:
                yield _name(f"{group}/{column}"), curve


def _step(line: Mapping[str, Number], at: int) -> int:
    """Return a log line's own step, or its index where it has none."""
    step = line.get("step")
    return at if step is None else round(step)


def _tags(record: Record, suite: str) -> dict[str, str]:
    """Return what identifies a trial and where it comes from; empty values are left out."""
    git = record.provenance.get("git") or {}
    tags = {
        "suite": suite,
        "trial": record.name,
        "key": record.key,
        "status": record.status,
        "void": "; ".join(check.name for check in record.void),
        "error": record.error["message"] if record.error else "",
        "commit": str(git.get("commit", "")),
        "dirty": str(git["dirty"]).lower() if "dirty" in git else "",
        "command": str(record.provenance.get("command", "")),
    }
    return {name: text for name, text in tags.items() if text}


def _finite(metrics: Iterable[tuple[str, Number]]) -> dict[str, float]:
    """Return the metrics that have a finite number, under names that every tracker takes."""
    return {_name(name): float(value) for name, value in metrics if value is not None and math.isfinite(value)}


def _name(name: str) -> str:
    """`distance/set/kad[logmel]` -> `distance/set/kad.logmel`; any other character that MLflow refuses -> a space."""
    text = re.sub(r"\[([^\]]*)\]", r".\1", name)
    return re.sub(r" +", " ", re.sub(r"[^\w\-. :/]", " ", text, flags=re.ASCII)).strip()


def _seconds(at: Any) -> float:
    """Return a time in seconds since 1970; now, for a record without one, whose first stage failed."""
    return datetime.fromisoformat(at).timestamp() if isinstance(at, str) else time.time()
