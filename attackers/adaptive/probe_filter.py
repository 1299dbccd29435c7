"""A linear probe tells published from granted items; what looks protected is left out.

Where only a part of what is published is protected, the rest looks like the granted items. Noise that a linear model
separates from clean items (Yu et al., "Availability attacks create shortcuts", KDD 2022) gives itself away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from bench.api import Adaptation, Attacker, Clips, Data, Log, Rolls, check_range, concatenate
from bench.errors import DataError
from bench.metrics import symbolic
from bench.sound.bands import band_statistics
from bench.training.filtering import without

_INTERCEPT = 100.0  # square of a constant feature, relative to the mean energy: hardly regularised


@dataclass(frozen=True)
class ProbeFilter(Adaptation[Data]):
    """Leave out the published items that a probe scores higher than most granted ones, then train on the rest.

    The probe is ridge regression on whether an item is published, both sides of equal weight. Every item is scored by
    the probe that was fitted without it (in closed form), so that of items like the granted ones hardly more than
    `1 - outscored` leave. At least one item of each class stays.

    Attributes:
        share: share of the published items that is left out at most, 0..1; the highest scores leave first.
        outscored: share of the granted items that an item must outscore to leave, more than 0 to 1; less removes more
            protected items, and more others. Of spoken digits with 30 granted clips, 0.9 removes 11 % of clean ones,
            51 % of those with `error_maximizing` noise and all of those with `noise`; 0.8 removes 13 %, 73 % and all.
        view: what the probe reads of clips: "logmel", mean and standard deviation of bands, or "waveform", samples.
            Of rolls it reads features such as rhythm, density and pitch classes.
        ridge: weight of the regulariser, relative to the mean energy of an item; more follows single items less.
    """

    domains = ("audio", "midi")
    requires = ("granted",)
    sweep = ("outscored", 1.0, 0.7)
    paper = "Yu et al. 2022, KDD (Availability attacks create shortcuts)"

    share: float = 1.0
    outscored: float = 0.9
    view: Literal["logmel", "waveform"] = "logmel"
    ridge: float = 3.0

    def __post_init__(self) -> None:
        check_range(self, "share", least=0, most=1)
        check_range(self, "outscored", above=0, most=1)
        check_range(self, "ridge", above=0)

    def train_with_granted(
        self, attacker: Attacker[Data], train: Data, granted: Data, validation: Data, rng: Generator, *, log: Log
    ) -> nn.Module:
        if not len(granted):
            raise DataError("probe_filter: no granted item is for training, expected `granted` of at least 2")
        both = concatenate(train, granted)
        published = torch.arange(len(both), device=both.device) < len(train)
        scores = left_out_scores(self._rows(both), published, self.ridge)
        suspicion, clean = scores[: len(train)], scores[len(train) :].sort().values
        threshold = clean[math.ceil(self.outscored * len(clean)) - 1]
        suspicion = torch.where(suspicion > threshold, suspicion, -torch.inf)
        rest = without(train, suspicion, math.floor(self.share * len(train)))
        kept = replace(concatenate(rest, granted), whole=train.epoch_items + len(granted))
        return attacker.learn(kept, validation, rng, log=log)

    def _rows(self, data: Clips | Rolls) -> Tensor:
        """Return what the probe reads: float64 [item, feature]."""
        if isinstance(data, Clips) and self.view == "waveform":
            sound = data.audio.detach().flatten(1).double()
            unit: Tensor = sound / sound.norm(dim=1, keepdim=True).clamp_min(1e-10)
            return unit
        rows = (symbolic.features(data) if isinstance(data, Rolls) else band_statistics(data)).double()
        spread = rows.std(0, correction=0)
        return (rows - rows.mean(0)) / torch.where(spread > 1e-6, spread, torch.inf)


def left_out_scores(rows: Tensor, published: Tensor, ridge: float) -> Tensor:
    """Score each item by the ridge regression that is fitted to all others.

    Args:
        rows: [item, feature].
        published: bool [item], the target.
        ridge: Weight of the regulariser, relative to the mean energy of an item.

    Returns:
        [item], higher is more like the published ones.
    """
    part = published.double().mean()
    root = torch.where(published, 0.5 / part, 0.5 / (1 - part)).to(rows).sqrt()
    energy = rows.square().sum(1).mean().clamp_min(1e-12)
    gram = rows @ rows.T + _INTERCEPT * energy
    gram = root[:, None] * gram * root
    hat = torch.linalg.solve(gram + ridge * energy * torch.eye(len(rows), dtype=rows.dtype, device=rows.device), gram)
    target = root * torch.where(published, 1.0, -1.0).to(rows)
    left_out_residual = (target - hat @ target) / (1 - hat.diagonal()).clamp_min(1e-9)
    scores: Tensor = (target - left_out_residual) / root
    return scores
