"""EPIc: items that are alone in the space of gradients are left out of the training.

Effective poisons lie in regions of low density of that space, since they must push the model where no other item does.
Noise that many items share is not isolated and stays, so that a wholly protected set is hardly changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from bench.api import Adaptation, Attacker, Data, Log, check_range, silent_log
from bench.training.filtering import gradient_sketch, shortened, without


@dataclass(frozen=True)
class Epic(Adaptation[Data]):
    """Train briefly, cluster the items of each class by gradient, drop isolated medoids, and train anew on the rest.

    Medoids are chosen greedily by facility location: each one lowers most the sum of the distances from the items to
    their nearest medoid. One to which no other item belongs is isolated. The published method repeats this at later
    epochs, here it is repeated on what is left at the same gradients; gradients are random projections of those of all
    trained weights, in place of those of the last layer.

    Attributes:
        share: share of the items that is left out at most, 0 to under 1; the most isolated ones leave first.
        medoids: medoids of a class as a share of its items, 0..1; more medoids are more often isolated.
        rounds: how often the rest is clustered again.
        early: share of the attacker's epochs (or steps) after which the gradients are taken, more than 0 to 1.
        directions: random directions onto which gradients are projected, two forward passes each.
    """

    domains = ("audio", "midi")
    sweep = ("share", 0.05, 0.5)
    paper = "Yang et al. 2022, ICML (Not all poisons are created equal)"

    share: float = 0.2
    medoids: float = 0.1
    rounds: int = 3
    early: float = 0.3
    directions: int = 16

    def __post_init__(self) -> None:
        if not 0.0 <= self.share < 1.0:
            raise ValueError(f"share = {self.share}, expected 0 to under 1, such as 0.2")
        check_range(self, "medoids", least=0, most=1)
        check_range(self, "rounds", "directions", least=1)
        check_range(self, "early", above=0, most=1)

    def train(self, attacker: Attacker[Data], train: Data, validation: Data, rng: Generator, *, log: Log) -> nn.Module:
        model = shortened(attacker, self.early).learn(train, validation, rng, log=silent_log)
        gradients = gradient_sketch(attacker, model, train, self.directions, rng)
        group = (
            torch.zeros(len(train), dtype=torch.int64, device=train.device) if train.labels is None else train.labels
        )
        suspicion = torch.full((len(train),), -torch.inf, dtype=gradients.dtype, device=train.device)
        for _ in range(self.rounds):
            rest = (suspicion == -torch.inf).nonzero()[:, 0]
            for members in (rest[group[rest] == number] for number in group[rest].unique().tolist()):
                medoid, distance = isolated(gradients[members], math.ceil(self.medoids * len(members)))
                suspicion[members[medoid]] = distance
        return attacker.learn(without(train, suspicion, math.floor(self.share * len(train))), validation, rng, log=log)


def isolated(rows: Tensor, medoids: int) -> tuple[Tensor, Tensor]:
    """Find the medoids to which no other item belongs.

    Args:
        rows: [item, feature].
        medoids: How many medoids.

    Returns:
        int64 [medoid], those that are isolated, and [medoid], their distances to the nearest other item.
    """
    distance = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = torch.full_like(distance[0], float(distance.amax()) + 1.0)
    chosen: list[Tensor] = []
    for _ in range(min(medoids, len(rows))):
        gain = (nearest[:, None] - distance).clamp_min(0.0).sum(0)
        if chosen:
            gain[torch.stack(chosen)] = -1.0
        chosen.append(gain.argmax())
        nearest = torch.minimum(nearest, distance[:, chosen[-1]])
    if not chosen:
        return torch.zeros(0, dtype=torch.int64, device=rows.device), rows.new_zeros(0)
    medoid = torch.stack(chosen)
    size = distance[:, medoid].argmin(1).bincount(minlength=len(medoid))
    alone = medoid[size == 1]
    others = distance[alone].scatter(1, alone[:, None], torch.inf)
    beside = others.amin(1)
    return alone[beside.isfinite()], beside[beside.isfinite()]
