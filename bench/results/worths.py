"""Score 2 of tables: the worth of every protected set, from records of trials under a threat model.

Where attackers share a scale (accuracy), the attacker may choose among all models: the clean curve and the protected
arm are those of the model that its granted items choose, at every size. Where they do not (likelihoods of different
models), every attacker has a clean curve and a worth of its own.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.results.arms import Arm, curve_role
from bench.results.curve import CleanCurve
from bench.results.names import response_name
from bench.results.record import Number, Record
from bench.results.statistics import mean
from bench.results.worth import Response, Worth, fill_missing, pick, worth

__all__ = ["SHARED_SCALES", "RowWorth", "row_worths"]

SHARED_SCALES = ("accuracy",)  # metrics on which models of different attackers can be compared

_Items = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RowWorth:
    """What a defense's protected set is worth to one attacker, or to all that share a scale.

    Attributes:
        dataset: the data set, as tables print it.
        defense: the row's name.
        knowledge: what the defender knows of the attacker.
        attackers: those that the attacker chooses among.
        response: the response that its granted items chose most often.
        metric: the quality that is compared.
        seeds: the seeds that have the clean curve and a response.
        worth: worth, learning denied, and the validity checks.
        curve: the clean curve.
    """

    dataset: str
    defense: str
    knowledge: str
    attackers: tuple[str, ...]
    response: str
    metric: str
    seeds: tuple[int, ...]
    worth: Worth
    curve: CleanCurve


def row_worths(records: Iterable[Record]) -> list[RowWorth]:
    """Compute the worth of every row that has a threat model.

    Args:
        records: of a suite or a run; failed ones and those without a threat model are left out.

    Returns:
        For each data set, defense, knowledge, share and scale one worth, in the order of the records.
    """
    groups: dict[tuple[str, str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        trial = record.trial
        if record.status == "ok" and trial.threat:
            scale = record.metric if record.metric in SHARED_SCALES else trial.attacker.label
            groups[trial.dataset.label, trial.row, trial.knowledge, scale].append(record)
    worths = [_row_worth(key[:3], group) for key, group in groups.items()]
    return [row for row in worths if row is not None]


def _row_worth(key: tuple[str, str, str], records: Sequence[Record]) -> RowWorth | None:
    """The worth of one row; None where no seed has both the clean curve and a response."""
    first = records[0]
    threat = first.trial.threat
    assert threat is not None
    fitting = [record for record in records if record.ids == first.ids and record.trial.threat == threat]
    by_seed: dict[int, list[Record]] = defaultdict(list)
    for record in fitting:
        by_seed[record.trial.seed].append(record)
    seeds = sorted(by_seed)
    responses = _responses([by_seed[seed] for seed in seeds])
    chosen = pick(responses)
    sizes = {size: _clean_items([by_seed[seed] for seed in seeds], size) for size in threat.smaller}
    sizes[threat.published] = _clean_items([by_seed[seed] for seed in seeds], None)
    filled, protected, missing = fill_missing(sizes, chosen.test)
    curve = CleanCurve(tuple(filled), np.stack(list(filled.values())), threat.granted)
    groups = [first.groups[at] for at in first.scored]
    return RowWorth(
        *key,
        attackers=tuple(dict.fromkeys(record.trial.attacker.label for record in fitting)),
        response=chosen.name,
        metric=first.metric,
        seeds=tuple(seeds),
        worth=worth(curve, protected, groups, missing),
        curve=curve,
    )


def _responses(seeds: Sequence[Sequence[Record]]) -> list[Response]:
    """Every response that any seed has, with its qualities in each seed; NaN where a seed does not have it."""
    names: dict[str, None] = {}
    of_seed: list[dict[str, Record]] = []
    for records in seeds:
        of_seed.append({_response(record): record for record in records})
        names |= dict.fromkeys(of_seed[-1])
    count = len(seeds[0][0].scored)
    return [
        Response(
            name,
            np.array([_granted(held[name], Arm.PROTECTED) if name in held else math.nan for held in of_seed]),
            np.stack([
                _floats(held[name].quality(Arm.PROTECTED)) if name in held else np.full(count, math.nan)
                for held in of_seed
            ]),
        )
        for name in names
    ]  # fmt: skip


def _clean_items(seeds: Sequence[Sequence[Record]], size: int | None) -> _Items:
    """The qualities of a clean size, [seed, item]: of the attacker that the granted items choose in each seed.

    Args:
        seeds: [seed] the records of each.
        size: clean items published; None for all.
    """
    rows = []
    for records in seeds:
        role = str(Arm.CLEAN) if size is None else curve_role(size)
        candidates = {record.trial.attacker.label: record for record in records}
        best = max(candidates.values(), key=lambda record: _least(_granted(record, role)))
        values = best.quality(Arm.CLEAN) if size is None else _scored(best, best.curve[str(size)])
        rows.append(_floats(values))
    return np.stack(rows)


def _response(record: Record) -> str:
    return response_name(record.trial.attacker.label, record.trial.adaptation_label)


def _scored(record: Record, metrics: Mapping[str, list[Number]]) -> list[Number]:
    values = metrics[record.metric]
    return [values[at] for at in record.scored]


def _granted(record: Record, role: str) -> float:
    """The mean quality of an arm on the granted items; NaN where it has none."""
    return mean(record.granted.get(str(role), {}).get(record.metric, []))


def _least(value: float) -> float:
    """A missing quality is worse than any."""
    return -math.inf if math.isnan(value) else value


def _floats(values: Sequence[Number]) -> _Items:
    return np.array([math.nan if value is None else value for value in values])
