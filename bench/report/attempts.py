"""What the attacker of a track tried on each training set, by the granted items that it chooses by."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from bench.results.arms import Arm
from bench.results.formats import DASH, number
from bench.results.names import response_name
from bench.results.record import AttemptRecord, Record
from bench.results.statistics import mean
from bench.results.worths import SHARED_SCALES

__all__ = ["MEANING", "attempts_table", "first_round"]

MEANING = (
    "The attacker tries every response (attacker, adaptation) on every protected set and on every size of the clean "
    "curve, and compares them by the quality on the granted items that it does not train on: first with a part of the "
    "training at one seed, then those that went on with all of it, at every seed. Test items are read for the chosen "
    "response alone. *CPU s*: of adapting, training and evaluating, over all attempts."
)

Table = tuple[list[str], list[list[str]]]


def attempts_table(records: Sequence[Record]) -> Table:
    """Return headings and cells: for every row which responses went on to every seed, and which were chosen.

    Args:
        records: of a suite; without rows where it is no track.
    """
    body = []
    for key, group in _by_row(records).items():
        tried = [attempt for record in group for attempt in record.attempts[Arm.PROTECTED]]
        last = {attempt.response for attempt in group[-1].attempts[Arm.PROTECTED]}
        whole: dict[str, list[AttemptRecord]] = defaultdict(list)
        for attempt in tried:
            if attempt.effort == 1 and attempt.response in last:
                whole[attempt.response].append(attempt)
        quality = {name: mean(each.granted for each in attempts) for name, attempts in whole.items()}
        chosen = Counter(response_name(r.trial.attacker.label, r.trial.adaptation_label) for r in group)
        names = sorted(quality, key=lambda name: -quality[name])
        body.append([
            *key,
            str(len({attempt.response for attempt in tried})),
            ", ".join(f"{name} {number(quality[name], '.3f')}" for name in names),
            ", ".join(f"{name} ({count})" for name, count in chosen.most_common()),
            number(sum(attempt.cpu_seconds for record in group for attempt in _all(record)), ",.0f"),
        ])  # fmt: skip
    return [
        "data set", "defense", "knowledge", "responses tried", "at every seed, with their quality on granted items",
        "chosen (seeds)", "CPU s",
    ], body  # fmt: skip


def first_round(records: Sequence[Record]) -> Table:
    """Return headings and cells: every response in the first round, a column a row of the track.

    Args:
        records: of a suite; without rows where it is no track.
    """
    rows = _by_row(records)
    columns: list[dict[str, AttemptRecord]] = []
    for group in rows.values():
        entries: dict[str, AttemptRecord] = {}
        for attempt in group[0].attempts[Arm.PROTECTED]:
            entries.setdefault(attempt.response, attempt)
        columns.append(entries)
    names = list(dict.fromkeys(name for entries in columns for name in entries))
    body = [
        [name, *(number(mean([entries[name].granted]), ".3f") if name in entries else DASH for entries in columns)]
        for name in names
    ]
    return ["response", *(key[1] for key in rows)], body


def _by_row(records: Sequence[Record]) -> dict[tuple[str, str, str], list[Record]]:
    """The records of a track by data set, row and knowledge, by seed; a row against one attacker names it."""
    rows: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        if record.tried:
            trial = record.trial
            against = "" if record.metric in SHARED_SCALES else f" against {trial.attacker.label}"
            rows[trial.dataset.label, f"{trial.row}{against}", trial.knowledge].append(record)
    return {key: sorted(group, key=lambda record: record.trial.seed) for key, group in rows.items()}


def _all(record: Record) -> list[AttemptRecord]:
    """Everything that was tried for a record: of the clean control also for the sizes of the clean curve."""
    return [attempt for attempts in record.attempts.values() for attempt in attempts]
