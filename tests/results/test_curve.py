"""The clean curve: monotone, linear in the logarithm of the number of items, and its inverse."""

import math

import numpy as np
import pytest

from bench.results.curve import CleanCurve


def curve(means: list[float], sizes: tuple[int, ...] = (0, 10, 100, 1000), granted: int = 5) -> CleanCurve:
    """Return a curve whose two seeds and three items have these means."""
    spread = np.array([[-0.1, 0.0, 0.1], [0.05, 0.0, -0.05]])
    return CleanCurve(sizes, np.asarray(means)[:, None, None] + spread, granted)


def test_it_passes_through_its_sizes_and_is_linear_in_the_logarithm_between_them() -> None:
    rising = curve([0.1, 0.3, 0.6, 0.9])
    assert rising.at(rising.sizes).mean((1, 2)) == pytest.approx([0.1, 0.3, 0.6, 0.9])
    middle = math.sqrt(15 * 105) - 5
    assert rising.at([middle]).mean() == pytest.approx(0.45)
    assert rising.inverse(0.45) == pytest.approx(middle)
    for items in (0, 3, 10, 77, 1000):
        assert rising.inverse(float(rising.at([items]).mean())) == pytest.approx(items, abs=1e-9)


def test_outside_of_its_qualities_the_inverse_is_none_or_all() -> None:
    rising = curve([0.1, 0.3, 0.6, 0.9])
    assert rising.inverse(0.05) == 0.0
    assert rising.inverse(0.95) == 1000.0


def test_sizes_whose_means_fall_are_pooled_and_items_keep_their_differences() -> None:
    uneven = curve([0.1, 0.5, 0.3, 0.9])
    assert uneven.means == pytest.approx([0.1, 0.4, 0.4, 0.9])
    assert uneven.at([10]) == pytest.approx(uneven.at([100]))
    assert uneven.at([50])[0, 0, 2] - uneven.at([50])[0, 0, 0] == pytest.approx(0.2)
    assert uneven.inverse(0.4) == pytest.approx(10)  # the fewest items that reach it


def test_a_curve_that_is_flat_to_its_end_is_worth_the_fewest_items() -> None:
    assert curve([0.1, 0.9, 0.9, 0.9]).inverse(0.9) == 10.0


def test_with_nothing_granted_nothing_published_has_a_place_on_it() -> None:
    bare = curve([0.0, 0.2, 0.4, 0.6], granted=0)
    assert bare.position(0) == 0.0
    assert bare.items(bare.position(0)) == 0.0


@pytest.mark.parametrize(
    ("sizes", "qualities", "message"),
    [
        ((10, 100), np.zeros((2, 1, 1)), "expected 0 and larger ones"),
        ((0, 100, 10), np.zeros((3, 1, 1)), "increasing"),
        ((0, 10), np.zeros((3, 1, 1)), "2 sizes"),
        ((0, 10), np.full((2, 1, 1), math.nan), "without a quality"),
    ],
)
def test_what_is_no_curve_is_refused(sizes: tuple[int, ...], qualities: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CleanCurve(sizes, qualities, 5)
