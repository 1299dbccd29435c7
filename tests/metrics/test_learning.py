"""The share of an attacker's input that changed: a multiset, item by item."""

import math
from typing import Any

import pytest
import torch

from bench.metrics.learning import view_change


def rows(*elements: tuple[int, ...]) -> torch.Tensor:
    return torch.tensor(elements, dtype=torch.int64).reshape(-1, 3)


@pytest.mark.parametrize(
    ("clean", "protected", "share"),
    [
        ([(0, 1, 2), (0, 3, 4)], [(0, 3, 4), (0, 1, 2)], 0.0),  # the order is of no account
        ([(0, 1, 2), (0, 3, 4)], [(0, 1, 2), (0, 3, 5)], 0.5),
        ([(0, 1, 2), (0, 1, 2)], [(0, 1, 2)], 0.5),  # twice is not once
        ([(0, 1, 2)], [(0, 1, 2), (0, 1, 3), (0, 1, 4), (0, 1, 5)], 0.75),  # of the larger of the two
        ([(0, 1, 2)], [(0, 9, 9)], 1.0),
        ([(0, 1, 2)], [], 1.0),
    ],
)
def test_the_share_of_what_is_read_that_is_not_in_both(clean: list[Any], protected: list[Any], share: float) -> None:
    assert view_change(rows(*clean), rows(*protected), 1).tolist() == [share]
    assert view_change(rows(*protected), rows(*clean), 1).tolist() == [share]


def test_every_item_is_compared_with_itself_alone() -> None:
    clean = rows((0, 1, 1), (1, 1, 1), (3, 5, 5), (3, 6, 6))
    protected = rows((0, 1, 1), (1, 2, 2), (3, 5, 5), (3, 6, 7))
    changed = view_change(clean, protected, 4).tolist()
    assert changed[:2] == [0.0, 1.0]
    assert math.isnan(changed[2]), "an item of which nothing is read"
    assert changed[3] == 0.5
