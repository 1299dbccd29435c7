"""Class-wise whitening: what sets a class's mean spectrum apart from all others is divided out.

The response to a filter for each class, as in CUDA (Sadasivan et al., CVPR 2023). The attacker knows the labels. What
the recordings of a class have in common in their mean spectrum, such as the vowel of a word, is lost as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from bench.api import Adaptation, Clips, check_range
from bench.sound.envelopes import mean_levels, shaped
from bench.training.classification import labels


@dataclass(frozen=True)
class WhitenClassSpectrum(Adaptation[Clips]):
    """Filter the clips of each class by the inverse of its mean log spectrum relative to that of all classes.

    The filter has zero phase. Each bin's difference is scaled by the share of its square that is more than classes of
    so many unrelated clips would have.

    Attributes:
        strength: share of the difference, in decibels, that is removed, 0..1.
        limit: largest gain either way, dB.
        fewest: a class of fewer clips is left alone.
    """

    domains = ("audio",)
    requires = ("labels",)
    sweep = ("strength", 0.25, 1.0)
    paper = "Sadasivan et al. 2023, CVPR (CUDA: convolution-based unlearnable datasets), for the filters it answers"

    strength: float = 1.0
    limit: float = 20.0
    fewest: int = 4

    def __post_init__(self) -> None:
        check_range(self, "strength", least=0, most=1)
        check_range(self, "limit", least=0)
        check_range(self, "fewest", least=2)

    def transform(self, data: Clips, rng: Generator) -> Clips:
        label, classes = labels(data), len(data.classes)
        levels = mean_levels(data)
        count = label.bincount(minlength=classes)[:, None]
        zeros = levels.new_zeros(classes, levels.shape[1])
        mean = zeros.index_add(0, label, levels) / count.clamp_min(1)
        present = count > 0
        common = (mean * present).sum(0) / present.sum().clamp_min(1)
        scatter = zeros.index_add(0, label, (levels - mean[label]).square())
        chance = scatter / ((count - 1).clamp_min(1) * count.clamp_min(1))
        difference = mean - common
        shared = difference * (1 - chance / difference.square().clamp_min(1e-12)).clamp_min(0.0)
        gain = torch.where(count >= self.fewest, -self.strength * shared, 0.0).clamp(-self.limit, self.limit)
        return shaped(data, gain[label])
