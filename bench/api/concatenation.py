"""One set made of two: published items beside those that an attacker was granted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bench.api.sets import Clips, Data, Rolls
from bench.errors import DataError
from bench.vocabulary import PerDomain

__all__ = ["concatenate"]


def concatenate(first: Data, second: Data) -> Data:
    """Concatenate two sets of the same kind; the shorter items are padded at their end.

    Args:
        first: a set of clips or rolls.
        second: a set of the same kind, rate, channels, tracks, pitches and classes, with other ids.

    Returns:
        The items of the first and then of the second. Stems and texts are kept where both sets have them.

    Raises:
        DataError: where the sets do not fit.
    """
    if type(first) is not type(second):
        raise DataError(f"{type(second).__name__} beside {type(first).__name__}, expected two sets of one kind")
    for name in _MUST_AGREE.of(first):
        one, other = getattr(first, name), getattr(second, name)
        if one != other:
            raise DataError(f"the sets to concatenate differ in {name}: {one} and {other}")
    if (first.labels is None) != (second.labels is None):
        raise DataError("one of the sets to concatenate has labels and the other has none")
    return _CONCATENATED.of(first)(first, second, _shared(first, second))


def _shared(first: Data, second: Data) -> dict[str, Any]:
    """Return the fields that clips and rolls have in common, of both sets."""
    both_described = bool(first.texts) and bool(second.texts)
    labels = None if first.labels is None or second.labels is None else torch.cat([first.labels, second.labels])
    return {
        "ids": first.ids + second.ids,
        "groups": first.groups + second.groups,
        "lengths": torch.cat([first.lengths, second.lengths]),
        "labels": labels,
        "texts": first.texts + second.texts if both_described else (),
        "whole": 0,
    }


def _clips(first: Clips, second: Clips, shared: dict[str, Any]) -> Clips:
    stems = None
    if first.stems is not None and second.stems is not None and first.stem_names == second.stem_names:
        stems = _padded(first.stems, second.stems, -1)
    names = first.stem_names if stems is not None else ()
    return replace(first, audio=_padded(first.audio, second.audio, -1), stems=stems, stem_names=names, **shared)


def _rolls(first: Rolls, second: Rolls, shared: dict[str, Any]) -> Rolls:
    return replace(
        first,
        velocity=_padded(first.velocity, second.velocity, 2),
        onset=_padded(first.onset, second.onset, 2),
        tempo=torch.cat([first.tempo, second.tempo]),
        **shared,
    )


def _padded(first: Tensor, second: Tensor, axis: int) -> Tensor:
    """Concatenate along the first axis after padding the shorter tensor with zeros at the end of `axis`."""
    axis %= first.dim()
    longest = max(first.shape[axis], second.shape[axis])

    def pad(values: Tensor) -> Tensor:
        missing = longest - values.shape[axis]
        return functional.pad(values, [0, 0] * (values.dim() - 1 - axis) + [0, missing]) if missing else values

    return torch.cat([pad(first), pad(second)])


_MUST_AGREE: PerDomain[tuple[str, ...]] = PerDomain(
    audio=("rate", "classes"),
    midi=("programs", "lowest", "steps_per_beat", "beats_per_bar", "classes"),
)
_CONCATENATED: PerDomain[Callable[[Any, Any, dict[str, Any]], Data]] = PerDomain(audio=_clips, midi=_rolls)
