"""Errors of means that are crossed over seeds and items: closed forms, and how often intervals hold the truth."""

import math

import numpy as np
import pytest
from scipy import stats

from bench.results.crossed import CrossedMean, crossed_mean


def test_with_one_item_effect_it_is_the_t_interval_over_items() -> None:
    items = np.random.default_rng(0).normal(size=40)
    estimate = crossed_mean(np.tile(items, (3, 1)))
    assert estimate.error == pytest.approx(items.std(ddof=1) / math.sqrt(40))
    assert estimate.freedom == pytest.approx(39)
    expected = stats.ttest_1samp(items, 0.0)
    assert estimate.t == pytest.approx(expected.statistic)
    assert estimate.p == pytest.approx(expected.pvalue)


def test_with_one_seed_effect_it_is_the_t_interval_over_seeds() -> None:
    seeds = np.array([0.2, 0.5, 0.3, 0.4])
    estimate = crossed_mean(np.tile(seeds[:, None], (1, 25)))
    assert estimate.error == pytest.approx(seeds.std(ddof=1) / 2)
    assert estimate.freedom == pytest.approx(3)
    low, high = stats.t.interval(0.95, 3, seeds.mean(), seeds.std(ddof=1) / 2)
    assert estimate.interval().low == pytest.approx(low)
    assert estimate.interval().high == pytest.approx(high)


def test_items_of_a_group_count_once_from_ten_groups_on() -> None:
    rng = np.random.default_rng(1)
    effects = rng.normal(size=12)
    values = np.tile(np.repeat(effects, 5), (3, 1))
    names = [str(index // 5) for index in range(60)]
    assert crossed_mean(values, names).error == pytest.approx(effects.std(ddof=1) / math.sqrt(12))
    few = crossed_mean(values[:, :45], names[:45])  # nine groups: items are taken as independent
    assert few.error == pytest.approx(values[0, :45].std(ddof=1) / math.sqrt(45))


def test_one_seed_or_one_item_has_no_error() -> None:
    for values in (np.ones((1, 5)), np.ones((3, 1))):
        estimate = crossed_mean(values)
        assert estimate.mean == 1.0
        assert math.isnan(estimate.error)
        assert math.isnan(estimate.t)
        assert math.isnan(estimate.p)
        assert math.isnan(estimate.interval().low)
    assert math.isnan(crossed_mean(np.ones((3, 0))).mean)


def test_no_spread_at_all_is_a_certain_difference() -> None:
    assert crossed_mean(np.full((3, 20), 0.5)).t == math.inf
    assert crossed_mean(np.full((3, 20), 0.5)).p == 0.0
    assert crossed_mean(np.zeros((3, 20))).p == 1.0
    assert CrossedMean(-0.5, 0.0, 3.0).t == -math.inf


@pytest.mark.parametrize("spreads", [(1.0, 0.0, 0.1), (0.3, 0.2, 1.0), (0.1, 1.0, 0.3), (0.03, 0.2, 0.4)])
@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_hold_the_truth_in_95_percent_of_samples(seeds: int, spreads: tuple[float, float, float]) -> None:
    """Four standard deviations of 1,500 draws are .023; Satterthwaite's approximation itself is off by up to .03."""
    over_seeds, over_items, rest = spreads
    rng = np.random.default_rng(7)
    shape = (seeds, 29)
    covered = 0
    for _ in range(1500):
        values = (
            over_seeds * rng.normal(size=(seeds, 1))
            + over_items * rng.normal(size=(1, 29))
            + rest * rng.normal(size=shape)
        )
        interval = crossed_mean(values).interval()
        covered += interval.low <= 0.0 <= interval.high
    assert 0.90 < covered / 1500 < 0.99


def test_the_seeds_component_is_kept_where_it_is_asked_for() -> None:
    """With it the error is never below that over seeds alone; without it, the residual's takes its place at times."""
    rng = np.random.default_rng(3)
    dropped = 0
    for _ in range(50):
        values = rng.normal(size=(5, 40))
        over_seeds = float(values.mean(1).std(ddof=1)) / math.sqrt(5)
        kept = crossed_mean(values, keep_seeds=True)
        assert kept.error >= over_seeds * (1 - 1e-9)
        if kept.error <= over_seeds * (1 + 1e-9):
            assert kept.freedom == pytest.approx(4)
        dropped += crossed_mean(values).freedom > 100
    assert dropped > 5
