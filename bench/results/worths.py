"""Score 2 of tables: the worth of every protected set, from records of trials under a threat model.

The clean curve and the protected arm are those of the response (model and adaptation) that the granted items choose,
in every seed, at every size, among the same responses: an adaptation that improves the attacker on clean items as well
is no attack. Where attackers share a scale (accuracy), the choice is among all of them; where they do not (likelihoods
of different models), every attacker has a clean curve and a worth of its own. Where the control of scrambled items
teaches as much as a third of what the clean items do, all rows beside it are void.

A row with a matched control (noise of its kind at random, or white, as loud) is compared with that, paired by seed and
item: what the two deny alike is due to the noise's level or kind, and not to how the defense made it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.results.arms import Arm, curve_role
from bench.results.crossed import crossed_mean
from bench.results.curve import CleanCurve
from bench.results.names import attacker_of, response_name, row_name
from bench.results.record import Number, Record
from bench.results.statistics import Interval, mean, rank_by_tests
from bench.results.table import Row
from bench.results.worth import Response, Worth, fill_missing, pick, share_of_added, worth
from bench.vocabulary import Control, ValidityCheck

__all__ = ["SHARED_SCALES", "RowWorth", "row_worths"]

SHARED_SCALES = ("accuracy",)  # metrics on which models of different attackers can be compared
MOST_BY_SCRAMBLED = 1 / 3  # of what publishing clean items adds, the share that scrambled ones may add

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
        protected: [seed, item] qualities of the chosen responses on the test items.
        groups: [item] the song or speaker of each test item.
        scope: what one perturbation is made for; rows are ranked within one scope.
        control: whether it is a control, which is not ranked.
        beyond: learning denied beyond what the matched control denies, of several the one that denies most; None
            without one of the same test items in a common seed.
        rank: the ranks that it may have, best and worst; None for controls, void rows, rows outside the audibility
            budget, and rows that share fewer than two seeds with any other.
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
    protected: _Items
    groups: tuple[str, ...]
    scope: str
    control: bool
    beyond: Interval | None = None
    rank: tuple[int, int] | None = None


def row_worths(records: Iterable[Record], rows: Sequence[Row] = ()) -> list[RowWorth]:
    """Compute the worth of every row that has a threat model, and rank the rows.

    Args:
        records: of a suite or a run; failed ones and those without a threat model are left out, and so is a seed in
            which no response has a quality on the granted items, and a test item that no arm of some seed has.
        rows: the rows of their table; one outside the audibility budget is not ranked.

    Returns:
        For each data set, defense, knowledge, share and scale one worth: ranked rows first, controls last.
    """
    groups: dict[tuple[str, str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        trial = record.trial
        if record.status == "ok" and trial.threat:
            scale = record.metric if record.metric in SHARED_SCALES else trial.attacker.label
            groups[trial.dataset.label, trial.row, trial.knowledge, scale].append(record)
    by_key = {key: row for key, group in groups.items() if (row := _row_worth(key[:3], group))}
    scrambled = {
        (key[0], key[3]): row for key, row in by_key.items() if groups[key][0].trial.control == Control.SCRAMBLE
    }
    matched: dict[tuple[str, str, str, str], list[RowWorth]] = defaultdict(list)
    for key, row in by_key.items():
        trial = groups[key][0].trial
        if trial.control == Control.MATCHED and trial.reference:
            matched[key[0], row_name(trial.reference.label, "", trial.share), key[2], key[3]].append(row)
    worths = [
        _beside_scrambled(_beside_matched(row, matched[key]), scrambled.get((key[0], key[3])))
        for key, row in by_key.items()
    ]
    outside = frozenset((row.dataset, *row.key) for row in rows if not row.inside)
    return _ranked(worths, outside)


def _row_worth(key: tuple[str, str, str], records: Sequence[Record]) -> RowWorth | None:
    """The worth of one row; None where nothing can be chosen or tested."""
    first = records[0]
    threat = first.trial.threat
    assert threat is not None
    fitting = [record for record in records if record.ids == first.ids and record.trial.threat == threat]
    by_seed: dict[int, list[Record]] = defaultdict(list)
    for record in fitting:
        by_seed[record.trial.seed].append(record)
    seeds = [
        seed
        for seed, group in sorted(by_seed.items())
        if not all(math.isnan(_granted(record, Arm.PROTECTED)) for record in group)
    ]
    if not seeds:
        return None
    chosen = pick(_responses([by_seed[seed] for seed in seeds]))
    sizes = {size: _clean_items([by_seed[seed] for seed in seeds], size) for size in threat.smaller}
    sizes[threat.published] = _clean_items([by_seed[seed] for seed in seeds], None)
    known: NDArray[np.bool_] = np.asarray(~np.isnan(np.stack([*sizes.values(), chosen.test])).all(0).any(0))  # [item]
    if not known.any():
        return None
    kept = {size: values[:, known] for size, values in sizes.items()}
    filled, protected, missing = fill_missing(kept, chosen.test[:, known])
    missing += int((~known).sum()) * len(seeds) * (len(sizes) + 1)
    curve = CleanCurve(tuple(filled), np.stack(list(filled.values())), threat.granted)
    groups = [first.groups[at] for at, here in zip(first.scored, known, strict=True) if here]
    return RowWorth(
        *key,
        attackers=_attackers(fitting),
        response=chosen.name,
        metric=first.metric,
        seeds=tuple(seeds),
        worth=_with_checks(worth(curve, protected, groups, missing), fitting),
        curve=curve,
        protected=protected,
        groups=tuple(groups),
        scope=first.trial.scope,
        control=bool(first.trial.control),
    )


def _attackers(records: Sequence[Record]) -> tuple[str, ...]:
    """The attackers that are chosen among: in a track those that were tried, else those of the records."""
    tried = [attacker_of(response) for record in records for response in record.tried]
    return tuple(dict.fromkeys(tried or [record.trial.attacker.label for record in records]))


def _with_checks(result: Worth, records: Sequence[Record]) -> Worth:
    """Add the attackers' own validity checks that failed, such as that of material shuffled in time."""
    failed = {check.name: check for record in records for check in record.attacker_checks if not check.passed}
    checks = [
        ValidityCheck(check.name, False, _plain(check.value), _plain(check.limit), check.meaning)
        for check in failed.values()
    ]
    return replace(result, checks=(*result.checks, *checks))


def _beside_scrambled(row: RowWorth, scrambled: RowWorth | None) -> RowWorth:
    """Check that scrambled items teach little of what the clean ones do, where the row stands beside such a control."""
    if scrambled is None:
        return row
    share = 1 - scrambled.worth.denied.mean
    check = ValidityCheck(
        "scrambled items teach less",
        share < MOST_BY_SCRAMBLED,
        share,
        MOST_BY_SCRAMBLED,
        "the share of what publishing clean items adds that scrambled ones add as well",
    )
    return replace(row, worth=replace(row.worth, checks=(*row.worth.checks, check)))


def _beside_matched(row: RowWorth, controls: Sequence[RowWorth]) -> RowWorth:
    """Compare a row with the strongest of its matched controls, over the seeds that both have."""
    alike = [each for each in controls if each.groups == row.groups and set(each.seeds) & set(row.seeds)]
    if not alike:
        return row
    strongest = max(alike, key=lambda each: each.worth.denied.mean)
    seeds = [seed for seed in row.seeds if seed in strongest.seeds]
    clean, withheld = (row.curve.at([size])[0][_places(row, seeds)] for size in (row.curve.published, 0))
    beyond = share_of_added(_of(strongest, seeds) - _of(row, seeds), clean - withheld, row.groups)
    return replace(row, beyond=beyond)


def _ranked(rows: Sequence[RowWorth], outside: frozenset[tuple[str, str, str]]) -> list[RowWorth]:
    """Rank rows of the same data set, attackers and scope: the less the attacker learns, the better.

    Two rows are compared by the attacker's quality, paired by seed and item, with the errors of both (see `crossed`).
    """
    ranks: dict[int, tuple[int, int] | None] = {}
    ranking_groups: dict[tuple[object, ...], list[RowWorth]] = defaultdict(list)
    for row in rows:
        if not row.control and not row.worth.void and (row.dataset, row.defense, row.knowledge) not in outside:
            ranking_groups[row.dataset, row.attackers, row.metric, row.scope].append(row)
    for group in ranking_groups.values():
        tests = {}
        for i, first in enumerate(group):
            for j, second in enumerate(group[:i]):
                seeds = [seed for seed in first.seeds if seed in second.seeds]
                if len(seeds) > 1:
                    difference = crossed_mean(_of(second, seeds) - _of(first, seeds), first.groups)
                    tests[i, j] = (difference.mean, difference.p)
        for row, possible in zip(group, rank_by_tests(len(group), tests).ranges, strict=True):
            ranks[id(row)] = possible
    ranked = [replace(row, rank=ranks.get(id(row))) for row in rows]
    return sorted(ranked, key=lambda row: (row.dataset, row.attackers, row.control, row.rank is None, row.worth.share))


def _of(row: RowWorth, seeds: Sequence[int]) -> _Items:
    """The qualities of some seeds, [seed, item]."""
    return row.protected[_places(row, seeds)]


def _places(row: RowWorth, seeds: Sequence[int]) -> list[int]:
    """The places of some seeds among those of a row."""
    return [row.seeds.index(seed) for seed in seeds]


def _responses(seeds: Sequence[Sequence[Record]]) -> list[Response]:
    """Every response that any seed has, with its qualities in each seed; NaN where a seed does not have it."""
    names: dict[str, tuple[str, bool, str]] = {}
    of_seed: list[dict[str, Record]] = []
    for records in seeds:
        of_seed.append({_response(record): record for record in records})
        names |= {name: _order(record) for name, record in of_seed[-1].items()}
    count = len(seeds[0][0].scored)
    return [
        Response(
            name,
            np.array([_granted(by_name[name], Arm.PROTECTED) if name in by_name else math.nan for by_name in of_seed]),
            np.stack([
                _floats(by_name[name].quality(Arm.PROTECTED)) if name in by_name else np.full(count, math.nan)
                for by_name in of_seed
            ]),
        )
        for name in sorted(names, key=names.__getitem__)
    ]  # fmt: skip


def _clean_items(seeds: Sequence[Sequence[Record]], size: int | None) -> _Items:
    """The qualities of a clean size, [seed, item]: of the response that the granted items choose in each seed.

    Args:
        seeds: [seed] the records of each, a response a record.
        size: clean items published; None for all.
    """
    rows = []
    for records in seeds:
        best = max(sorted(records, key=_order), key=lambda record: _least(_granted(record, _clean_role(record, size))))
        values = best.quality(_whole(best)) if size is None else best.curve_quality(size)
        rows.append(_floats(values))
    return np.stack(rows)


def _clean_role(record: Record, size: int | None) -> str:
    """The role of a clean size under a record's adaptation."""
    return str(_whole(record)) if size is None else curve_role(size)


def _whole(record: Record) -> Arm:
    """The arm of all clean items under a record's adaptation."""
    return Arm.CLEAN_ADAPTED if record.trial.adaptation else Arm.CLEAN


def _order(record: Record) -> tuple[str, bool, str]:
    """Place a response among equally good ones: no adaptation first."""
    trial = record.trial
    return trial.attacker.label, trial.adaptation is not None, trial.adaptation_label


def _response(record: Record) -> str:
    return response_name(record.trial.attacker.label, record.trial.adaptation_label)


def _granted(record: Record, role: str) -> float:
    """The mean quality of an arm on the granted items; NaN where it has none."""
    return mean(record.granted.get(str(role), {}).get(record.metric, []))


def _least(value: float) -> float:
    """A missing quality is worse than any."""
    return -math.inf if math.isnan(value) else value


def _floats(values: Sequence[Number]) -> _Items:
    return np.array([_plain(value) for value in values])


def _plain(value: Number) -> float:
    return math.nan if value is None else value
