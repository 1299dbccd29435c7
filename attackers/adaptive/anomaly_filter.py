"""Outlier removal: the items that lie farthest from the rest of the training set are left out.

In a partly protected set, protected clips differ from the others in bands, pauses and peaks. The distance is that of
twelve features under a robust covariance.

For rolls the features are those of `bench.metrics.symbolic.features`: rhythms, pitch classes, durations, tonal distance
between tracks. EPIc (Yang et al., "Not All Poisons are Created Equal", ICML 2022) drops what is isolated in the space
of gradients; here it is the space of features, so that one filtered set serves every model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from bench.api import Adaptation, Clips, Data, Rolls
from bench.metrics import symbolic
from bench.sound.spectra import frames_inside, hop_size, hz_to_mel, power, stft

_BANDS = 6  # of equal width in Mel
_LEAST = 1e-10
_ROUNDS = 10  # of concentration; it settles sooner
_AT_ONCE = 1 << 22  # samples


@dataclass(frozen=True)
class AnomalyFilter(Adaptation[Data]):
    """Leave out the items of the largest robust Mahalanobis distance; at least one of each class stays.

    Mean and covariance are those of the half of the set that lies closest together, found by concentration steps.

    Attributes:
        share: share of the items that is left out, 0 to under 1.
    """

    domains = ("audio", "midi")
    sweep = ("share", 0.05, 0.5)
    paper = "Rousseeuw and Van Driessen 1999, Technometrics 41"

    share: float = 0.2

    def __post_init__(self) -> None:
        if not 0.0 <= self.share < 1.0:
            raise ValueError(f"share = {self.share}, expected 0 to under 1, such as 0.2")

    def transform(self, data: Clips | Rolls, rng: Generator) -> Clips | Rolls:
        values = features(data) if isinstance(data, Clips) else symbolic.features(data).double()
        order = distances(values).argsort(stable=True)  # the least anomalous first
        keep = torch.zeros(len(data), dtype=torch.bool, device=data.device)
        keep[order[: len(data) - math.floor(self.share * len(data))]] = True
        if data.labels is not None:
            rank = torch.empty_like(order)
            rank[order] = torch.arange(len(order), device=order.device)
            first = torch.full((len(data.classes),), len(data), device=data.device)
            first = first.scatter_reduce(0, data.labels, rank, "amin")
            keep[order[first[first < len(data)]]] = True
        return data.select(keep.nonzero()[:, 0])


def features(data: Clips) -> Tensor:
    """Compute twelve features of each clip, none of which depends on its gain.

    In this order: shares of six frequency bands, spectral flatness, power of pauses and crest factor (decibels), peak
        over
    mean of the mean spectrum (decibels), zero crossings a sample, and kurtosis.

    Returns:
        float64 [clip, 12].
    """
    size = max(1, _AT_ONCE // max(1, data.audio[:1].numel()))
    return torch.cat(
        [_features(data.select(part)) for part in torch.split(torch.arange(len(data), device=data.device), size)]
    )


def distances(values: Tensor) -> Tensor:
    """Compute the robust squared Mahalanobis distance of every row from the bulk of the set.

    The minimum covariance determinant by concentration steps (Rousseeuw and Van Driessen, Technometrics 41, 1999); with
    fewer than four rows a feature, the covariance is left out.

    Args:
        values: float64 [item, feature].

    Returns:
        float64 [item].
    """
    median = values.median(0).values
    spread = 1.4826 * (values - median).abs().median(0).values
    rows = (values - median) / torch.where(spread > 1e-9, spread, 1.0)
    squared_distance = rows.square().sum(1)
    count, size = rows.shape
    if count < 4 * size:
        return squared_distance  # too few for a covariance
    bulk_size = (count + size + 1) // 2
    for _ in range(_ROUNDS):
        bulk = rows[squared_distance.argsort(stable=True)[:bulk_size]]
        centred = bulk - bulk.mean(0)
        covariance = centred.T @ centred / bulk_size + 1e-6 * torch.eye(size, dtype=rows.dtype, device=rows.device)
        deviation = rows - bulk.mean(0)
        squared_distance = (deviation * torch.linalg.solve(covariance, deviation.T).T).sum(1)
    return squared_distance


def _features(data: Clips) -> Tensor:
    """Compute the features of clips that fit in memory together."""
    sound = data.audio.detach().double().mean(1)
    support = data.support[:, 0]
    count = data.lengths.clamp_min(1)
    energy = sound.square().sum(-1) / count
    kurtosis = (sound**4).sum(-1) / count / (energy.square() + _LEAST)
    crest = _db(sound.abs().amax(-1).square(), energy)
    crossings = ((sound[:, 1:] * sound[:, :-1] < 0) & support[:, 1:]).sum(-1) / count

    cells = power(stft(data.audio.detach().mean(1, keepdim=True), data.rate)).double()
    inside = frames_inside(data.lengths, cells.shape[-1], hop_size(data.rate))[:, None, None]
    cells = (cells * inside)[:, 0]  # [clip, bin, frame]
    mean = cells.sum(-1) / inside[:, 0].sum(-1).clamp_min(1)
    hz = torch.linspace(0, data.rate / 2, mean.shape[1], device=data.device, dtype=mean.dtype)
    band = (hz_to_mel(hz) / hz_to_mel(hz[-1]) * _BANDS).long().clamp(max=_BANDS - 1)
    shares = torch.zeros(len(data), _BANDS, dtype=mean.dtype, device=data.device).index_add(1, band, mean)
    geometric_mean = (mean + _LEAST).log().mean(1).exp()
    loudness = cells.sum(1)
    quiet = loudness.masked_fill(~inside[:, 0, 0], torch.inf).sort(-1).values
    index = (inside[:, 0, 0].sum(-1) // 10)[:, None]
    pause = torch.where(inside.any((1, 2, 3)), quiet.gather(1, index)[:, 0], 0.0)
    return torch.cat(
        [
            _db(shares, mean.sum(1, keepdim=True)),
            torch.stack([_db(geometric_mean, mean.mean(1)), _db(pause, loudness.amax(-1)), crest], 1),
            torch.stack([_db(mean.amax(1), mean.mean(1)), crossings, kurtosis.clamp(max=1e3)], 1),
        ],
        1,
    )


def _db(part: Tensor, whole: Tensor) -> Tensor:
    """Express a ratio of powers in decibels."""
    return 10.0 * torch.log10((part + _LEAST) / (whole + _LEAST))
