"""Statistics of scores: intervals over seeds, clusters over groups, corrections over cells. Pure functions.

Student t throughout: over three seeds a percentile bootstrap of nominal 95 % covers 73 %, t covers 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from bench.metrics.learning import clustered_mean, learning_denied

LEVEL = 0.95
FEWEST_GROUPS = 10  # below that a clustered interval is not worth its name


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval; the bounds are NaN where there is no telling."""

    mean: float
    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low


def t_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Mean and Student t interval of independent values, one a seed. NaN bounds for fewer than two."""
    x = np.asarray(values, dtype=np.float64)
    mean = float(x.mean()) if len(x) else math.nan
    if len(x) < 2:
        return Interval(mean, math.nan, math.nan)
    half = _quantile(len(x) - 1, level) * float(x.std(ddof=1)) / math.sqrt(len(x))
    return Interval(mean, mean - half, mean + half)


def denied_interval(
    clean: Sequence[Sequence[float]],
    protected: Sequence[Sequence[float]],
    untrained: Sequence[Sequence[float]],
    groups: Sequence[str],
    level: float = LEVEL,
) -> Interval:
    """Learning denied with its interval: over seeds, or over groups of items if that one is wider.

    clean, protected, untrained: [seed][item] qualities, paired by seed. The interval over groups is that of the ratio
    of the means over seeds, linearised, with items of a group taken as dependent; it is used from ten groups on.
    """
    c, p, u = (np.asarray(arm, dtype=np.float64) for arm in (clean, protected, untrained))
    each = [learning_denied(*map(float, means)) for means in zip(c.mean(1), p.mean(1), u.mean(1), strict=True)]
    over_seeds = t_interval(each, level)
    gained = float((c - u).mean())
    count = len(set(groups))
    if count < FEWEST_GROUPS or not gained:
        return over_seeds
    ratio = float((c - p).mean()) / gained
    residuals = ((c - p) - ratio * (c - u)).mean(0) / gained
    _, error, _ = clustered_mean(residuals.tolist(), groups)
    half = _quantile(count - 1, level) * error
    if math.isnan(over_seeds.width) or 2 * half > over_seeds.width:
        return Interval(over_seeds.mean, over_seeds.mean - half, over_seeds.mean + half)
    return over_seeds


def paired_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p of Student's paired t test over seeds. NaN for fewer than two pairs; 1 for no difference at all."""
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    if len(difference) < 2:
        return math.nan
    mean, spread = float(difference.mean()), float(difference.std(ddof=1))
    if spread == 0.0:
        return 1.0 if mean == 0.0 else 0.0
    t = abs(mean) / (spread / math.sqrt(len(difference)))
    return float(2.0 * stdtr(len(difference) - 1, -t))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the given order. NaN stays NaN and does not count."""
    known = sorted((value, index) for index, value in enumerate(p) if not math.isnan(value))
    adjusted = [math.nan] * len(p)
    largest = 0.0
    for rank, (value, index) in enumerate(known):
        largest = max(largest, min(1.0, value * (len(known) - rank)))
        adjusted[index] = largest
    return adjusted


def rank_ranges(seeds: Sequence[Sequence[float]], alpha: float = 1 - LEVEL) -> list[tuple[int, int]]:
    """For each row the best and the worst rank that it may have: rows whose difference is not shown share theirs.

    seeds: [row][seed], higher is better, paired by seed. Two rows are told apart by a paired t test, Holm over all
    pairs.
    """
    means = [sum(row) / len(row) for row in seeds]
    pairs = [(i, j) for i in range(len(seeds)) for j in range(i)]
    adjusted = holm([paired_p(seeds[i], seeds[j]) for i, j in pairs])
    above, below = [0] * len(seeds), [0] * len(seeds)
    for (i, j), p in zip(pairs, adjusted, strict=True):
        if p < alpha and means[i] != means[j]:
            better, worse = (i, j) if means[i] > means[j] else (j, i)
            above[worse] += 1
            below[better] += 1
    return [(1 + above[i], len(seeds) - below[i]) for i in range(len(seeds))]


def _quantile(freedom: int, level: float) -> float:
    return float(stdtrit(freedom, 0.5 + level / 2))


def smallest_seen(count: int, power: float = 0.8, level: float = LEVEL) -> float:
    """The smallest mean paired difference, in standard deviations of the differences, that a two-sided paired t test
    over `count` seeds finds with this power. NaN for fewer than two seeds.
    """
    from scipy.optimize import brentq
    from scipy.stats import nct

    if count < 2:
        return math.nan
    critical = _quantile(count - 1, level)
    return float(brentq(lambda d: float(nct.sf(critical, count - 1, d * math.sqrt(count))) - power, 0.01, 50.0))
