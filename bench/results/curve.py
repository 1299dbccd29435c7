"""The clean curve: the quality that an attacker reaches with N clean published items beside those it was granted.

Every size is trained with the same number of optimiser steps. The curve is made monotone in N (pool adjacent violators
over the means) and is linear in log(N + granted) between the sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["CleanCurve"]

_ROUNDING = 1e-9  # a difference below this share of the curve's rise is rounding


@dataclass(frozen=True, eq=False)
class CleanCurve:
    """Qualities over nested clean subsets of the published set.

    Attributes:
        sizes: [size] clean published items, increasing, the first 0 (nothing published: the withheld arm) and the last
            the size n of the published set.
        qualities: [size, seed, item] qualities on the test items, no NaN; higher is better.
        granted: how many clean items the attacker has anyway.

    Raises:
        ValueError: where sizes and qualities do not fit.
    """

    sizes: tuple[int, ...]
    qualities: NDArray[np.float64]
    granted: int
    _pooled: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if list(self.sizes) != sorted(set(self.sizes)) or len(self.sizes) < 2 or self.sizes[0] != 0:
            raise ValueError(
                f"the sizes of a clean curve are {list(self.sizes)}, expected 0 and larger ones, increasing"
            )
        if self.qualities.ndim != 3 or len(self.qualities) != len(self.sizes):
            raise ValueError(
                f"qualities have shape {self.qualities.shape}, expected [{len(self.sizes)} sizes, seed, item]"
            )
        if np.isnan(self.qualities).any():
            raise ValueError("a clean curve has items without a quality: fill or leave them out before")
        object.__setattr__(self, "_pooled", _monotone(self.qualities))

    @property
    def published(self) -> int:
        """The size n of the published set."""
        return self.sizes[-1]

    @property
    def means(self) -> NDArray[np.float64]:
        """[size] mean quality, made monotone."""
        return np.asarray(self._pooled.mean((1, 2)))

    def position(self, items: ArrayLike) -> NDArray[np.float64]:
        """Return log(N + granted), on which the curve is linear; with nothing granted log(N + 1), so that 0 has one."""
        return np.log(np.asarray(items, dtype=np.float64) + max(self.granted, 1))

    def items(self, position: ArrayLike) -> NDArray[np.float64]:
        """Return N at a position: the inverse of `position`."""
        return np.exp(np.asarray(position, dtype=np.float64)) - max(self.granted, 1)

    def at(self, items: ArrayLike) -> NDArray[np.float64]:
        """Return the qualities at other sizes.

        Args:
            items: [point] sizes N within 0..n.

        Returns:
            [point, seed, item].
        """
        return self.interpolate(self._pooled, items)

    def interpolate(self, values: NDArray[np.float64], items: ArrayLike) -> NDArray[np.float64]:
        """Interpolate values of the curve's sizes as its qualities are.

        Args:
            values: [size, ...].
            items: [point] sizes N within 0..n.

        Returns:
            [point, ...].
        """
        knots, where = self.position(self.sizes), self.position(items)
        left = np.clip(np.searchsorted(knots, where, side="right") - 1, 0, len(knots) - 2)
        share = np.clip((where - knots[left]) / (knots[left + 1] - knots[left]), 0.0, 1.0)
        share = share.reshape(-1, *[1] * (values.ndim - 1))
        return np.asarray((1 - share) * values[left] + share * values[left + 1])

    def inverse(self, quality: float) -> float:
        """Return the smallest N whose mean quality on the curve is `quality`; 0 below the curve, n above it."""
        means, knots = self.means, self.position(self.sizes)
        reached = means >= quality - _ROUNDING * (means[-1] - means[0])
        if not reached.any():
            return float(self.published)
        right = int(np.argmax(reached))  # the first size that is as good
        if right == 0 or means[right] <= quality:
            return float(self.sizes[right])
        share = (quality - means[right - 1]) / (means[right] - means[right - 1])
        return float(self.items(knots[right - 1] + share * (knots[right] - knots[right - 1])))


def _monotone(qualities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pool neighbouring sizes until the means rise; each seed and item is pooled as the means are.

    Pooling every seed and item by the blocks of the means keeps differences between arms paired.
    """
    from scipy.optimize import isotonic_regression  # scipy.optimize costs 0.2 s, which reading a table need not pay

    blocks = isotonic_regression(qualities.mean((1, 2))).blocks
    pooled = np.empty_like(qualities)
    for first, end in pairwise(blocks):
        pooled[first:end] = qualities[first:end].mean(0)
    return pooled
