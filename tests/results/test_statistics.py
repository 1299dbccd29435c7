"""The statistics say what their textbooks say, and cover what they claim to cover."""

import math

import numpy as np
import pytest

from bench.metrics.learning import clustered_mean, learning_denied, learns_gate
from bench.results.statistics import denied_interval, holm, paired_p, rank_ranges, t_interval


def test_learning_denied_at_its_fixed_points() -> None:
    assert learning_denied(clean=0.9, protected=0.9, untrained=0.1) == 0.0
    assert learning_denied(clean=0.9, protected=0.1, untrained=0.1) == 1.0
    assert learning_denied(clean=-2.0, protected=-2.5, untrained=-3.0) == 0.5
    assert learning_denied(clean=0.9, protected=1.0, untrained=0.1) < 0  # protection that helps is shown as it is
    assert math.isnan(learning_denied(0.5, 0.4, 0.5))


def test_t_interval_against_a_table() -> None:
    # mean 2, sd 1, n 3: half width t(0.975, 2) / sqrt(3) = 4.30265 / 1.73205
    interval = t_interval([1.0, 2.0, 3.0])
    assert interval.mean == 2.0
    assert interval.high - 2.0 == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert math.isnan(t_interval([1.0]).low)
    assert math.isnan(t_interval([]).mean)


def test_three_seeds_are_covered_as_claimed() -> None:
    draws = np.random.default_rng(0).normal(size=(4000, 3))
    inside = [t_interval(row).low <= 0 <= t_interval(row).high for row in draws.tolist()]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)


def test_clustered_error_with_one_item_a_group_is_the_ordinary_one() -> None:
    values = [1.0, 4.0, 2.0, 8.0]
    mean, error, groups = clustered_mean(values, ["a", "b", "c", "d"])
    assert (mean, groups) == (3.75, 4)
    assert error == pytest.approx(np.std(values, ddof=1) / 2)


def test_copies_of_an_item_add_no_certainty() -> None:
    values, groups = [1.0, 4.0, 2.0, 8.0], ["a", "b", "c", "d"]
    single = clustered_mean(values, groups)[1]
    copied = clustered_mean(values * 5, groups * 5)[1]
    assert copied == pytest.approx(single)
    assert clustered_mean(values * 5, [str(i) for i in range(20)])[1] < single / 2


def test_the_gate_asks_for_three_standard_errors() -> None:
    groups = [str(i) for i in range(9)]
    gain = [1.0, 1.1, 0.9, 1.0, 1.2, 0.8, 1.0, 1.05, 0.95]
    assert learns_gate(gain, [0.0] * 9, groups).passed
    assert not learns_gate([0.0] * 9, gain, groups).passed
    noisy = [3.0, -2.5, 1.0, -1.0, 2.0, -2.0, 0.5, 0.1, -0.2]
    assert not learns_gate(noisy, [0.0] * 9, groups).passed
    assert not learns_gate([0.0] * 9, [0.0] * 9, groups).passed


def test_the_wider_interval_is_taken() -> None:
    rng = np.random.default_rng(1)
    groups = [str(i // 2) for i in range(24)]
    item = rng.normal(size=24)
    clean = [(1.0 + 0.3 * item).tolist()] * 3
    untrained = [[0.0] * 24] * 3
    protected = [(0.5 + 0.3 * rng.normal(size=24)).tolist()] * 3  # equal seeds: no spread over seeds at all
    wide = denied_interval(clean, protected, untrained, groups)
    assert wide.width > 0.05
    few = denied_interval(clean, protected, untrained, ["one", "two"] * 12)
    assert few.width == pytest.approx(0.0, abs=1e-12)
    assert wide.mean == pytest.approx(few.mean)


def test_paired_p_against_a_known_value() -> None:
    # t = 2 / (1 / sqrt(3)) = 3.4641, two-sided with 2 degrees of freedom: 1 - t / sqrt(t^2 + 2)
    t = 2 * math.sqrt(3)
    assert paired_p([3.0, 4.0, 5.0], [2.0, 2.0, 2.0]) == pytest.approx(1 - t / math.sqrt(t * t + 2))
    assert paired_p([1.0, 2.0], [1.0, 2.0]) == 1.0
    assert math.isnan(paired_p([1.0], [0.0]))


def test_holm_against_its_definition() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    adjusted = holm([0.02, math.nan])
    assert adjusted[0] == 0.02
    assert math.isnan(adjusted[1])


def test_rows_that_cannot_be_told_apart_share_their_ranks() -> None:
    clear = [0.90, 0.91, 0.92, 0.90, 0.91]
    one, two = [0.50, 0.52, 0.48, 0.51, 0.49], [0.49, 0.53, 0.49, 0.50, 0.50]
    assert rank_ranges([clear, one, two]) == [(1, 1), (2, 3), (2, 3)]
    assert rank_ranges([[0.3]]) == [(1, 1)]
    assert rank_ranges([[0.3], [0.9]]) == [(1, 2), (1, 2)]  # one seed tells nothing apart
