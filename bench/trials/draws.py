"""What a seed draws from a training set: the items that are published, and those that the attacker is granted.

Every seed draws its own, so that intervals over seeds speak of other data too. The published items come in an order of
which every beginning is balanced over the classes: the smaller clean sets of the clean curve are beginnings of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from bench.api import Data
from bench.errors import DataError
from bench.results.statistics import FEWEST_GROUPS

__all__ = ["Draw", "draw"]


@dataclass(frozen=True, eq=False)
class Draw:
    """The items of one seed, as indices into the training set; no item is in two of them.

    Attributes:
        published: int64 [item], in the order of the clean curve.
        choosing: int64 [item], granted items by which the attacker chooses checkpoints and responses.
        training: int64 [item], granted items that it trains on.
    """

    published: Tensor
    choosing: Tensor
    training: Tensor

    def part(self, name: str) -> Tensor:
        """Return one of the three by its name."""
        parts = {"published": self.published, "choosing": self.choosing, "training": self.training}
        return parts[name]


def draw(data: Data, published: int, granted: int, rng: Generator) -> Draw:
    """Draw what is published and what is granted.

    Half of the granted items, rounded up, is for choosing and the rest for training. Where the set has at least
    `FEWEST_GROUPS` groups, the granted items are whole groups, cut after as many items as are granted.

    Args:
        data: the training set of the data set.
        published: how many items are published.
        granted: how many clean items the attacker has.
        rng: decides which.

    Raises:
        DataError: the set has too few items.
    """
    order = _balanced(data.labels, torch.arange(len(data), device=data.device), rng)
    given, rest = order[:granted], order[granted:]
    names = sorted(set(data.groups))
    if len(names) >= FEWEST_GROUPS:
        index = {name: at for at, name in enumerate(names)}
        groups = torch.tensor([index[name] for name in data.groups], device=data.device)
        place = _shuffle(len(names), rng, data.device)[groups]  # the place of each item's group in a random order
        by_group = order[torch.argsort(place[order], stable=True)]
        used = place <= place[by_group[granted - 1]] if granted else torch.zeros_like(place, dtype=torch.bool)
        given, rest = by_group[:granted], order[~used[order]]
    if len(rest) < published:
        raise DataError(
            f"{len(data)} training items in {len(names)} groups leave {len(rest)} to publish beside {granted} granted, "
            f"expected at least {published}: publish or grant fewer, or take more of the data set"
        )
    choosing = (granted + 1) // 2
    given = _balanced(data.labels, given, rng)
    rest = _balanced(data.labels, rest, rng)
    return Draw(published=rest[:published], choosing=given[:choosing], training=given[choosing:])


def _balanced(labels: Tensor | None, items: Tensor, rng: Generator) -> Tensor:
    """Order items at random so that every beginning has as many of each class as there are, to one item."""
    shuffled = items[torch.argsort(_shuffle(len(items), rng, items.device))]
    if labels is None or not len(items):
        return shuffled
    classes = labels[shuffled]
    rank = torch.empty_like(shuffled)  # of each item within its class
    for label in classes.unique():
        members = classes == label
        rank[members] = torch.arange(int(members.sum()), device=items.device)
    return shuffled[torch.argsort(rank, stable=True)]


def _shuffle(count: int, rng: Generator, device: torch.device) -> Tensor:
    """Return a random order, as the place of each of `count` things."""
    return torch.randperm(count, generator=rng, device=rng.device).to(device)
