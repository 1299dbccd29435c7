"""Distance of a set of clips from a real one: Frechet and kernel audio distance over interchangeable embeddings.

Conventions: an embedding turns clips into rows, float [row, feature]; every distance takes rows, works in double
precision and is 0 for equal distributions. A distance can be interpreted only together with N, the embedding and the
floor, which is the distance between two halves of the real set.

* FAD (Kilgour et al. 2019) is the Frechet distance between Gaussians fitted to both sets. Its bias is about +1 / N:
  N(0, I) of 128 features against itself gives 67 at N = 128 and 2 at 4096. `fad_infinity` extrapolates to N = infinity.
* KAD (Chung et al. 2025) is an unbiased squared maximum mean discrepancy: 0 on average at any N, below 0 by chance.

Where the sets are *paired* (row i of both comes from the same clip, as with a protected set and its clean version), the
rows are not independent. KAD then leaves the pairs out of its cross term: the U-statistic of Gretton et al. 2012.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional

from bench.api import Clips
from bench.errors import DataError, UsageError, unknown
from bench.metrics.embeddings import EMBEDDINGS

__all__ = ["Extrapolation", "distances", "fad_infinity", "frechet", "kad", "split_half_floor"]

_VALUES_PER_BLOCK = 1 << 22  # kernel values computed at once, which bounds the memory
_MEDIAN_ROWS = 2000  # most rows for the kernel's bandwidth
_SIZES = 15  # subset sizes of `fad_infinity`


class Extrapolation(NamedTuple):
    """The intercept of a line, and the share of the variance that the line explains."""

    value: float
    r2: float


def distances(real: Clips, compared: Clips, rng: Generator, embedding: str = "logmel") -> dict[str, float]:
    """Compute all distances of a set from a real one.

    Args:
        real: the reference clips.
        compared: clips at the same rate.
        rng: random numbers.
        embedding: one of `EMBEDDINGS`.

    Returns:
        By names like `fad[logmel]`: `fad`, `fad_infinity` and its `fad_infinity_r2`, `kad`; `fad_floor` and
        `kad_floor`, the same between random halves of the real set (at half the N, where FAD's bias is twice as large);
        `rows`, the smaller N. With too few clips values are NaN: below 2 rows everything, below 4 the floors, below
        2 (features + 1) `fad_infinity`.

    Raises:
        UsageError: the embedding is unknown.
        DataError: the rates differ, or the embedding's weights are missing.
    """
    if embedding not in EMBEDDINGS:
        raise UsageError(unknown("embedding", embedding, EMBEDDINGS))
    if real.rate != compared.rate:
        raise DataError(
            f"clips at {compared.rate} samples a second against real ones at {real.rate}, expected the same rate"
        )
    embed = EMBEDDINGS[embedding]
    x, y = embed(real), embed(compared)
    paired = real.ids == compared.ids and len(x) == len(y)
    nan = float("nan")
    values = dict.fromkeys(("fad", "fad_infinity", "fad_infinity_r2", "fad_floor", "kad", "kad_floor"), nan)
    if min(len(x), len(y)) >= 2:
        values["fad"], values["kad"] = frechet(x, y), kad(x, y, paired=paired)
    if min(len(x), len(y)) >= 2 * (x.shape[1] + 1):
        values["fad_infinity"], values["fad_infinity_r2"] = fad_infinity(x, y, rng, paired=paired)
    if len(x) >= 4:
        values["fad_floor"], values["kad_floor"] = split_half_floor(x, rng), split_half_floor(x, rng, kad)
    values["rows"] = float(min(len(x), len(y)))
    return {f"{name}[{embedding}]": value for name, value in values.items()}


def frechet(x: Tensor, y: Tensor) -> float:
    """Compute the Frechet distance of Gaussians: `|mx - my|^2 + Tr(Cx + Cy - 2 (Cx Cy)^(1/2))`.

    The trace of the root is the sum of the roots of the eigenvalues of the symmetric `Cx^(1/2) Cy Cx^(1/2)`: real,
    and finite where n < d leaves the covariances singular. Covariances are unbiased (n - 1).

    Args:
        x: rows [n, d] to which the first Gaussian is fitted.
        y: rows [m, d] of the second.

    Returns:
        The distance, 0 or more.
    """
    x, y = _rows(x, y)
    root = _root(torch.cov(x.T).reshape(x.shape[1], -1))
    covariance_y = torch.cov(y.T).reshape(y.shape[1], -1)
    shared = torch.linalg.eigvalsh(root @ covariance_y @ root).clamp(min=0).sqrt().sum()
    mean_distance = (x.mean(0) - y.mean(0)).square().sum()
    return max(0.0, float(mean_distance + root.square().sum() + covariance_y.trace() - 2.0 * shared))


def fad_infinity(x: Tensor, y: Tensor, rng: Generator, *, paired: bool = False, sizes: int = _SIZES) -> Extrapolation:
    """Extrapolate the Frechet distance to N = infinity (Chong and Forsyth 2020; Gui et al. 2024, fadtk).

    Random subsets of both sets, without replacement, from all rows down to as few as a fifth or d + 1; the intercept of
    the line through their distances over 1 / N. Subsets of *both* sets are taken, since a small reference is as biased
    as a small sample.

    Args:
        x: rows [n, d] of the reference.
        y: rows [m, d].
        rng: random numbers.
        paired: row i of both comes from the same clip.
        sizes: how many sizes of subsets.

    Returns:
        The intercept and the fit's `r2`, near 0 where there was no bias to see, or too few rows.

    Raises:
        DataError: fewer than 2 (d + 1) rows.
    """
    x, y = _rows(x, y)
    least = min(len(x), len(y))
    if least < 2 * (x.shape[1] + 1):
        raise DataError(f"{least} rows of {x.shape[1]} features, expected at least {2 * (x.shape[1] + 1)} rows")
    smallest = max(least // 5, x.shape[1] + 1) / least
    inverse = torch.linspace(1.0, 1.0 / smallest, sizes, dtype=torch.float64)
    estimates = []
    for share in (1.0 / inverse).tolist():
        of_x = _random_rows(len(x), round(share * len(x)), rng, x.device)
        of_y = of_x if paired else _random_rows(len(y), round(share * len(y)), rng, y.device)
        estimates.append(frechet(x[of_x], y[of_y]))
    values = torch.tensor(estimates, dtype=torch.float64)
    slope, value = _line(inverse, values)
    residual = (values - value - slope * inverse).square().sum()
    spread = (values - values.mean()).square().sum()
    return Extrapolation(value, float(1.0 - residual / spread) if spread > 0 else 1.0)


def kad(x: Tensor, y: Tensor, *, paired: bool = False) -> float:
    """Compute the kernel audio distance, 100 times the unbiased squared MMD (Chung et al. 2025).

    Gaussian kernel `exp(-|a - b|^2 / (2 s^2))`; s is the median distance between rows of the *reference*, so that all
    that is measured against it has one scale.

    Args:
        x: rows [n, d] of the reference.
        y: rows [m, d].
        paired: row i of both comes from the same clip.

    Returns:
        The distance: 0 on average for equal distributions, below 0 by chance.
    """
    x, y = _rows(x, y)
    sample = x[torch.linspace(0, len(x) - 1, min(len(x), _MEDIAN_ROWS), device=x.device).long()]
    pair_distances = functional.pdist(sample)
    # 1 where all rows are identical, and so the median and mean are 0.
    width = float(pair_distances.median()) or float(pair_distances.mean()) or 1.0
    factor = -0.5 / width**2
    n, m = len(x), len(y)
    within_sets = (_kernel_sum(x, x, factor) - n) / (n * (n - 1)) + (_kernel_sum(y, y, factor) - m) / (m * (m - 1))
    if not paired:
        return 100.0 * (within_sets - 2.0 * _kernel_sum(x, y, factor) / (n * m))
    of_pairs = float(torch.exp(factor * (x - y).square().sum(1)).sum())
    return 100.0 * (within_sets - 2.0 * (_kernel_sum(x, y, factor) - of_pairs) / (n * (n - 1)))


def split_half_floor(
    x: Tensor, rng: Generator, distance: Callable[[Tensor, Tensor], float] = frechet, splits: int = 5
) -> float:
    """Return the mean absolute distance between random halves of one set: the level of "no difference".

    Args:
        x: Rows [n, d].
        rng: Random numbers.
        distance: Function of two sets of rows.
        splits: How many random halvings.

    Returns:
        The floor, 0 or more.

    Raises:
        DataError: Fewer than 4 rows.
    """
    if len(x) < 4:
        raise DataError(f"{len(x)} rows cannot be halved, expected at least 4")
    half, total = len(x) // 2, 0.0
    for _ in range(splits):
        order = _random_rows(len(x), 2 * half, rng, x.device)
        total += abs(distance(x[order[:half]], x[order[half:]]))
    return total / splits


def _rows(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return both as double [row, feature]. Raise `DataError` for wrong shapes, too few rows or values that are not
    finite.
    """
    if x.dim() != 2 or y.dim() != 2 or x.shape[1] != y.shape[1]:
        raise DataError(f"rows of shape {tuple(x.shape)} and {tuple(y.shape)}, expected [n, d] and [m, d]")
    if min(len(x), len(y)) < 2:
        raise DataError(f"{len(x)} and {len(y)} rows, expected at least 2 of each")
    x, y = x.detach().double(), y.detach().double()
    if not (x.isfinite().all() and y.isfinite().all()):
        raise DataError("rows hold NaN or infinity: the embedding failed on a clip")
    return x, y


def _root(matrix: Tensor) -> Tensor:
    """Return the symmetric square root of a positive semidefinite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


def _kernel_sum(a: Tensor, b: Tensor, factor: float) -> float:
    """Return the sum of `exp(factor |a_i - b_j|^2)` over all i and j."""
    at_once = max(1, _VALUES_PER_BLOCK // len(b))
    total = 0.0
    for start in range(0, len(a), at_once):
        total += float(torch.exp(factor * torch.cdist(a[start : start + at_once], b).square()).sum())
    return total


def _line(x: Tensor, y: Tensor) -> tuple[Tensor, float]:
    """Return slope and intercept of the least squares line."""
    from_mean = x - x.mean()
    slope = (from_mean * (y - y.mean())).sum() / from_mean.square().sum()
    return slope, float(y.mean() - slope * x.mean())


def _random_rows(rows: int, count: int, rng: Generator, device: torch.device) -> Tensor:
    return torch.randperm(rows, generator=rng, device=rng.device)[:count].to(device)
