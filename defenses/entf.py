"""Entangled features: noise that takes each clip's features away from its class, or to another class.

Wen et al. (ICLR 2023): other poisons plant a shortcut, which training against noise of the same radius ignores. Here
the features that such training relies on are moved: those of an adversarially trained surrogate, away from the mean of
the clip's class ("push") or to the nearest mean of another class ("pull"), so that the classes overlap in the published
set. Distances are Euclidean, between features of the last layer, relative to the mean distance of clean clips to the
mean of their class; those of several surrogates are averaged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn

from bench.api import Attacker, Clips, Defense, Knowledge, check_range
from bench.training.classification import classes, labels
from bench.training.crafting import Noise, apply_expected_adaptation, frozen, noise_bound, surrogates
from bench.training.objectives import descend, features, hardened_surrogates


@dataclass(frozen=True)
class EntF(Defense[Clips]):
    """Move the features of each clip away from its class by noise within +-`epsilon`. The clips need labels.

    Attributes:
        epsilon: bound on |noise|, full scale 1; the strength: 0.01 is 19 dB below spoken words.
        towards: "push": away from the mean of the clip's class; "pull": to the nearest mean of another class.
        hardened: train the surrogates adversarially, as the paper does; False is faster.
        radius: of the adversarial noise, full scale 1.
        attack_steps: sign steps of the adversary for each batch.
        steps: sign steps of the noise.
        step: size of a sign step, relative to `epsilon`.
        batch: clips a step.
    """

    domains = ("audio",)
    per = "clip"
    joint = True
    paper = "Wen et al. 2023, ICLR (Is Adversarial Training Really a Silver Bullet for Mitigating Data Poisoning?)"
    presets = {"smoke": {"steps": 5, "hardened": False}, "full": {"steps": 100, "step": 0.05, "attack_steps": 7}}

    epsilon: float = 0.01
    towards: Literal["push", "pull"] = "push"
    hardened: bool = True
    radius: float = 0.005
    attack_steps: int = 3
    steps: int = 20
    step: float = 0.1
    batch: int = 128

    def __post_init__(self) -> None:
        check_range(self, "epsilon", "radius", least=0, most=1)
        check_range(self, "attack_steps", "steps", "step", least=0)
        check_range(self, "batch", least=1)

    def protect(self, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
        """Add noise that entangles the features.

        Raises:
            UsageError: there is no surrogate.
            DataError: the clips have no labels.
        """
        label = labels(data)
        against = surrogates(knowledge, "entf")
        radius = self.radius if self.hardened else 0.0
        models = hardened_surrogates(against, data, rng, radius, self.attack_steps)
        noise = Noise.silent(data, noise_bound(data, self.epsilon, padding=False), "clip")
        start = 2 * torch.rand(noise.unit.shape, generator=rng, device=rng.device) - 1  # no slope at the mean itself
        noise.unit.copy_(self.step * start.to(data.device))
        with frozen(models):
            spaces = [self._space(a, m, data) for a, m in zip(against, models, strict=True)]

            def objective(changed: Clips, index: Tensor) -> Tensor:
                heard = apply_expected_adaptation(changed, knowledge.expects, rng)
                return torch.stack([space.value(heard, label[index], self.towards) for space in spaces]).mean(0)

            order = torch.arange(len(data), device=data.device)
            descend(noise, data, objective, order, steps=self.steps, step=self.step, batch=self.batch)
        return noise.everywhere(data)

    def _space(self, attacker: Attacker[Any], model: nn.Module, data: Clips) -> _Space:
        """Measure where a surrogate's features of the clean classes lie."""
        with torch.no_grad():
            parts = torch.split(torch.arange(len(data), device=data.device), self.batch)
            values = torch.cat([features(attacker, model, data.select(part))[0] for part in parts])
        label = labels(data)
        one_hot = nn.functional.one_hot(label, len(classes(data))).to(values.dtype)
        count = one_hot.sum(0)
        means = one_hot.T @ values / count.clamp_min(1)[:, None]
        spread = (values - means[label]).norm(dim=1).mean().clamp_min(1e-6)
        return _Space(attacker, model, means, count > 0, spread)


@dataclass(frozen=True, eq=False)
class _Space:
    """The features of a surrogate."""

    attacker: Attacker[Any]
    model: nn.Module
    means: Tensor  # [class, feature], of clean clips
    present: Tensor  # bool [class]
    spread: Tensor  # mean distance of a clean clip to its class's mean

    def value(self, clips: Clips, label: Tensor, towards: Literal["push", "pull"]) -> Tensor:
        """Return what is lowered: minus the distance to the own mean, or the distance to the nearest other one."""
        values, _ = features(self.attacker, self.model, clips)
        offsets = values[:, None] - self.means
        distance = (offsets.square().sum(2) + 1e-12).sqrt() / self.spread
        own = nn.functional.one_hot(label, len(self.means)).bool()
        if towards == "push" or int(self.present.sum()) < 2:
            return -distance[own]
        return distance.masked_fill(own | ~self.present, float("inf")).amin(1)
