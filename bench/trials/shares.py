"""Protect only a share of a set: draw the items, and build the set that is published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor

from bench.api import Clips, Data, Rolls
from bench.errors import DataError, unknown
from bench.vocabulary import PerDomain

__all__ = ["mix", "protected_items"]


def protected_items(data: Data, share: float | str, rng: Generator) -> Tensor:
    """Draw the items that are protected.

    Args:
        data: The whole set.
        share: The share of the items of each class, rounded; or the name of a class, all of whose items are protected.
        rng: Draws the items.

    Returns:
        bool [item].

    Raises:
        DataError: The set has no class of that name.
    """
    if isinstance(share, str):
        if data.labels is None or share not in data.classes:
            raise DataError(unknown("class to protect alone", share, data.classes))
        return data.labels == data.classes.index(share)
    order = torch.rand(len(data), generator=rng, device=rng.device).to(data.device)
    labels = torch.zeros_like(data.lengths) if data.labels is None else data.labels
    by_class = torch.argsort(labels.double() + order)  # class by class, each in random order
    counts = torch.bincount(labels, minlength=1)
    starts = counts.cumsum(0) - counts
    rank = torch.empty_like(labels)  # position of each item in its class
    rank[by_class] = torch.arange(len(data), device=data.device) - starts[labels[by_class]]
    return rank < (share * counts[labels]).round()


def mix(data: Data, protected: Data, mask: Tensor) -> Data:
    """Return the published set: protected items where the mask is true, clean ones elsewhere.

    Args:
        data: The clean set.
        protected: The same items, protected.
        mask: bool [item].

    Returns:
        The set.
    """

    def pick(new: Tensor, old: Tensor) -> Tensor:
        return new.where(mask.view(-1, *[1] * (old.dim() - 1)), old)

    blended: Data = _BLENDED.of(data)(data, protected, pick)
    return replace(blended, lengths=pick(protected.lengths, data.lengths))


Pick = Callable[[Tensor, Tensor], Tensor]


def _blended_clips(data: Clips, protected: Clips, pick: Pick) -> Clips:
    return data.with_audio(pick(protected.audio, data.audio))


def _blended_rolls(data: Rolls, protected: Rolls, pick: Pick) -> Rolls:
    return replace(data, velocity=pick(protected.velocity, data.velocity), onset=pick(protected.onset, data.onset))


_BLENDED: PerDomain[Callable[[Any, Any, Pick], Any]] = PerDomain(audio=_blended_clips, midi=_blended_rolls)
