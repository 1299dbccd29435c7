"""Share of an attacker's training input that a defense changed."""

from __future__ import annotations

import torch
from torch import Tensor


def view_change(clean: Tensor, protected: Tensor, items: int) -> Tensor:
    """Compute the share of an attacker's input that a defense changed.

    The elements of an item are a multiset, so that their order does not count: 1 - (elements in both) / (elements of
    the larger one).

    Args:
        clean: int64 [element, 1 + field], the item's number first, as an attacker's `view` gives them.
        protected: the same for the protected set.
        items: how many items the set has.

    Returns:
        float64 [item] in 0..1; NaN for an item without elements.
    """
    rows, row_of = torch.unique(torch.cat([clean, protected]), dim=0, return_inverse=True)
    before, after = (torch.bincount(index, minlength=len(rows)) for index in row_of.split([len(clean), len(protected)]))
    item = rows[:, 0]

    def total(counts: Tensor) -> Tensor:
        return torch.zeros(items, dtype=torch.float64).index_add_(0, item, counts.double())

    return 1 - total(torch.minimum(before, after)) / torch.maximum(total(before), total(after))
