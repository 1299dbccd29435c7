"""What a gate can see: how many seeds would decide, and which drop a number of seeds finds."""

import math

import numpy as np
import pytest
from scipy.stats import t as student

from bench.regression.paired import seeds_that_decide, smallest_drop


def test_the_seeds_that_decide_are_the_fewest_that_are_significant() -> None:
    n = seeds_that_decide(0.1, 0.2, factor=6)
    assert n is not None
    p = {count: 6 * float(student.sf(0.1 * math.sqrt(count) / 0.2, count - 1)) for count in (n - 1, n)}
    assert p[n] <= 0.05 < p[n - 1]
    assert seeds_that_decide(0.1, 0.0, 6) == 2
    assert seeds_that_decide(-0.1, 0.2, 6) is None
    assert seeds_that_decide(1e-6, 1.0, 6) is None
    longer = seeds_that_decide(0.1, 0.2, 6, over_items=0.02)
    assert longer is not None
    assert longer > n  # items add an error that seeds do not lower
    assert seeds_that_decide(0.1, 0.2, 6, over_items=0.05) is None


def test_the_smallest_drop_is_seen_as_often_as_it_says() -> None:
    drop = smallest_drop(0.05 / math.sqrt(5), freedom=4, factor=4)
    draws = np.random.default_rng(1).normal(drop, 0.05, size=(20_000, 5))
    t = draws.mean(1) / (draws.std(1, ddof=1) / math.sqrt(5))
    assert np.mean(4 * student.sf(t, 4) < 0.05) == pytest.approx(0.8, abs=0.01)
    assert math.isnan(smallest_drop(math.nan, freedom=math.nan, factor=4))
