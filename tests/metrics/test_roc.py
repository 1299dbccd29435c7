"""Figures of a detector against values worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from bench.errors import DataError
from bench.metrics import roc


def scores(*values: float) -> Tensor:
    return torch.tensor(values)


@pytest.mark.parametrize(
    ("protected", "clean", "auc", "tpr", "eer"),
    [
        ((3, 4), (1, 2), 1.0, 1.0, 0.0),
        ((1, 2), (3, 4), 0.0, 0.0, 1.0),
        ((2, 4), (1, 3), 0.75, 0.5, 0.5),  # of four pairs one is the wrong way round
        ((1, 2, 3, 5), (0, 1, 2, 4), 11 / 16, 0.25, 0.375),  # ties at 1 and at 2 count as half
        ((7, 7, 7), (7, 7), 0.5, 0.0, 0.5),
        ((1,), (1,), 0.5, 0.0, 0.5),
        ((math.inf, 1), (-math.inf, 0), 1.0, 1.0, 0.0),
    ],
)
def test_hand_made_scores(
    protected: tuple[float, ...], clean: tuple[float, ...], auc: float, tpr: float, eer: float
) -> None:
    found = roc.figures(scores(*protected), scores(*clean))
    assert found == pytest.approx({"auc": auc, "tpr_at_1_fpr": tpr, "eer": eer})
    assert roc.auc(scores(*protected), scores(*clean)) == found["auc"]
    assert roc.tpr_at(scores(*protected), scores(*clean)) == found["tpr_at_1_fpr"]
    assert roc.eer(scores(*protected), scores(*clean)) == found["eer"]


def test_one_false_alarm_in_a_hundred_is_allowed_and_two_are_not() -> None:
    clean = torch.arange(100.0)
    protected = scores(98.5, 97.5, 200.0, 0.5)
    assert roc.tpr_at(protected, clean, 0.01) == 0.5
    assert roc.tpr_at(protected, clean, 0.02) == 0.75
    assert roc.tpr_at(protected, clean, 0.0) == 0.25
    assert roc.tpr_at(protected, clean, 1.0) == 1.0


def test_a_tie_with_a_clean_item_is_no_detection() -> None:
    assert roc.tpr_at(scores(5, 5, 6), scores(5, 1)) == pytest.approx(1 / 3)


def test_nan_is_left_out_and_nothing_left_is_nan() -> None:
    nan = math.nan
    assert roc.figures(scores(nan, 3, 4), scores(1, nan, 2)) == roc.figures(scores(3, 4), scores(1, 2))
    for protected, clean in ((scores(nan), scores(1)), (scores(1), scores(nan)), (scores(), scores(1))):
        assert all(math.isnan(value) for value in roc.figures(protected, clean).values())


def test_swapping_the_two_kinds_mirrors_auc_and_eer() -> None:
    rng = torch.Generator().manual_seed(0)
    one, other = torch.randint(0, 9, (40,), generator=rng), torch.randint(2, 12, (30,), generator=rng)
    assert roc.auc(one, other) == pytest.approx(1 - roc.auc(other, one))
    assert roc.eer(one, other) == pytest.approx(1 - roc.eer(other, one))


def test_any_rising_function_of_the_scores_has_the_same_figures() -> None:
    rng = torch.Generator().manual_seed(1)
    one, other = torch.randn(50, generator=rng) + 1, torch.randn(70, generator=rng)
    assert roc.figures(one.exp(), other.exp()) == roc.figures(one, other)


def test_a_share_outside_0_to_1_is_refused_in_one_line() -> None:
    with pytest.raises(DataError, match=r"expected 0\.\.1"):
        roc.tpr_at(scores(1), scores(0), 1.5)
