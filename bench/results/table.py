"""Records -> rows -> tables.

A row is a defense on a data set. Its number is learning denied under the best response: the attacker and the adaptation
under which it denies least. Cells whose validity check failed are void: shown, never ranked. Rows are ranked only
inside the audibility budget, and rows whose difference is not significant share their ranks.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench.results.arms import ARMS, AUDIT, PROTECTED_SET, SCORED, Arm
from bench.results.formats import number
from bench.results.measures import CEILINGS
from bench.results.names import response_name
from bench.results.record import CheckRecord, Number, Record
from bench.results.score import SCORE_VERSION, cell_estimate
from bench.results.statistics import Interval, mean, rank

RowKey = tuple[str, str]  # defense, knowledge
_NONE_WITHOUT_NOISE = ("snr_db", "segmental_snr_db")


@dataclass(frozen=True)
class CellScore:
    """One attacker under one adaptation: all seeds."""

    attacker: str
    adaptation: str
    denied: Interval
    per_seed: Mapping[int, float]
    means: Mapping[str, float]  # arm -> mean quality
    input_change: float  # mean share of the attacker's input that differs from the clean one; NaN without a view
    metric: str
    void: tuple[str, ...]  # the validity checks that failed, for any seed
    failed: int  # records without a result
    group_error: float = math.nan  # the standard error over groups of items; NaN where there is none
    groups: int = 0
    missing: int = 0  # (seed, item) pairs for which an arm has no number; counted in the attacker's favour
    audibility: Mapping[str, float] = field(default_factory=dict)  # of the set that this attacker got: means over clips

    @property
    def response(self) -> str:
        """The attacker, with its adaptation if it has one."""
        return response_name(self.attacker, self.adaptation)


def _least(cells: Iterable[CellScore]) -> CellScore | None:
    """Return the cell that denies least; None where none has a score."""
    scored = [cell for cell in cells if not math.isnan(cell.denied.mean)]
    return min(scored, key=lambda cell: cell.denied.mean, default=None)


@dataclass(frozen=True)
class Row:
    """A defense on a data set, under what the defender knows."""

    dataset: str
    defense: str
    knowledge: str
    control: bool
    cells: tuple[CellScore, ...]
    audibility: Mapping[str, float]  # of the set at the best response: means over clips and seeds
    distance: Mapping[str, float]  # of the protected set from the data
    seconds: float  # CPU seconds of protection, mean over seeds
    scope: str = ""  # what one perturbation is made for: clip, class, set
    share: float | str = 1.0  # of the training clips that is protected, or the class that alone is
    inside: bool = True  # the audibility budget: every protected set, where each attacker got its own
    by_worth: bool = False  # its records hold a clean curve, so score 2 ranks it and not learning denied
    rank: tuple[int, int] | None = None
    better_than: frozenset[RowKey] = frozenset()  # the rows of its ranking group that it significantly beats
    untested_against: frozenset[RowKey] = frozenset()  # those with which it shares fewer than two seeds

    @property
    def key(self) -> RowKey:
        """The row's name among the rows of its data set: defense and knowledge."""
        return self.defense, self.knowledge

    @property
    def ranking_group(self) -> tuple[str, ...]:
        """Rows are ranked among those of one data set, one share of it and one kind of noise, by one score."""
        return self.dataset, str(self.share), self.scope, *(["worth"] if self.by_worth else [])

    @property
    def best(self) -> CellScore | None:
        """The best response: the cell that denies least, void and failed cells left out."""
        return _least(cell for cell in self.cells if not cell.void)

    @property
    def shown(self) -> CellScore | None:
        """The best response; without one a void cell, which is never ranked. None where every trial failed."""
        return self.best or _least(self.cells) or next((cell for cell in self.cells if cell.means), None)

    @property
    def score(self) -> float:
        """Learning denied at the best response, for sorting; minus infinity where there is no number."""
        return self.shown.denied.mean if self.shown and not math.isnan(self.shown.denied.mean) else -math.inf


def rows(records: Iterable[Record], budget: Mapping[str, float] | None = None, score: int = SCORE_VERSION) -> list[Row]:
    """Compute the rows of a table.

    Args:
        records: The records of a suite.
        budget: Audibility measure -> limit; rows outside it are not ranked.
        score: Version of the score; from 2 on, rows with a clean curve are ranked by worth, see `worths`, not here.

    Returns:
        Ranked rows first, then those outside the budget, then controls.
    """
    bins: dict[tuple[str, str, str, bool], list[Record]] = defaultdict(list)
    for record in records:
        trial = record.trial
        bins[trial.dataset.label, trial.row, trial.knowledge, score > 1 and bool(trial.threat)].append(record)
    table_rows = [_row(key, group, budget or {}) for key, group in bins.items()]
    ranked_rows = [
        row
        for ranking_group in dict.fromkeys(row.ranking_group for row in table_rows)
        for row in _ranked(table_rows, ranking_group)
    ]
    return sorted(ranked_rows, key=_order)


# Meanings in older records that proved wrong: scrambled clips teach two thirds of what clean ones do.
_CORRECTED = {
    "The gain on codes shuffled in time is a small share: what is learned is music, not timbre.": (
        "The gain on test codes shuffled in time is a small share: order in time is used."
    )
}


@dataclass(frozen=True)
class CheckSummary:
    """A validity check over all seeds of an attacker: the worst one. Numbers are NaN where there is none."""

    name: str  # with the attacker's
    value: float
    limit: float
    passed: bool
    meaning: str


def check_summaries(records: Iterable[Record]) -> list[CheckSummary]:
    """Return the validity checks of every attacker, each at its worst seed."""
    checks: dict[str, list[CheckRecord]] = defaultdict(list)
    for record in records:
        for check in record.checks:
            checks[f"{record.trial.attacker.label}: {check.name}"].append(check)
    return [_worst(name, group) for name, group in checks.items()]


def void_reasons(rows: Iterable[Row], records: Iterable[Record]) -> list[str]:
    """Say why rows have no score although their trials ended well.

    Args:
        rows: The rows of a table.
        records: The records that they come from.

    Returns:
        One line a row that is void.
    """
    void = {
        (row.dataset, *row.key): row for row in rows if row.best is None and row.shown is not None and not row.by_worth
    }
    failures: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for record in records:
        trial = record.trial
        for check in record.void:
            value = number(_plain(check.value), ".3f")
            against = f"{trial.attacker.label}, seed {trial.seed}"
            failures[trial.dataset.label, trial.row, trial.knowledge].append(
                f"'{check.name}' failed for {against} ({value}; the limit is {number(_plain(check.limit), '.3f')})"
            )
    lines = []
    for key, row in void.items():
        reasons = failures.get(key) or ["the clean arm is exactly as good as the untrained one"]
        suffix = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
        lines.append(f"void: {row.defense} on {row.dataset} has no score: {reasons[0]}{suffix}")
    return lines


def _worst(name: str, checks: Sequence[CheckRecord]) -> CheckSummary:
    """Return the seed furthest on the failing side: failed before passed, one without a value first."""
    passed = all(check.passed for check in checks)

    def distance(check: CheckRecord) -> float:
        return math.inf if check.value is None or check.limit is None else abs(check.value - check.limit)

    worst = min(checks, key=distance) if passed else max((c for c in checks if not c.passed), key=distance)
    return CheckSummary(
        name, _plain(worst.value), _plain(worst.limit), passed, _CORRECTED.get(worst.meaning, worst.meaning)
    )


def _row(key: tuple[str, str, str, bool], records: list[Record], budget: Mapping[str, float]) -> Row:
    """Compute a row from its records."""
    cells: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        cells[record.trial.attacker.label, record.trial.adaptation_label].append(record)
    good = [record for record in records if record.status == "ok"]
    distances = [record.distance.get(PROTECTED_SET, {}) for record in good]
    cpu_seconds = [
        record.cost[PROTECTED_SET]["cpu_seconds"]
        for record in good
        # Without an audit stage, auditing was part of protecting and its cost part of this one.
        if PROTECTED_SET in record.cost and AUDIT in record.stages
    ]
    row = Row(
        dataset=key[0],
        defense=key[1],
        knowledge=key[2],
        control=bool(records[0].trial.control),
        cells=tuple(_scored(name, group) for name, group in cells.items()),
        audibility={},
        distance={name: mean(row.get(name) for row in distances) for name in (distances[0] if distances else {})},
        scope=records[0].trial.scope,
        share=records[0].trial.share,
        seconds=mean(cpu_seconds),
        by_worth=key[3],
    )
    # A defense may make a set for each attacker: none stands for another, and each must keep the budget.
    sets = [cell.audibility for cell in row.cells if cell.audibility] or [{}]
    inside = all(_keeps(name, each.get(name, math.nan), limit) for each in sets for name, limit in budget.items())
    return replace(row, audibility=row.shown.audibility if row.shown else {}, inside=inside)


def _keeps(name: str, value: float, limit: float) -> bool:
    """Return whether a value keeps its limit: a set without noise, so without SNR, does; a missing value does not."""
    if name in CEILINGS:
        return value <= limit
    return value >= limit or (math.isnan(value) and name in _NONE_WITHOUT_NOISE)


def _scored(name: tuple[str, str], records: list[Record]) -> CellScore:
    """Compute a cell from its records."""
    good = sorted((record for record in records if record.status == "ok"), key=lambda record: record.trial.seed)
    void = tuple(dict.fromkeys(check.name for record in good for check in record.void))
    arms = {arm: [_floats(record.quality(arm)) for record in good] for arm in SCORED}
    groups = [good[0].groups[at] for at in good[0].scored] if good else []
    estimate = cell_estimate(arms[Arm.CLEAN], arms[Arm.PROTECTED], arms[Arm.UNTRAINED], groups)
    means = {
        str(arm): _mean(record.quality(arm) for record in good if arm in record.arms)
        for arm in ARMS
        if any(arm in record.arms for record in good)
    }
    return CellScore(
        attacker=name[0],
        adaptation=name[1],
        denied=estimate.interval,
        per_seed={record.trial.seed: value for record, value in zip(good, estimate.by_seed, strict=True)},
        means=means,
        input_change=_mean(record.input_change for record in good),
        metric=good[0].metric if good else "",
        void=void,
        failed=len(records) - len(good),
        missing=estimate.missing,
        group_error=estimate.group_error,
        groups=estimate.groups,
        audibility={name: _mean(record.audibility[name] for record in good) for name in _measures(good)},
    )


def _ranked(rows: list[Row], ranking_group: tuple[str, ...]) -> list[Row]:
    """Return the rows of one ranking group, with ranks for those that may be ranked."""
    group = [row for row in rows if row.ranking_group == ranking_group]
    rankable = [row for row in group if row.best and row.inside and not row.control and not row.by_worth]
    ranking = rank([row.best.per_seed for row in rankable if row.best])
    ranked_rows = {}
    for at, row in enumerate(rankable):
        better = frozenset(rankable[worse].key for first, worse in ranking.different if first == at)
        pairs = [pair for pair in ranking.untested if at in pair]
        untested_keys = frozenset(rankable[other].key for pair in pairs for other in pair if other != at)
        ranked_rows[id(row)] = replace(row, rank=ranking.ranges[at], better_than=better, untested_against=untested_keys)
    return [ranked_rows.get(id(row), row) for row in group]


def _order(row: Row) -> tuple[bool, str, bool, bool, str, bool, float]:
    """Return a row's sort key."""
    return not row.by_worth, row.dataset, row.control, row.share != 1, row.scope, row.rank is None, -row.score


def _measures(records: list[Record]) -> list[str]:
    """Return the names of the audibility measures."""
    return list(records[0].audibility) if records else []


def _mean(columns: Iterable[Sequence[Number]]) -> float:
    """Return the mean over all values of all records."""
    return mean(value for column in columns for value in column)


def _floats(values: Sequence[Number]) -> list[float]:
    """Return numbers with NaN in place of null."""
    return [_plain(value) for value in values]


def _plain(value: Number) -> float:
    """Return a number, or NaN for null."""
    return math.nan if value is None else value
