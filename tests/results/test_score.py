"""The score at its fixed points; missing items never improve a defense; the validity check and its edge cases."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from bench.results.score import cell_estimate, denied_by_item, items_denied, learning_denied, learns_check

NAN = math.nan


def test_learning_denied_at_its_fixed_points() -> None:
    assert learning_denied(clean=0.9, protected=0.9, untrained=0.1) == 0.0
    assert learning_denied(clean=0.9, protected=0.1, untrained=0.1) == 1.0
    assert learning_denied(clean=-2.0, protected=-2.5, untrained=-3.0) == 0.5
    assert learning_denied(clean=0.9, protected=1.0, untrained=0.1) < 0  # protection that helps is shown as it is
    assert math.isnan(learning_denied(0.5, 0.4, 0.5))


def test_the_validity_check_asks_for_three_standard_errors() -> None:
    groups = [str(i) for i in range(9)]
    gain = [1.0, 1.1, 0.9, 1.0, 1.2, 0.8, 1.0, 1.05, 0.95]
    assert learns_check(gain, [0.0] * 9, groups).passed
    assert not learns_check([0.0] * 9, gain, groups).passed
    noisy = [3.0, -2.5, 1.0, -1.0, 2.0, -2.0, 0.5, 0.1, -0.2]
    assert not learns_check(noisy, [0.0] * 9, groups).passed
    assert not learns_check([0.0] * 9, [0.0] * 9, groups).passed


def test_the_wider_interval_is_taken() -> None:
    rng = np.random.default_rng(1)
    groups = [str(i // 2) for i in range(24)]
    item = rng.normal(size=24)
    clean = [(1.0 + 0.3 * item).tolist()] * 3
    untrained = [[0.0] * 24] * 3
    protected = [(0.5 + 0.3 * rng.normal(size=24)).tolist()] * 3  # equal seeds: no spread over seeds at all
    wide = cell_estimate(clean, protected, untrained, groups).interval
    assert wide.width > 0.05
    few = cell_estimate(clean, protected, untrained, ["one", "two"] * 12).interval
    assert few.width == pytest.approx(0.0, abs=1e-12)
    assert wide.mean == pytest.approx(few.mean)


def test_one_group_has_no_standard_error_and_does_not_pass() -> None:
    check = learns_check([1.0, 0.9, 1.0], [0.1, 0.2, 0.0], ["only speaker"] * 3)
    assert not check.passed
    assert math.isnan(check.value)
    assert "no standard error over 1 group" in check.meaning


def test_groups_that_gain_alike_are_judged_by_their_items() -> None:
    """Six speakers, each at accuracy 0.1 untrained and 1.0 trained: no spread over groups, but enough items."""
    untrained = ([1.0] + [0.0] * 9) * 6
    check = learns_check([1.0] * 60, untrained, [str(at // 10) for at in range(60)])
    assert check.passed
    assert check.value == pytest.approx(0.9 / (np.std(untrained, ddof=1) / math.sqrt(60)))


def test_a_gain_without_spread_passes_only_over_ten_groups() -> None:
    few, many = [str(i) for i in range(9)], [str(i) for i in range(10)]
    assert not learns_check([1.0] * 9, [0.0] * 9, few).passed
    check = learns_check([1.0] * 10, [0.0] * 10, many)
    assert check.passed
    assert math.isfinite(check.value)
    assert not learns_check([0.5] * 10, [0.5] * 10, many).passed
    assert not learns_check([], [], []).passed


@pytest.mark.parametrize("arm", [0, 1, 2])
@pytest.mark.parametrize("seed", range(20))
def test_a_missing_item_never_improves_a_defense(arm: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    clean = 1.0 + 0.3 * rng.normal(size=12)
    protected = clean - rng.uniform(-0.2, 0.8) + 0.3 * rng.normal(size=12)
    untrained = 0.3 * rng.normal(size=12)
    at = int(rng.integers(12))
    arms = [clean.copy(), protected.copy(), untrained.copy()]
    arms[arm][at] = NAN
    without = [np.delete(values, at) for values in (clean, protected, untrained)]
    assert items_denied(*map(list, arms)) <= items_denied(*map(list, without)) + 1e-12


def test_missing_items_are_counted_and_leave_the_cell_a_number() -> None:
    groups = [str(i) for i in range(4)]
    clean, untrained = [[1.0] * 4] * 2, [[0.0] * 4] * 2
    protected = [[0.5, 0.5, 0.5, NAN], [0.5, 0.5, 0.5, 0.5]]
    estimate = cell_estimate(clean, protected, untrained, groups)
    assert estimate.missing == 1
    assert estimate.by_seed == (0.375, 0.5)  # the missing item counts as not denied: (3 * 0.5 + 0) / 4
    assert estimate.interval.mean == pytest.approx(0.4375)


def test_an_arm_without_any_number_denies_nothing() -> None:
    assert items_denied([1.0, 0.9], [NAN, NAN], [0.0, 0.1]) == 0.0
    assert math.isnan(items_denied([NAN], [NAN], [0.0]))
    assert math.isnan(items_denied([], [], []))


def test_missing_items_keep_the_interval_over_groups() -> None:
    rng = np.random.default_rng(3)
    groups = [str(i) for i in range(16)]

    def arm(mean: float) -> list[float]:
        return list((mean + 0.2 * rng.normal(size=16)).tolist())

    def width(protected: Sequence[float]) -> float:
        return cell_estimate([clean], [protected], [untrained], groups).interval.width

    clean, protected, untrained = arm(1.0), arm(0.5), arm(0.0)
    whole = width(protected)
    assert whole > 0
    assert width([NAN, *protected[1:]]) == pytest.approx(whole, rel=0.5)


@pytest.mark.parametrize("gaps", [0, 3])
def test_what_items_contribute_averages_to_what_is_denied(gaps: int) -> None:
    rng = np.random.default_rng(2)
    arms = [(level + 0.2 * rng.normal(size=40)).tolist() for level in (1.0, 0.5, 0.0)]
    arms[1][:gaps] = [NAN] * gaps
    contributions = denied_by_item(*arms)
    assert contributions.mean() == pytest.approx(items_denied(*arms))
    assert np.isfinite(contributions).all()
    if not gaps:  # an item counts by how far it lies from the ratio of the means
        moved = [arms[0], [arms[1][0] - 0.01, *arms[1][1:]], arms[2]]
        gain = np.mean(arms[0]) - np.mean(arms[2])
        assert items_denied(*moved) - items_denied(*arms) == pytest.approx(0.01 / 40 / gain)
