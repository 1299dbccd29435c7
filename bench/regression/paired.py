"""The gate's test of paired differences, and what it can see. Pure functions.

scipy.special is imported where it is used: its import takes about 0.2 s (see `bench.results.statistics`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.results.crossed import CrossedMean, crossed_mean

__all__ = ["mean_loss", "one_sided_p", "seeds_that_decide", "smallest_drop"]

_MOST_SEEDS = 1000  # beyond that nobody waits


def mean_loss(losses: NDArray[np.float64], groups: Sequence[str] = ()) -> CrossedMean:
    """Estimate the mean of paired differences with its error over seeds and items.

    Args:
        losses: [seed, item], or [seed, 1] for an error over seeds alone.
        groups: [item] the song or speaker of each item, see `bench.results.crossed`.
    """
    if losses.shape[1] > 1:
        return crossed_mean(losses, groups, keep_seeds=True)
    count = len(losses)
    error = float(losses.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan
    return CrossedMean(float(losses.mean()), error, count - 1.0)


def one_sided_p(mean: CrossedMean) -> tuple[float, float]:
    """Return the p of a mean being above 0 by chance, and of its being below.

    Args:
        mean: With its error.

    Returns:
        Both; NaN without an error, 1 and 1 where mean and error are 0.
    """
    if math.isnan(mean.error):
        return math.nan, math.nan
    if mean.error == 0.0 and mean.mean == 0.0:
        return 1.0, 1.0
    from scipy.special import stdtr

    return float(stdtr(mean.freedom, -mean.t)), float(stdtr(mean.freedom, mean.t))


def seeds_that_decide(mean: float, sd: float, factor: int, alpha: float = 0.05, over_items: float = 0.0) -> int | None:
    """Compute the smallest number of seeds at which a drop like this one would be significant.

    It is the smallest n with mean / sqrt(sd^2 / n + over_items^2) >= t(1 - alpha / factor; n - 1). At that n the chance
    of significance is about one in two, since the drop would be drawn anew; 80 % need about (t + 0.84)^2 / t^2 as many.

    Args:
        mean: Mean of the paired differences.
        sd: Their standard deviation over seeds.
        factor: Holm's factor: the number of hypotheses not yet rejected, two a cell.
        alpha: Family-wise error rate.
        over_items: The part of the standard error that comes from the items, which more seeds leave as it is.

    Returns:
        The number of seeds; None where 1000 would not do.
    """
    if mean <= 0 or not math.isfinite(sd):
        return None
    from scipy.special import stdtrit

    for n in range(2, _MOST_SEEDS + 1):
        error = math.hypot(sd / math.sqrt(n), over_items)
        if error == 0 or mean / error >= float(stdtrit(n - 1, 1 - alpha / factor)):
            return n
    return None


def smallest_drop(error: float, freedom: float, factor: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """Compute the smallest true mean drop that the test detects with a given power, by the noncentral t distribution.

    The gate's tolerance is not part of it: a drop has to exceed that too.

    Args:
        error: Standard error of the mean difference.
        freedom: Its degrees of freedom.
        factor: Holm's factor: the number of hypotheses not yet rejected, two a cell.
        alpha: Family-wise error rate.
        power: Probability of detection.

    Returns:
        The drop; NaN where there is no error, as for one seed.
    """
    if math.isnan(error):
        return math.nan
    from scipy.special import nctdtrinc, stdtrit

    bound = float(stdtrit(freedom, 1 - alpha / factor))
    return float(nctdtrinc(freedom, 1 - power, bound)) * error
