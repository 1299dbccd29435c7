"""The statistics say what their textbooks say, and cover what they claim to cover."""

import math

import numpy as np
import pytest

from bench.results.statistics import clustered_mean, holm, paired_p, rank, t_interval


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


def _rows(*scores: list[float]) -> list[dict[int, float]]:
    return [dict(enumerate(row)) for row in scores]


def test_rows_that_do_not_differ_share_their_ranks() -> None:
    clear = [0.90, 0.91, 0.92, 0.90, 0.91]
    one, two = [0.50, 0.52, 0.48, 0.51, 0.49], [0.49, 0.53, 0.49, 0.50, 0.50]
    ranking = rank(_rows(clear, one, two))
    assert ranking.ranges == ((1, 1), (2, 3), (2, 3))
    assert ranking.different == {(0, 1), (0, 2)}
    assert not ranking.untested
    assert rank(_rows([0.3])).ranges == ((1, 1),)
    assert rank([]).ranges == ()


def test_a_row_with_one_seed_leaves_the_other_pairs_tested() -> None:
    clear, low = [0.90, 0.91, 0.92, 0.90, 0.91], [0.50, 0.52, 0.48, 0.51, 0.49]
    ranking = rank([*_rows(clear, low), {0: 0.1}])
    assert ranking.ranges == ((1, 1), (2, 2), None)
    assert ranking.untested == {(2, 0), (2, 1)}
    assert rank(_rows([0.3], [0.9])).ranges == (None, None)


def test_pairs_are_compared_on_the_seeds_that_both_have() -> None:
    first = {0: 0.9, 1: 0.91, 2: 0.92, 3: 0.9}
    second = {2: 0.5, 3: 0.51, 4: 0.49, 0: math.nan}
    ranking = rank([first, second])
    p = paired_p([0.92, 0.9], [0.5, 0.51])
    assert (p < 0.05) == bool(ranking.different)
    assert ranking.ranges == ((1, 1), (2, 2)) if p < 0.05 else ((1, 2), (1, 2))
