"""Let a model rate continuations of published items, as they were before protection, and of unpublished ones.

Of some items of both kinds the part before the middle is a prompt, the part after it the continuation. The model says
how likely every item's own continuation is after its prompt, and continuations of other items, its rivals. These are of
unpublished items alone: published ones may be memorised as well, which would hide that an item's own is, and would put
unpublished items below chance. `bench.results.memorisation` says what follows.

A prompt and a continuation are read apart and joined, so that an item's own continuation has no seam that others lack.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Generator, Tensor, nn

from bench.api import Clips, Data, Rolls, concatenate
from bench.errors import PluginError
from bench.vocabulary import PerDomain

__all__ = ["PIECES", "halves", "rated"]

S = TypeVar("S", Clips, Rolls, Data)
PIECES = 5  # of each kind, and candidates of each prompt: the time grows with the square
_SECONDS, _BEATS = 2.0, 16  # the longest prompt and continuation


def rated(attacker: Any, model: nn.Module, published: Data, unpublished: Data, rng: Generator) -> Tensor:
    """Compute the log-likelihood of continuations after prompts.

    Args:
        attacker: An attacker with a `continuation`.
        model: Its model, in evaluation mode.
        published: The clean originals of what was published.
        unpublished: Items of the same kind that the model has not seen.
        rng: Draws the items: of as many groups as there are. The same state draws the same ones.

    Returns:
        float [2 * n * n] for n items of each kind, as `bench.results.memorisation` reads it: of each item's own
        continuation, the published ones first, and of its n - 1 rivals, item by item. Empty where there are fewer than
        two items of a kind that can be cut.

    Raises:
        PluginError: The attacker returned another number of values than pairs.
    """
    size, sets = _size(published, unpublished), (published, unpublished)
    pools = [[at for at in _drawn(data, rng) if data.lengths[at] >= 2 * size] for data in sets]
    count = min(PIECES, *map(len, pools))
    if count < 2 or size < 1:
        return torch.zeros(0)
    chosen = [
        _numbered(data.select(pool[:count]), kind * count)
        for kind, (data, pool) in enumerate(zip(sets, pools, strict=True))
    ]
    prompts, continuations = halves(concatenate(*chosen), size)
    pairs = _pairs(count).to(published.device)
    with torch.no_grad():
        values: Tensor = attacker.continuation(model, prompts, continuations, pairs)
    if tuple(values.shape) != (len(pairs),):
        raise PluginError(f"continuation has shape {tuple(values.shape)}, expected ({len(pairs)},), one value a pair")
    return values


def halves(items: S, size: int) -> tuple[S, S]:
    """Cut items at their middle.

    Args:
        items: Items of at least twice `size`.
        size: Samples or steps of each part.

    Returns:
        The part before the middle of each item, and the part after it. A note held over the cut is struck again.
    """
    middle = items.lengths // 2
    return _cut(items, middle - size, size), _cut(items, middle, size)


def _cut(items: Data, first: Tensor, size: int) -> Any:
    """Take `size` samples or steps of every item, from `first` on."""

    def at(values: Tensor) -> Tensor:  # both sets count time on the third axis
        return torch.stack([values[i, :, start : start + size] for i, start in enumerate(first.tolist())])

    return _CUT.of(items)(items, at, torch.full_like(items.lengths, size))


def _cut_clips(clips: Clips, at: Callable[[Tensor], Tensor], lengths: Tensor) -> Clips:
    return replace(clips, audio=at(clips.audio), lengths=lengths, stems=None, stem_names=(), whole=0)


def _cut_rolls(rolls: Rolls, at: Callable[[Tensor], Tensor], lengths: Tensor) -> Rolls:
    velocity, onset = at(rolls.velocity), at(rolls.onset)
    onset[:, :, 0] |= velocity[:, :, 0] > 0
    return replace(rolls, velocity=velocity, onset=onset, lengths=lengths, whole=0)


def _size(published: Data, unpublished: Data) -> int:
    """Return the length of prompts and continuations: half of most items, as far as that is not too long."""
    half = int(torch.cat([published.lengths, unpublished.lengths]).median()) // 2
    size: int = min(half, _LONGEST.of(published)(published))
    if isinstance(published, Rolls):
        bar = published.steps_per_beat * published.beats_per_bar
        return size - size % bar if size >= bar else size
    return size


def _drawn(data: Data, rng: Generator) -> list[int]:
    """Return all items in a random order in which the groups take turns."""
    order = torch.randperm(len(data), generator=rng, device=rng.device).tolist()
    turns: dict[str, int] = {}
    turn = {}
    for at in order:
        turn[at] = turns[data.groups[at]] = turns.get(data.groups[at], 0) + 1
    return sorted(order, key=lambda at: turn[at])


def _numbered(data: Data, first: int) -> Data:
    """Return items whose ids are numbers: those of two sets may be alike."""
    ids = tuple(str(first + at) for at in range(len(data)))
    return replace(data, ids=ids, groups=ids)


def _pairs(count: int) -> Tensor:
    """Pair each of `count` published and as many unpublished prompts with its own continuation, then with its rivals.

    The rivals are all unpublished continuations but one: its own, or that in its place.
    """
    own = [[item, item] for item in range(2 * count)]
    rivals = [[item, count + at] for item in range(2 * count) for at in range(count) if at != item % count]
    return torch.tensor(own + rivals)


_CUT: PerDomain[Callable[[Any, Callable[[Tensor], Tensor], Tensor], Data]] = PerDomain(
    audio=_cut_clips, midi=_cut_rolls
)
_LONGEST: PerDomain[Callable[[Any], int]] = PerDomain(
    audio=lambda clips: round(_SECONDS * clips.rate), midi=lambda rolls: _BEATS * rolls.steps_per_beat
)
