"""The score of one trial, and the gate that says whether it means anything. Pure functions of per-item qualities.

Quality is higher for better: accuracy, minus NLL, minus a distance to real music; it is always measured on clean
held-out data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bench.api import ValidityCheck


def learning_denied(clean: float, protected: float, untrained: float) -> float:
    """(q_clean - q_protected) / (q_clean - q_untrained).

    0: protection did nothing; 1: the attacker learned no more than a model that never saw the data. It may leave
    [0, 1]. NaN where the clean arm is exactly as good as the untrained one.

    >>> learning_denied(clean=0.9, protected=0.5, untrained=0.1)
    0.5
    """
    gained = clean - untrained
    return (clean - protected) / gained if gained else math.nan


def clustered_mean(values: Sequence[float], groups: Sequence[str]) -> tuple[float, float, int]:
    """The mean of values, its standard error with items of one group taken as dependent, and the number of groups.

    The error is that of the ratio sum(values) / n under sampling of groups (the linearised, or sandwich, estimator with
    the g / (g - 1) correction). With one item a group it is the ordinary standard error. NaN for fewer than two groups.
    """
    x = np.asarray(values, dtype=np.float64)
    mean = float(x.mean())
    _, at = np.unique(np.asarray(groups), return_inverse=True)
    count = int(at.max()) + 1
    if count < 2:
        return mean, math.nan, count
    residuals = np.bincount(at, weights=x - mean)
    error = math.sqrt(count / (count - 1) * float((residuals**2).sum())) / len(x)
    return mean, error, count


def learns_gate(clean: Sequence[float], untrained: Sequence[float], groups: Sequence[str]) -> ValidityCheck:
    """The clean arm beats the untrained one by more than three standard errors of their paired difference.

    Without it "the attacker learned nothing" says nothing about the protection.
    """
    difference = np.asarray(clean, dtype=np.float64) - np.asarray(untrained, dtype=np.float64)
    mean, error, _ = clustered_mean(difference.tolist(), groups)
    ratio = mean / error if error and math.isfinite(error) else (math.inf if mean > 0 else 0.0)
    return ValidityCheck(
        name="learns clean data",
        passed=bool(mean > 0 and ratio > 3.0),
        value=ratio,
        limit=3.0,
        meaning="the clean arm's gain over the untrained one, in standard errors clustered by group",
    )


def view_change(clean: Tensor, protected: Tensor, items: int) -> Tensor:
    """The share of an attacker's input that a defense changed: float64 [item] in 0..1; NaN for an item without any.

    clean, protected: int64 [element, 1 + field], the item first, as an attacker's `view` gives them. The elements of an
    item are a multiset: 1 - (elements in both) / (elements of the larger one), so that the order does not count.
    """
    rows, place = torch.unique(torch.cat([clean, protected]), dim=0, return_inverse=True)
    before, after = (torch.bincount(at, minlength=len(rows)) for at in place.split([len(clean), len(protected)]))
    item = rows[:, 0]

    def total(counts: Tensor) -> Tensor:
        return torch.zeros(items, dtype=torch.float64).index_add_(0, item, counts.double())

    return 1 - total(torch.minimum(before, after)) / torch.maximum(total(before), total(after))
