"""Receiver operating characteristic of a detector: from scores to AUC, TPR at a low FPR, and EER.

Conventions: a higher score means "protected". Items of equal score are told apart by no threshold, so that they share
one point of the curve. An item whose score is NaN is left out; without an item of either kind every figure is NaN.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.errors import DataError

__all__ = ["auc", "curve", "eer", "figures", "tpr_at"]


def curve(protected: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the share of either kind at or above each threshold.

    Args:
        protected: Scores [item] of protected items.
        clean: Scores [item] of clean items.

    Returns:
        FPR and TPR, float64 [point] each, rising from (0, 0) to (1, 1); both empty where a kind has no score.
    """
    positive, negative = (scores[~scores.isnan()].double() for scores in (protected.flatten(), clean.flatten()))
    if not len(positive) or not len(negative):
        return torch.empty(0, dtype=torch.float64), torch.empty(0, dtype=torch.float64)
    thresholds = torch.cat([positive, negative]).unique().flip(0)
    fpr, tpr = (
        torch.cat([part.new_zeros(1), (part[:, None] >= thresholds).double().mean(0)]) for part in (negative, positive)
    )
    return fpr, tpr


def auc(protected: Tensor, clean: Tensor) -> float:
    """Compute the area under the curve: how often a protected item outscores a clean one, ties counted as half.

    Args:
        protected: Scores [item] of protected items.
        clean: Scores [item] of clean items.

    Returns:
        0..1; 0.5 for a detector that cannot tell them apart.
    """
    return _auc(*curve(protected, clean))


def tpr_at(protected: Tensor, clean: Tensor, fpr: float = 0.01) -> float:
    """Compute the largest share of protected items found at a threshold that takes few clean ones for protected.

    The curve is not interpolated: of fewer than 1 / `fpr` clean items none may lie at or above the threshold.

    Args:
        protected: Scores [item] of protected items.
        clean: Scores [item] of clean items.
        fpr: Most clean items at or above the threshold, as a share, 0..1.

    Returns:
        0..1.

    Raises:
        DataError: `fpr` is no share.
    """
    if not 0.0 <= fpr <= 1.0:
        raise DataError(f"a false positive rate of {fpr}, expected 0..1, such as 0.01")
    return _tpr_at(*curve(protected, clean), fpr)


def eer(protected: Tensor, clean: Tensor) -> float:
    """Compute the equal error rate: where as many clean items are taken for protected as protected ones are missed.

    Args:
        protected: Scores [item] of protected items.
        clean: Scores [item] of clean items.

    Returns:
        0..1, on the straight line between two thresholds; 0.5 for a detector that cannot tell them apart.
    """
    return _eer(*curve(protected, clean))


def figures(protected: Tensor, clean: Tensor) -> dict[str, float]:
    """Compute every figure of this module.

    Args:
        protected: Scores [item] of protected items.
        clean: Scores [item] of clean items.

    Returns:
        `auc`, `tpr_at_1_fpr` (at a false positive rate of 1 %) and `eer`.
    """
    fpr, tpr = curve(protected, clean)
    return {"auc": _auc(fpr, tpr), "tpr_at_1_fpr": _tpr_at(fpr, tpr, 0.01), "eer": _eer(fpr, tpr)}


def _auc(fpr: Tensor, tpr: Tensor) -> float:
    return float(torch.trapezoid(tpr, fpr)) if len(fpr) else math.nan


def _tpr_at(fpr: Tensor, tpr: Tensor, most: float) -> float:
    return float(tpr[fpr <= most + 1e-12].max()) if len(fpr) else math.nan


def _eer(fpr: Tensor, tpr: Tensor) -> float:
    if not len(fpr):
        return math.nan
    excess = fpr - (1.0 - tpr)  # false alarms less misses: from -1 to 1
    after = int((excess >= 0).nonzero()[0, 0])  # never the first point
    before = after - 1
    part = -excess[before] / (excess[after] - excess[before])
    return float(fpr[before] + part * (fpr[after] - fpr[before]))
