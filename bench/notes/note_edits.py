"""Edits of notes on the grid: written back as rolls, dealt anew within groups, held longer, bounded by their maskers.

A *group* is whatever notes may trade places within: those of a roll, or of a track of a roll. Everything is a sort or a
scatter over all notes of a set at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor
from torch.nn import functional

from bench.api import Rolls
from bench.notes.restrikes import dominant, threshold_velocity
from bench.notes.rolls import DRUMS, Notes, grid

__all__ = ["Maskers", "cells_of", "dealt", "lengthened", "maskers", "medians", "ranks", "to_rolls"]

DEALS = 100  # each leaves a part of what is wrong


def to_rolls(notes: Notes, like: Rolls) -> Rolls:
    """The notes as rolls in the shape of `like`; what lies beyond a roll's length is cut off.

    Overlaps are settled as `bench.notes.rolls.grid` settles them. Raises `DataError` for a pitch out of range.
    """
    end = torch.minimum(notes.end, like.lengths[notes.roll])
    rolls, tracks, steps, pitches = like.velocity.shape
    inside = replace(notes, duration=end - notes.start)
    velocity, onset = grid(inside, rolls, tracks, steps, like.lowest, pitches)
    return replace(like, velocity=velocity, onset=onset)


def cells_of(notes: Notes, rolls: Rolls) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where the notes begin: the index of their first cells in tensors [roll, track, step, pitch]."""
    return notes.roll, notes.track, notes.start, notes.pitch - rolls.lowest


def ranks(group: Tensor, rng: Generator) -> Tensor:
    """int64 [note]: a random number of its own for each note among the n of its group, 0 .. n - 1. group: int64."""
    order = torch.rand(len(group), generator=rng, device=rng.device).to(group.device).argsort()
    order = order[group[order].argsort(stable=True)]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device) - _first(group)[group[order]]
    return rank


def dealt(group: Tensor, rng: Generator, wrong: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """int64 [note]: for each note a note of its group, each once, at random; `values[dealt(...)]` deals them anew.

    wrong: dealt notes -> bool [note], those that got what they cannot have; they are dealt again among themselves and
    as many others, `DEALS` times at most.
    """
    place = torch.arange(len(group), device=group.device)
    again = torch.ones_like(group, dtype=torch.bool)
    for _ in range(DEALS):
        at = again.nonzero()[:, 0]
        some = group[at]
        place[at] = place[at][some.argsort(stable=True)[_first(some)[some] + ranks(some, rng)]]
        bad = wrong(place) if wrong else None
        if bad is None or not bad.any():
            break
        share = torch.bincount(group, bad.double()) / torch.bincount(group).clamp(min=1)
        drawn = torch.rand(len(group), generator=rng, device=rng.device).to(group.device)
        again = bad | (drawn < share[group])
    return place


def medians(values: Tensor, group: Tensor) -> Tensor:
    """[note]: the median of the values of each note's group, the lower one of two."""
    order = values.argsort(stable=True)
    order = order[group[order].argsort(stable=True)]
    middle = _first(group) + (torch.bincount(group) - 1).clamp(min=0) // 2
    return values[order[middle[group]]]


def lengthened(notes: Notes, like: Rolls, cells: Tensor, most: Tensor, rng: Generator) -> Notes:
    """Notes held longer, in random order until `cells` int64 [roll] more cells sound, each by at most `most` [roll].

    No note is held into the next one of its pitch, nor beyond the roll's length: where all are held so far, fewer cells
    sound. The notes come as `bench.notes.rolls.notes_of` orders them.
    """
    same = torch.stack([notes.roll, notes.track, notes.pitch]).diff(dim=1).eq(0).all(0)
    limit = like.lengths[notes.roll]
    limit[:-1] = torch.where(same, notes.start[1:], limit[:-1])
    place = _first(notes.roll)[notes.roll] + ranks(notes.roll, rng)
    room = torch.empty_like(limit)
    room[place] = torch.minimum(limit - notes.end, most[notes.roll])
    before = room.cumsum(0) - room  # in the random order, over all rolls
    spent = before - before[_first(notes.roll)[notes.roll]]
    more = torch.minimum(room, (cells[notes.roll] - spent).clamp(min=0))
    return replace(notes, duration=notes.duration + more[place])


@dataclass(frozen=True, eq=False)
class Maskers:
    """The dominant note of every window, and how loud noise on it may be: [roll, track, window] each."""

    pitch: Tensor  # int64, the cell of the dominant pitch, -1 without one
    low: Tensor  # H, velocities 0..1
    high: Tensor  # kappa M; there is no noise where it is not above `low`
    size: int  # steps of a window

    @property
    def open(self) -> Tensor:
        """bool: there is a dominant note, and it leaves room."""
        return (self.pitch >= 0) & (self.high > self.low)

    def of(self, notes: Notes, lowest: int) -> tuple[Tensor, Tensor, Tensor]:
        """For each note whether it is the dominant one of an open window, and the two bounds there: [note]."""
        at = (notes.roll, notes.track, notes.start // self.size)
        return self.open[at] & (self.pitch[at] == notes.pitch - lowest), self.low[at], self.high[at]


def maskers(rolls: Rolls, size: int, level_127_db: float = 80.0, offset_db: float = 0.0) -> Maskers:
    """The bounds of HarmonyCloak in windows of `size` steps: from H(f) to M, lowered by `offset_db` (DLS velocity law).

    M is the velocity of the loudest note of the dominant pitch in the window. Of drums, whose pitch is no frequency, H
    is velocity 1.
    """
    velocity = rolls.velocity.detach()
    pitch = dominant(rolls, size)
    whole = functional.pad(velocity, (0, 0, 0, -velocity.shape[2] % size))
    peaks = whole.reshape(*whole.shape[:2], -1, size, whole.shape[3]).amax(3)
    loudest = peaks.gather(3, pitch.clamp(min=0)[..., None])[..., 0]
    heard = threshold_velocity(torch.arange(128, device=pitch.device), level_127_db).to(velocity.dtype) / 127
    drums = torch.tensor([program == DRUMS for program in rolls.programs], device=pitch.device)
    low = torch.where(drums[:, None], 1 / 127, heard[pitch.clamp(min=0) + rolls.lowest])
    return Maskers(pitch, low, loudest * 10 ** (-offset_db / 40), size)


def _first(group: Tensor) -> Tensor:
    """int64 [group]: how many notes are in the groups before each."""
    count = torch.bincount(group)
    return count.cumsum(0) - count
