"""Mean and error of values that are crossed over seeds and items, with items dependent within groups. Pure functions.

A seed draws its own data, noise and initial model; the test items are the same for all seeds. Both are samples, so
both contribute to the error of a mean. The variance is that of a two-way random-effects model (Searle, Casella and
McCulloch, "Variance Components", 1992, chapter 4):

    Var(mean) = (MS_seeds + MS_groups - MS_residual) / (seeds * groups)

with negative components set to zero and the degrees of freedom of Satterthwaite (1946).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.results.statistics import FEWEST_GROUPS, LEVEL, Interval, t_quantile, two_sided_p

__all__ = ["CrossedMean", "crossed_errors", "crossed_mean", "group_deviations"]


@dataclass(frozen=True)
class CrossedMean:
    """A mean over seeds and items with its standard error.

    Attributes:
        mean: the mean over all seeds and items.
        error: its standard error; NaN for fewer than two seeds or fewer than two items.
        freedom: the degrees of freedom of the error, for Student's t; NaN where `error` is.
    """

    mean: float
    error: float
    freedom: float

    def interval(self, level: float = LEVEL) -> Interval:
        """Return the Student t interval of the mean; NaN bounds where there is no error."""
        if math.isnan(self.error):
            return Interval(self.mean, math.nan, math.nan)
        half = t_quantile(self.freedom, level) * self.error
        return Interval(self.mean, self.mean - half, self.mean + half)

    @property
    def t(self) -> float:
        """The mean in standard errors; infinite where the error is 0 and the mean is not, NaN without an error."""
        if math.isnan(self.error):
            return math.nan
        if self.error == 0.0:
            return math.copysign(math.inf, self.mean) if self.mean else 0.0
        return self.mean / self.error

    @property
    def p(self) -> float:
        """Two-sided p of the mean being 0; NaN without an error."""
        return two_sided_p(self.t, self.freedom)


def crossed_mean(values: ArrayLike, groups: Sequence[str] = (), *, keep_seeds: bool = False) -> CrossedMean:
    """Estimate the mean of values crossed over seeds and items.

    Args:
        values: [seed, item], no NaN.
        groups: [item] the song or speaker of each item. From `FEWEST_GROUPS` groups on, the items of a group are taken
            as dependent; with fewer, or without groups, items are taken as independent.
        keep_seeds: As in `crossed_errors`.

    Returns:
        The mean, its standard error and degrees of freedom.
    """
    table = np.asarray(values, dtype=np.float64)
    if not table.size:
        return CrossedMean(math.nan, math.nan, math.nan)
    error, freedom = crossed_errors(group_deviations(table[None], groups), keep_seeds=keep_seeds)
    return CrossedMean(float(table.mean()), float(error[0]), float(freedom[0]))


def group_deviations(values: NDArray[np.float64], groups: Sequence[str] = ()) -> NDArray[np.float64]:
    """Sum what the items of each group deviate from the mean, scaled so that the mean over groups is that over items.

    Args:
        values: [..., seed, item].
        groups: [item], as in `crossed_mean`.

    Returns:
        [..., seed, group], or [..., seed, item] where items are taken as independent. Linear in `values`.
    """
    deviations = values - values.mean((-2, -1), keepdims=True)
    names, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(names) < FEWEST_GROUPS or len(names) == values.shape[-1]:
        return np.asarray(deviations)
    member = np.zeros((values.shape[-1], len(names)))
    member[np.arange(len(index)), index] = len(names) / len(index)
    return np.asarray(deviations @ member)


def crossed_errors(
    deviations: NDArray[np.float64], *, keep_seeds: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the standard errors of means, and their degrees of freedom.

    Args:
        deviations: [point, seed, group] of `group_deviations`.
        keep_seeds: Count the seeds' mean square even where it lies below the residual's, so that the variance is that
            over seeds alone, with its few degrees of freedom, and the items' component. Tests at the small levels of a
            corrected family need it: with five seeds, choosing by what the same data show makes a tail of .005 up to
            .009.

    Returns:
        Two arrays [point]; NaN for fewer than two seeds or two groups.
    """
    points, seeds, count = deviations.shape
    if seeds < 2 or count < 2:
        return np.full(points, math.nan), np.full(points, math.nan)
    over_seeds, over_groups = deviations.mean(2), deviations.mean(1)
    size, freedom = seeds * count, np.array([seeds - 1, count - 1, (seeds - 1) * (count - 1)])
    main = np.stack([count * (over_seeds**2).sum(1), seeds * (over_groups**2).sum(1)])
    squares = np.concatenate([main, (deviations**2).sum((1, 2))[None] - main.sum(0)]) / freedom[:, None] / size
    # A source whose mean square lies below the residual's has no component of its own.
    present = squares[:2] > squares[2]
    present[0] |= keep_seeds
    parts = np.stack([present[0], present[1], 1 - present.sum(0)]).astype(np.float64) * squares
    variance, spread = parts.sum(0), (parts**2 / freedom[:, None]).sum(0)
    degrees = np.divide(variance**2, spread, out=np.full(points, seeds - 1.0), where=spread > 0)
    return np.asarray(np.sqrt(np.maximum(variance, 0.0))), np.asarray(np.maximum(degrees, 1.0))
