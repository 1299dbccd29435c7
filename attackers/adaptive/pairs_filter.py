"""A detector of protected clips, learnt from pairs: published clips that look protected are left out.

In a partly protected set the clean rest is what teaches most. The attacker knows the defense and thus what it does to
spectra: logistic regression on mean and deviation of log-Mel bands tells its own clean clips from their protected
versions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from bench.api import Adaptation, Clips, check_range
from bench.sound.spectra import frames_inside, hop_size, hz_to_mel, power, stft

_FLOOR = 1e-9  # power in a band, beside that of a recording of RMS 1
_STEPS = 25  # of Newton's method; it settles sooner


@dataclass(frozen=True)
class PairsFilter(Adaptation[Clips]):
    """Leave out the published clips that a detector finds protected; at least one of each class stays.

    Attributes:
        share: largest share of the clips that is left out, 0 to 0.95; more removes more, protected or not.
        certainty: probability from which a clip counts as protected, over 0.5 to 1.
        bands: Mel bands of the features.
        ridge: weight of the regulariser, for features of deviation 1; more makes probabilities more moderate.
    """

    domains = ("audio",)
    requires = ("pairs",)
    sweep = ("share", 0.1, 0.9)
    paper = "Cox 1958, JRSS B 20 (The regression analysis of binary sequences)"

    share: float = 0.5
    certainty: float = 0.7
    bands: int = 16
    ridge: float = 1.0

    def __post_init__(self) -> None:
        check_range(self, "share", least=0, most=0.95)
        check_range(self, "certainty", above=0.5, most=1)
        check_range(self, "bands", least=1)
        check_range(self, "ridge", above=0)

    def transform_with_pairs(self, data: Clips, clean: Clips, protected: Clips, rng: Generator) -> Clips:
        first, second = self._features(clean), self._features(protected)
        rows = torch.cat([first, second])
        centre, spread = rows.mean(0), rows.std(0).clamp_min(1e-3)
        is_protected = torch.arange(len(rows), device=data.device) >= len(first)
        weights = _logistic(_with_constant((rows - centre) / spread), is_protected.double(), self.ridge)
        probability = torch.sigmoid(_with_constant((self._features(data) - centre) / spread) @ weights)
        order = probability.argsort(stable=True)  # the least suspicious first
        keep = torch.zeros(len(data), dtype=torch.bool, device=data.device)
        keep[order[: len(data) - math.floor(self.share * len(data))]] = True
        keep |= probability < self.certainty
        label = data.labels if data.labels is not None else torch.zeros_like(data.lengths)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device)
        best = torch.full((max(1, len(data.classes)),), len(data), device=data.device).scatter_reduce(
            0, label, rank, "amin"
        )
        keep[order[best[best < len(data)]]] = True
        return data.select(keep.nonzero()[:, 0])

    def _features(self, clips: Clips) -> Tensor:
        """Compute mean and deviation over time of log-Mel bands at RMS 1: float64 [clip, 2 bands]."""
        cells = power(stft(clips.audio.detach().mean(1, keepdim=True), clips.rate))[:, 0].double()
        inside = frames_inside(clips.lengths, cells.shape[-1], hop_size(clips.rate))[:, None]
        frames = inside.sum(-1).clamp_min(1)
        level = (cells * inside).sum((1, 2), keepdim=True) / frames[..., None]
        hz = torch.linspace(0, clips.rate / 2, cells.shape[1], device=cells.device, dtype=cells.dtype)
        band = (hz_to_mel(hz) / hz_to_mel(hz[-1]) * self.bands).long().clamp(max=self.bands - 1)
        sums = torch.zeros((len(clips), self.bands, cells.shape[-1]), device=cells.device, dtype=cells.dtype)
        values = (sums.index_add(1, band, cells / level.clamp_min(1e-12)) + _FLOOR).log()
        mean = (values * inside).sum(-1) / frames
        deviation = (((values - mean[..., None]).square() * inside).sum(-1) / frames).sqrt()
        return torch.cat([mean, deviation], 1)


def _with_constant(rows: Tensor) -> Tensor:
    return torch.cat([rows, torch.ones_like(rows[:, :1])], 1)


def _logistic(rows: Tensor, target: Tensor, ridge: float) -> Tensor:
    """Fit logistic regression by Newton's method; the last weight is that of the constant and not regularised.

    Args:
        rows: float64 [item, feature].
        target: float64 [item], 0 or 1.
        ridge: Weight of the regulariser.

    Returns:
        float64 [feature].
    """
    weights = torch.zeros_like(rows[0])
    penalty = torch.full_like(weights, ridge)
    penalty[-1] = 1e-6
    for _ in range(_STEPS):
        probability = torch.sigmoid(rows @ weights)
        slope = rows.T @ (probability - target) + penalty * weights
        curvature = rows.T @ (rows * (probability * (1 - probability))[:, None]) + torch.diag(penalty)
        weights = weights - torch.linalg.solve(curvature, slope)
    return weights
