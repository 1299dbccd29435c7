"""Score 2: how many clean items a protected set is worth to an attacker. Pure functions of per-item qualities.

    worth = the N at which an attacker with N clean published items is as good as one with the n protected ones

Both attackers hold the same granted clean items. Beside the worth stands learning denied, the share that protection
takes of what publishing adds: (q(n) - q_protected) / (q(n) - q(0)), where q(0) is reached with nothing published.
The attacker's response (model and adaptation) is picked by its granted items in every seed, so the test items are read
once, for the pick, and no minimum over test results is reported.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.results.crossed import CrossedMean, crossed_errors, crossed_mean, group_deviations
from bench.results.curve import CleanCurve
from bench.results.statistics import LEVEL, Interval, clustered_mean, t_quantile, t_quantiles
from bench.vocabulary import ValidityCheck

__all__ = [
    "Pick",
    "Response",
    "Worth",
    "fill_missing",
    "pick",
    "rising_size",
    "share_of_added",
    "worth",
    "worth_checks",
]

STANDARD_ERRORS = 3.0  # by how many a difference must exceed 0 for the validity checks
_WIDEST = 10.0  # the bounds of a share of what is added
_HALVINGS = 40  # of the range in which a bound is searched
_POINTS = 200  # sizes tried between two sizes of the curve when the interval is computed


@dataclass(frozen=True, eq=False)
class Response:
    """What an attacker reaches by one model under one adaptation.

    Attributes:
        name: the attacker and the adaptation, as tables print them.
        granted: [seed] mean quality on the granted items that were kept for choosing; NaN where the training failed.
        test: [seed, item] qualities on the test items; NaN marks a missing item.
    """

    name: str
    granted: NDArray[np.float64]
    test: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pick:
    """The responses that the granted items choose, seed by seed.

    Attributes:
        names: [seed] the response chosen.
        test: [seed, item] its qualities on the test items.
    """

    names: tuple[str, ...]
    test: NDArray[np.float64]

    @property
    def name(self) -> str:
        """The response chosen most often; of equals the first chosen."""
        return Counter(self.names).most_common(1)[0][0]


@dataclass(frozen=True)
class Worth:
    """What a protected set is worth, over all seeds.

    Attributes:
        items: clean items that teach as much, within 0..n; NaN bounds with one seed.
        published: n, the size of the protected set.
        denied: learning denied, of what publishing n clean items adds.
        protected: the attacker's mean quality, trained on the protected set.
        clean: q(n), its mean quality trained on n clean items.
        withheld: q(0), its mean quality with nothing published.
        missing: (seed, item) pairs without a quality, counted in the attacker's favour.
        checks: the validity checks; a cell with a failed one is void.
    """

    items: Interval
    published: int
    denied: Interval
    protected: float
    clean: float
    withheld: float
    missing: int
    checks: tuple[ValidityCheck, ...]

    @property
    def share(self) -> float:
        """The worth as a share of the published items, by which rows are ranked; lower protects better."""
        return self.items.mean / self.published

    @property
    def void(self) -> tuple[ValidityCheck, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.passed)


def pick(responses: Sequence[Response]) -> Pick:
    """Choose, for every seed, the response that is best on the granted items.

    Args:
        responses: at least one; where two are equally good, the earlier is chosen.

    Returns:
        The choice of each seed and its qualities on the test items.

    Raises:
        ValueError: where a seed has no response with a quality on the granted items.
    """
    granted = np.stack([response.granted for response in responses])  # [response, seed]
    without = np.flatnonzero(np.isnan(granted).all(0))
    if len(without):
        raise ValueError(f"seed number {without[0]} has no response with a quality on the granted items")
    chosen = np.nanargmax(granted, 0)
    test = np.stack([responses[index].test[seed] for seed, index in enumerate(chosen)])
    return Pick(tuple(responses[index].name for index in chosen), test)


def worth(
    curve: CleanCurve,
    protected: NDArray[np.float64],
    groups: Sequence[str] = (),
    missing: int = 0,
    level: float = LEVEL,
) -> Worth:
    """Compute what a protected set is worth.

    The interval holds every N at which the difference between the protected set and the clean curve, paired by seed and
    item, lies within Student's t of 0: the error of the curve and of the protected arm are both in it.

    Args:
        curve: the clean curve, of the same seeds and items.
        protected: [seed, item] qualities, no NaN (see `fill_missing`).
        groups: [item] song or speaker of each test item.
        missing: how many qualities were filled in.
        level: coverage of the intervals.

    Returns:
        The worth, with its validity checks.

    Raises:
        ValueError: where the arms are of other seeds or items than the curve.
    """
    if protected.shape != curve.qualities.shape[1:]:
        raise ValueError(
            f"protected has shape {protected.shape}, expected {curve.qualities.shape[1:]} as the clean curve"
        )
    clean, withheld = curve.at([curve.published])[0], curve.at([0])[0]
    mean = float(protected.mean())
    return Worth(
        items=_items(curve, protected, groups, level),
        published=curve.published,
        denied=_denied(clean, protected, withheld, groups, level),
        protected=mean,
        clean=float(clean.mean()),
        withheld=float(withheld.mean()),
        missing=missing,
        checks=worth_checks(curve, groups),
    )


def worth_checks(curve: CleanCurve, groups: Sequence[str] = ()) -> tuple[ValidityCheck, ...]:
    """Check that publishing clean items adds something, and that the curve still rises at n.

    Where 240 items teach nearly as much as 2,400, a worth of 10 % says nothing about protection.

    Args:
        curve: the clean curve.
        groups: [item] song or speaker of each test item.
    """
    published = curve.published
    added, rise = _rise(curve, 0, published, groups), _rise(curve, published / 2, published, groups)
    fitting = rising_size(curve, groups)
    advice = f"; it rises up to {fitting}" if fitting else ""
    return (
        ValidityCheck(
            name="publishing adds",
            passed=added > STANDARD_ERRORS,
            value=added,
            limit=STANDARD_ERRORS,
            meaning=f"what {published} clean items add to the granted ones, in standard errors",
        ),
        ValidityCheck(
            name="not saturated",
            passed=rise > STANDARD_ERRORS,
            value=rise,
            limit=STANDARD_ERRORS,
            meaning=f"what {published} clean items add to {published / 2:g}, in standard errors{advice}",
        ),
    )


def rising_size(curve: CleanCurve, groups: Sequence[str] = ()) -> int:
    """Return the largest size at which the clean curve still rises by more than three standard errors from half of it.

    Returns:
        A size of the curve; 0 where there is none.
    """
    rising = [size for size in curve.sizes[1:] if _rise(curve, size / 2, size, groups) > STANDARD_ERRORS]
    return max(rising, default=0)


def fill_missing(
    qualities: Mapping[int, ArrayLike], protected: ArrayLike
) -> tuple[Mapping[int, NDArray[np.float64]], NDArray[np.float64], int]:
    """Fill in qualities that are missing, in the attacker's favour, so that they never improve a defense.

    A missing protected quality becomes the best that any clean size reaches on that item in that seed; a missing clean
    quality becomes the least.

    Args:
        qualities: size -> [seed, item] qualities of the clean curve.
        protected: [seed, item].

    Returns:
        The filled curve, the filled protected qualities, and how many were missing.

    Raises:
        ValueError: where no arm has a quality of an item.
    """
    curve = np.stack([np.asarray(values, dtype=np.float64) for values in qualities.values()])
    arm = np.asarray(protected, dtype=np.float64)
    together = np.concatenate([curve, arm[None]])
    gaps = np.isnan(together)
    if gaps.all(0).any():
        seed, item = np.argwhere(gaps.all(0))[0]
        raise ValueError(f"item {item} has no quality in any arm of seed number {seed}")
    best = np.nanmax(np.concatenate([np.where(np.isnan(curve), -np.inf, curve), arm[None]]), 0)
    least = np.nanmin(together, 0)
    filled = {size: np.where(np.isnan(values), least, values) for size, values in zip(qualities, curve, strict=True)}
    return filled, np.where(np.isnan(arm), best, arm), int(gaps.sum())


def _items(curve: CleanCurve, protected: NDArray[np.float64], groups: Sequence[str], level: float) -> Interval:
    """The worth with its interval: the sizes whose quality does not differ significantly from the protected set's."""
    estimate, published = curve.inverse(float(protected.mean())), float(curve.published)
    knots = curve.position(curve.sizes)
    steps = [np.linspace(*ends, _POINTS, endpoint=False) for ends in pairwise(knots)]
    sizes = np.append(np.clip(curve.items(np.concatenate(steps)), 0.0, published), published)
    # Differences are linear between the sizes of the curve, so they are summed by group at those alone.
    difference = protected[None] - curve.at(curve.sizes)
    mean = curve.interpolate(difference.mean((1, 2)), sizes)
    error, freedom = crossed_errors(curve.interpolate(group_deviations(difference, groups), sizes))
    if np.isnan(error).any():
        return Interval(estimate, math.nan, math.nan)
    half = t_quantiles(freedom, level) * error
    # The curve rises, so sizes that are too small are significantly worse and those too large significantly better.
    low = sizes[mean - half <= 0.0].min(initial=published)
    high = sizes[mean + half >= 0.0].max(initial=0.0)
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate))


def share_of_added(
    difference: NDArray[np.float64], added: NDArray[np.float64], groups: Sequence[str] = (), level: float = LEVEL
) -> Interval:
    """Express the difference of two arms as a share of what publishing clean items adds.

    The interval holds every share that the data do not reject (Fieller 1954), so it leaves out 0 exactly where the
    difference itself is significant; the linearised one of learning denied is narrower where both vary over few seeds.

    Args:
        difference: [seed, item] of qualities.
        added: [seed, item] what n clean items add.
        groups: [item] song or speaker of each test item.
        level: coverage of the interval.

    Returns:
        The ratio of the means, with bounds within -10..10; NaN where nothing is added, NaN bounds with one seed.
    """

    def is_rejected(share: float) -> bool:
        rest = crossed_mean(difference - share * added, groups)
        return abs(rest.mean) > t_quantile(rest.freedom, level) * rest.error

    mean = float(added.mean())
    if mean == 0.0:
        return Interval(math.nan, math.nan, math.nan)
    ratio = float(difference.mean()) / mean
    if math.isnan(crossed_mean(difference, groups).error):
        return Interval(ratio, math.nan, math.nan)
    bounds = []
    for end in (-_WIDEST, _WIDEST):
        inside, outside = ratio, end
        for _ in range(_HALVINGS if is_rejected(end) else 0):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if is_rejected(middle) else (middle, outside)
        bounds.append(outside)
    return Interval(ratio, *bounds)


def _denied(
    clean: NDArray[np.float64],
    protected: NDArray[np.float64],
    withheld: NDArray[np.float64],
    groups: Sequence[str],
    level: float,
) -> Interval:
    """Learning denied with the interval of the linearised ratio of means."""
    added = float((clean - withheld).mean())
    if added == 0.0:
        return Interval(math.nan, math.nan, math.nan)
    ratio = float((clean - protected).mean()) / added
    residuals = ((clean - protected) - ratio * (clean - withheld)) / added
    half = crossed_mean(residuals, groups).interval(level)
    return Interval(ratio, ratio + half.low, ratio + half.high)


def _rise(curve: CleanCurve, fewer: float, more: float, groups: Sequence[str]) -> float:
    """What the curve rises from one size to another, in standard errors; over items alone where there is one seed."""
    lower, upper = curve.at([fewer, more])
    difference = upper - lower
    if len(difference) > 1:
        return crossed_mean(difference, groups).t
    names = list(groups) or [str(index) for index in range(difference.shape[1])]
    mean, error, count = clustered_mean(difference[0].tolist(), names)
    return CrossedMean(mean, error, float(count - 1)).t
