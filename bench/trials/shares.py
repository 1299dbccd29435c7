"""A share of a set: which of its items are protected, and the set that is published."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Generator, Tensor

from bench.api import Clips, Data, Rolls
from bench.errors import DataError, unknown

__all__ = ["mixed", "protected_items"]


def protected_items(data: Data, share: float | str, rng: Generator) -> Tensor:
    """Draw the items that are protected.

    Args:
        data: the whole set.
        share: of the items of each class, rounded; or the name of a class, all of whose items are protected.
        rng: decides which.

    Returns:
        bool [item].

    Raises:
        DataError: the set has no class of that name.
    """
    if isinstance(share, str):
        if data.labels is None or share not in data.classes:
            raise DataError(unknown("class to protect alone", share, data.classes))
        return data.labels == data.classes.index(share)
    order = torch.rand(len(data), generator=rng, device=rng.device).to(data.device)
    labels = torch.zeros_like(data.lengths) if data.labels is None else data.labels
    by_class = torch.argsort(labels.double() + order)  # the items of the first class in random order, then the next
    counts = torch.bincount(labels, minlength=1)
    starts = counts.cumsum(0) - counts
    rank = torch.empty_like(labels)  # of each item within its class
    rank[by_class] = torch.arange(len(data), device=data.device) - starts[labels[by_class]]
    return rank < (share * counts[labels]).round()


def mixed(data: Data, protected: Data, where: Tensor) -> Data:
    """The published set: the protected items where `where`, bool [item], is true, else the data's."""

    def pick(new: Tensor, old: Tensor) -> Tensor:
        return new.where(where.view(-1, *[1] * (old.dim() - 1)), old)

    lengths = pick(protected.lengths, data.lengths)
    if isinstance(data, Clips) and isinstance(protected, Clips):
        return replace(data.with_audio(pick(protected.audio, data.audio)), lengths=lengths)
    assert isinstance(data, Rolls)
    assert isinstance(protected, Rolls)
    velocity, onset = pick(protected.velocity, data.velocity), pick(protected.onset, data.onset)
    return replace(data, velocity=velocity, onset=onset, lengths=lengths)
