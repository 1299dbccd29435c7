"""Worth in clean items: fixed points, the digits' curve, missing items, the pick, and simulated experiments."""

import math

import numpy as np
import pytest

from bench.results.crossed import crossed_mean
from bench.results.curve import CleanCurve
from bench.results.worth import Response, fill_missing, pick, rising_size, share_of_added, worth, worth_checks
from benchmarks.worth_coverage import World, simulate

SIZES = (0, 75, 150, 300, 600, 1200)
MEANS = (0.2, 0.4, 0.5, 0.6, 0.7, 0.8)
# Accuracy of an MFCC classifier on spoken digits by the number of clean clips, as many steps at each size.
DIGITS = {0: 0.65, 60: 0.803, 120: 0.953, 240: 0.987, 480: 0.993, 960: 1.000, 2400: 0.997}


def arm(quality: float, seeds: int = 3, items: int = 40, spread: float = 0.05, number: int = 0) -> np.ndarray:
    """Return [seed, item] qualities with exactly this mean and some spread over seeds and items."""
    rng = np.random.default_rng(number)
    values = rng.normal(0.0, spread, (seeds, items))
    return np.asarray(quality + values - values.mean())


def clean_curve(seeds: int = 3) -> CleanCurve:
    return CleanCurve(SIZES, np.stack([arm(mean, seeds, number=i) for i, mean in enumerate(MEANS)]), granted=50)


def digits(published: int) -> CleanCurve:
    """Return the digits' curve up to a size: of 300 test clips the easiest are right, in each seed another order."""
    sizes = tuple(size for size in DIGITS if size <= published)
    order = np.stack([np.random.default_rng(seed).permutation(300) for seed in range(3)])
    return CleanCurve(sizes, np.stack([order < round(300 * DIGITS[size]) for size in sizes]).astype(float), granted=50)


def test_the_clean_set_is_worth_itself_and_nothing_published_is_worth_nothing() -> None:
    curve = clean_curve()
    clean = worth(curve, curve.at([1200])[0])
    assert clean.items.mean == 1200.0
    assert clean.items.high == 1200.0
    assert clean.denied.mean == pytest.approx(0.0)
    assert clean.share == 1.0
    withheld = worth(curve, curve.at([0])[0])
    assert withheld.items.mean == 0.0
    assert withheld.items.low == 0.0
    assert withheld.denied.mean == pytest.approx(1.0)
    assert not clean.void
    assert not withheld.void


def test_a_protected_set_is_worth_the_clean_items_that_teach_as_much() -> None:
    result = worth(clean_curve(), arm(0.6, number=99))
    assert result.items.mean == pytest.approx(300, rel=1e-6)
    assert 150 < result.items.low < 300 < result.items.high < 600
    assert result.denied.mean == pytest.approx((0.8 - 0.6) / (0.8 - 0.2))
    assert result.denied.low < result.denied.mean < result.denied.high
    assert result.clean == pytest.approx(0.8)
    assert result.withheld == pytest.approx(0.2)


def test_more_noise_gives_a_wider_interval_and_one_seed_none() -> None:
    narrow, wide = (worth(clean_curve(), arm(0.6, spread=spread, number=99)).items for spread in (0.05, 0.4))
    assert wide.low < narrow.low < narrow.high < wide.high
    single = worth(clean_curve(seeds=1), arm(0.6, seeds=1, number=99))
    assert single.items.mean == pytest.approx(300, rel=1e-6)
    assert math.isnan(single.items.low)
    assert not single.void  # items alone say that the curve rises


def test_a_protected_set_that_teaches_more_than_the_clean_one_is_worth_all_of_it() -> None:
    better = worth(clean_curve(), arm(0.95, number=99))
    assert (better.items.low, better.items.mean, better.items.high) == (1200.0, 1200.0, 1200.0)
    assert better.denied.high < 0


def test_the_digits_are_void_where_their_curve_is_flat_and_valid_where_it_rises() -> None:
    flat = worth(digits(2400), digits(2400).at([240])[0])
    assert [check.name for check in flat.void] == ["not saturated"]
    assert "it rises up to" in flat.void[0].meaning
    assert rising_size(digits(2400)) in (120, 240)
    rising = worth(digits(120), digits(120).at([60])[0])
    assert not rising.void
    assert rising.items.mean == pytest.approx(60)
    assert rising_size(digits(120)) == 120


def test_a_cell_is_void_where_publishing_adds_nothing() -> None:
    flat = CleanCurve((0, 10, 20), np.stack([arm(0.5, number=number) for number in range(3)]), granted=50)
    assert "publishing adds" in [check.name for check in worth_checks(flat) if not check.passed]
    assert rising_size(flat) == 0


def test_arms_of_other_items_are_refused() -> None:
    with pytest.raises(ValueError, match=r"protected has shape \(3, 39\), expected \(3, 40\)"):
        worth(clean_curve(), arm(0.6, items=39))


@pytest.mark.parametrize("gone", ["protected", "clean"])
def test_missing_items_never_lower_the_worth(gone: str) -> None:
    curve, protected = clean_curve(), arm(0.6, number=99)
    whole = worth(curve, protected)
    sizes = dict(zip(SIZES, curve.qualities.copy(), strict=True))
    rng = np.random.default_rng(5)
    holes = protected if gone == "protected" else sizes[1200]
    holes[rng.random(holes.shape) < 0.2] = math.nan
    filled, arm_filled, missing = fill_missing(sizes, protected)
    result = worth(CleanCurve(SIZES, np.stack(list(filled.values())), 50), arm_filled, missing=missing)
    assert result.missing == np.isnan(holes).sum() > 0
    assert result.share >= whole.share
    assert result.denied.mean <= whole.denied.mean


def test_an_item_that_no_arm_has_is_refused() -> None:
    gone = np.full((3, 4), 0.5)
    gone[1, 2] = math.nan
    with pytest.raises(ValueError, match="item 2 has no quality in any arm of seed number 1"):
        fill_missing({0: gone, 10: gone}, gone)


def test_every_seed_picks_by_its_granted_items_and_the_test_items_are_read_for_the_pick_alone() -> None:
    plain = Response("mfcc", np.array([0.5, 0.7, 0.5]), arm(0.3, number=1))
    other = Response("mfcc + mp3", np.array([0.6, 0.6, 0.5]), arm(0.9, number=2))
    failed = Response("m5", np.full(3, math.nan), np.full((3, 40), math.nan))
    chosen = pick([failed, plain, other])
    assert chosen.names == ("mfcc + mp3", "mfcc", "mfcc")  # equally good ones: the earlier
    assert chosen.test[0] == pytest.approx(other.test[0])
    assert chosen.test[1:] == pytest.approx(plain.test[1:])
    assert chosen.name == "mfcc"
    with pytest.raises(ValueError, match="seed number 0 has no response"):
        pick([failed])


@pytest.mark.parametrize("responses", [3, 13, 40])
def test_in_simulated_experiments_intervals_hold_the_truth_and_the_pick_has_no_bias(responses: int) -> None:
    """The full simulation is benchmarks/worth_coverage.py.

    Of 120 draws at 95 % coverage four standard deviations are .08. The mean quality of the pick has a standard error of
    .0016 over 120 draws, so a bias under .01 is told from none.
    """
    world = World(responses, 3, 30, over_models=0.03, over_groups=0.01, gains_differ=0.02, over_items=0.1)
    outcome = simulate(world, draws=120)
    assert outcome.covered > 0.87
    assert abs(outcome.bias) < 0.01
    if responses == 40:
        assert outcome.least_bias > 0.015  # the least over test results, as score 1 reports it: .020, SE .0016


@pytest.mark.parametrize("seed", range(12))
def test_a_share_leaves_out_nothing_exactly_where_the_difference_is_significant(seed: int) -> None:
    rng = np.random.default_rng(seed)
    added = 1.0 + rng.normal(0.0, 0.2, (4, 1)) + rng.normal(0.0, 0.5, (4, 30))
    difference = 0.25 * added + rng.normal(0.0, 0.15, (4, 1)) + rng.normal(0.0, 0.5, (4, 30))
    share = share_of_added(difference, added)
    assert share.low < share.mean < share.high
    assert share.mean == pytest.approx(difference.mean() / added.mean())
    for bound in (share.low, share.high):  # just not rejected
        assert crossed_mean(difference - bound * added).p == pytest.approx(0.05, abs=1e-6)
    assert (share.low <= 0.0 <= share.high) == (crossed_mean(difference).p >= 0.05)


def test_a_share_of_what_is_hardly_added_has_the_widest_bounds() -> None:
    rng = np.random.default_rng(1)
    share = share_of_added(rng.normal(0.0, 1.0, (3, 20)), rng.normal(0.01, 1.0, (3, 20)))
    assert (share.low, share.high) == (-10.0, 10.0)
    assert math.isnan(share_of_added(np.ones((1, 20)), np.ones((1, 20)) * 2).low)
    assert math.isnan(share_of_added(np.ones((3, 20)), np.zeros((3, 20))).mean)
