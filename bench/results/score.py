"""Score 1 of a cell and the validity check that every attacker must pass: pure functions of per-item qualities.

Score 2, which ranks where records hold a clean curve, is in `bench.results.worth`.

Quality is higher for better (accuracy, minus NLL, minus a distance to real music) and is always measured on clean
held-out data. Nothing here is stored in a record: scores are computed from the records when they are read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.results.statistics import FEWEST_GROUPS, LEVEL, Interval, clustered_mean, t_interval, t_quantile
from bench.vocabulary import ValidityCheck

__all__ = [
    "SCORE_VERSION",
    "SCORE_VERSIONS",
    "CellEstimate",
    "ValidityCheck",
    "cell_estimate",
    "denied_by_item",
    "items_denied",
    "learning_denied",
    "learns_check",
]

SCORE_VERSION = 2
SCORE_VERSIONS = {
    1: "learning denied: (clean - protected) / (clean - untrained), the mean over seeds",
    2: "worth: clean items that teach as much as the protected ones, of n; needs a clean curve",
}
_LARGEST_RATIO = 1e6  # what the check reports where no item differs from another, since a record holds no infinity
_ROUNDING = 1e-9  # a standard error below this share of the mean is rounding, not spread

_Items = NDArray[np.float64]  # [item]


@dataclass(frozen=True)
class CellEstimate:
    """The score of one cell over its seeds.

    Attributes:
        interval: learning denied, mean over seeds, with its interval.
        by_seed: learning denied of each seed, in the order given; NaN where the arms define none.
        missing: the number of (seed, item) pairs for which an arm has no number.
        group_error: the standard error over groups of items; NaN where there is none.
        groups: how many groups there are.
    """

    interval: Interval
    by_seed: tuple[float, ...]
    missing: int
    group_error: float = math.nan
    groups: int = 0


def learning_denied(clean: float, protected: float, untrained: float) -> float:
    """Compute (q_clean - q_protected) / (q_clean - q_untrained).

    0: protection did nothing; 1: the attacker learned no more than a model that never saw the data. It may leave
    [0, 1].

    Args:
        clean: mean quality after training on the clean set.
        protected: mean quality after training on the protected set.
        untrained: mean quality without training on either.

    Returns:
        The ratio; NaN where the clean arm is exactly as good as the untrained one.

    >>> learning_denied(clean=0.9, protected=0.5, untrained=0.1)
    0.5
    """
    gain = clean - untrained
    return (clean - protected) / gain if gain else math.nan


def items_denied(clean: Sequence[float], protected: Sequence[float], untrained: Sequence[float]) -> float:
    """Compute learning denied of one seed from per-item qualities, where items may be missing (NaN).

    A missing item never improves a defense. The result is the smaller of two values: with the incomplete items left
    out, and with them counted in the attacker's favour (see `_filled`).

    Args:
        clean: [item] qualities of the clean arm; likewise `protected` and `untrained`.

    Returns:
        Learning denied; NaN where no item allows a number.
    """
    c, p, u = _arms(clean, protected, untrained)
    if not np.isnan(c + p + u).any():
        return learning_denied(float(c.mean()), float(p.mean()), float(u.mean())) if len(c) else math.nan
    candidates = [_ratio(*_complete(c, p, u)), _ratio(*_filled(c, p, u))]
    return min((value for value in candidates if not math.isnan(value)), default=math.nan)


def denied_by_item(clean: Sequence[float], protected: Sequence[float], untrained: Sequence[float]) -> _Items:
    """Return what every item contributes to learning denied of one seed: the ratio of means, linearised at its value.

    Missing values are counted in the attacker's favour, as in `items_denied`; an item that neither trained arm has
    contributes the mean.

    Args:
        clean: [item] qualities of the clean arm; likewise `protected` and `untrained`.

    Returns:
        [item], whose mean is `items_denied`; NaN where that is.
    """
    denied = items_denied(clean, protected, untrained)
    arms = _arms(clean, protected, untrained)
    c, p, u = _filled(*arms)
    contributions = np.full(len(arms[0]), denied)
    if len(c) and (gain := float((c - u).mean())):
        ratio = float((c - p).mean()) / gain
        contributions[~(np.isnan(arms[0]) & np.isnan(arms[1]))] += ((c - p) - ratio * (c - u)) / gain
    return contributions


def cell_estimate(
    clean: Sequence[Sequence[float]],
    protected: Sequence[Sequence[float]],
    untrained: Sequence[Sequence[float]],
    groups: Sequence[str],
    level: float = LEVEL,
) -> CellEstimate:
    """Estimate learning denied of a cell: the interval over seeds, or over groups of items where that one is wider.

    The interval over groups is that of the ratio of the means over seeds, linearised, with the items of a group taken
    as dependent; it is used from `FEWEST_GROUPS` groups on.

    Args:
        clean: [seed][item] qualities, paired by seed with `protected` and `untrained`; NaN marks a missing item.
        groups: [item] song or speaker of each item.
        level: coverage of the interval.

    Returns:
        The estimate; its interval has NaN bounds where there is one seed and too few groups.
    """
    seeds = [_arms(*arms) for arms in zip(clean, protected, untrained, strict=True)]
    by_seed = tuple(items_denied(c.tolist(), p.tolist(), u.tolist()) for c, p, u in seeds)
    missing = sum(int(np.isnan(c + p + u).sum()) for c, p, u in seeds)
    over_seeds = t_interval([value for value in by_seed if not math.isnan(value)], level)
    count = len(set(groups))
    error = _error_over_groups(seeds, groups)
    over_groups = t_quantile(count - 1, level) * error if count > 1 else math.nan
    wider = not math.isnan(over_groups) and not 2 * over_groups <= over_seeds.width
    mean = over_seeds.mean
    interval = Interval(mean, mean - over_groups, mean + over_groups) if wider else over_seeds
    return CellEstimate(interval, by_seed, missing, error, count)


def learns_check(clean: Sequence[float], untrained: Sequence[float], groups: Sequence[str]) -> ValidityCheck:
    """Check that the clean arm beats the untrained one by more than three standard errors of their paired difference.

    Without it "the attacker learned nothing" says nothing about the protection. One group has no standard error, so
    the check fails. Where all groups gain alike, the standard error of independent items takes the place of the
    clustered one; a gain that is the same for every item passes from `FEWEST_GROUPS` groups on.

    Args:
        clean: [item] qualities of the clean arm; `untrained` likewise.
        groups: [item] song or speaker of each item.

    Returns:
        The check; its value is the gain in standard errors clustered by group.
    """
    difference = np.asarray(clean, dtype=np.float64) - np.asarray(untrained, dtype=np.float64)
    mean, error, count = clustered_mean(difference.tolist(), groups) if len(difference) else (math.nan, math.nan, 0)
    if error <= _ROUNDING * abs(mean):
        error = float(difference.std(ddof=1)) / math.sqrt(len(difference))
        error = 0.0 if error <= _ROUNDING * abs(mean) else error
    if math.isnan(error) or (error == 0.0 and count < FEWEST_GROUPS):
        ratio = math.nan
    elif error == 0.0:
        ratio = math.copysign(_LARGEST_RATIO, mean) if mean else 0.0
    else:
        ratio = max(-_LARGEST_RATIO, min(_LARGEST_RATIO, mean / error))
    unknown = f"; no standard error over {count} group{'' if count == 1 else 's'}" if math.isnan(ratio) else ""
    return ValidityCheck(
        name="learns clean data",
        passed=ratio > 3.0,
        value=ratio,
        limit=3.0,
        meaning=f"the clean arm's gain over the untrained one, in standard errors clustered by group{unknown}",
    )


def _arms(*arms: Sequence[float]) -> tuple[_Items, _Items, _Items]:
    """Return the qualities of the three scored arms as arrays."""
    c, p, u = (np.asarray(arm, dtype=np.float64) for arm in arms)
    return c, p, u


def _complete(c: _Items, p: _Items, u: _Items) -> tuple[_Items, _Items, _Items]:
    """Return the items for which all three arms have a number."""
    present = ~np.isnan(c + p + u)
    return c[present], p[present], u[present]


def _filled(c: _Items, p: _Items, u: _Items) -> tuple[_Items, _Items, _Items]:
    """Every item that one of the trained arms has, with what is missing counted in the attacker's favour.

    A missing protected or clean quality becomes the other one (nothing denied on that item); a missing untrained one
    becomes the least known one (the largest gain).
    """
    present = ~(np.isnan(c) & np.isnan(p))
    clean, protected = np.where(np.isnan(c), p, c)[present], np.where(np.isnan(p), c, p)[present]
    lowest = float(np.nanmin(u)) if not np.isnan(u).all() else math.nan
    return clean, protected, np.where(np.isnan(u), lowest, u)[present]


def _ratio(c: _Items, p: _Items, u: _Items) -> float:
    """Return learning denied of the arms' means; NaN without items."""
    return learning_denied(float(c.mean()), float(p.mean()), float(u.mean())) if len(c) else math.nan


def _error_over_groups(seeds: Sequence[tuple[_Items, _Items, _Items]], groups: Sequence[str]) -> float:
    """Return the standard error of the score over groups of items; NaN where there is none."""
    if not seeds or not groups:
        return math.nan
    filled_arms = [_filled(*arms) for arms in seeds]
    if any(len(c) != len(groups) or np.isnan(c + p + u).any() for c, p, u in filled_arms):
        return math.nan  # an item that no trained arm has cannot be placed in its group
    c, p, u = (np.stack([arms[at] for arms in filled_arms]) for at in range(3))
    gain, count = float((c - u).mean()), len(set(groups))
    if count < FEWEST_GROUPS or not gain:
        return math.nan
    ratio = float((c - p).mean()) / gain
    residuals = ((c - p) - ratio * (c - u)).mean(0) / gain
    _, error, _ = clustered_mean(residuals.tolist(), groups)
    return error
