"""Edits of notes on the grid: note lists to rolls, values permuted within groups, durations, bounds by masking notes.

A *group* is a set of notes that may exchange values: those of a roll, or of a track of a roll. Everything is a sort or
a scatter over all notes of a set at once.
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
    """Write notes as rolls in the shape of another set.

    Args:
        notes: the notes; overlaps are settled as `bench.notes.rolls.grid` settles them.
        like: the set; what lies beyond the length of a roll is cut off.

    Returns:
        `like` with these notes.

    Raises:
        DataError: a pitch is out of range.
    """
    end = torch.minimum(notes.end, like.lengths[notes.roll])
    rolls, tracks, steps, pitches = like.velocity.shape
    inside = replace(notes, duration=end - notes.start)
    velocity, onset = grid(inside, rolls, tracks, steps, like.lowest, pitches)
    return replace(like, velocity=velocity, onset=onset)


def cells_of(notes: Notes, rolls: Rolls) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return where notes begin, as an index into tensors of the set.

    Args:
        notes: the notes.
        rolls: their set.

    Returns:
        int64 [note] each: roll, track, step and pitch cell of the first cell.
    """
    return notes.roll, notes.track, notes.start, notes.pitch - rolls.lowest


def ranks(group: Tensor, rng: Generator) -> Tensor:
    """Draw a random rank for each note among the n notes of its group.

    Args:
        group: int64 [note].
        rng: random numbers.

    Returns:
        int64 [note], 0 .. n - 1, each once in a group.
    """
    order = torch.rand(len(group), generator=rng, device=rng.device).to(group.device).argsort()
    order = order[group[order].argsort(stable=True)]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device) - _first(group)[group[order]]
    return rank


def dealt(group: Tensor, rng: Generator, wrong: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Draw a random permutation of the notes within each group; `values[dealt(...)]` permutes values.

    Args:
        group: int64 [note].
        rng: random numbers.
        wrong: maps an int64 [note] permutation to bool [note], notes that got a value which they cannot have. They are
            permuted again with as many others, `DEALS` times at most.

    Returns:
        int64 [note], for each note a note of its group, each once.
    """
    permutation = torch.arange(len(group), device=group.device)
    again = torch.ones_like(group, dtype=torch.bool)
    for _ in range(DEALS):
        open_notes = again.nonzero()[:, 0]
        groups = group[open_notes]
        permutation[open_notes] = permutation[open_notes][
            groups.argsort(stable=True)[_first(groups)[groups] + ranks(groups, rng)]
        ]
        misfits = wrong(permutation) if wrong else None
        if misfits is None or not misfits.any():
            break
        share = torch.bincount(group, misfits.double()) / torch.bincount(group).clamp(min=1)
        drawn = torch.rand(len(group), generator=rng, device=rng.device).to(group.device)
        again = misfits | (drawn < share[group])
    return permutation


def medians(values: Tensor, group: Tensor) -> Tensor:
    """Return the median of each note's group.

    Args:
        values: [note].
        group: int64 [note].

    Returns:
        [note]; for an even number of notes the lower of the two middle values.
    """
    order = values.argsort(stable=True)
    order = order[group[order].argsort(stable=True)]
    middle = _first(group) + (torch.bincount(group) - 1).clamp(min=0) // 2
    return values[order[middle[group]]]


def lengthened(notes: Notes, like: Rolls, cells: Tensor, most: Tensor, rng: Generator) -> Notes:
    """Lengthen notes, in random order, until a given number of further cells sound.

    No note is held into the next one of its pitch, nor beyond the length of the roll: where all notes are held so far,
    fewer cells sound.

    Args:
        notes: in the order of `bench.notes.rolls.notes_of`.
        like: their set.
        cells: int64 [roll], how many more cells shall sound.
        most: int64 [roll], the most steps that are added to one note.
        rng: random numbers.

    Returns:
        The notes with their new durations.
    """
    same = torch.stack([notes.roll, notes.track, notes.pitch]).diff(dim=1).eq(0).all(0)
    limit = like.lengths[notes.roll]
    limit[:-1] = torch.where(same, notes.start[1:], limit[:-1])
    slot = _first(notes.roll)[notes.roll] + ranks(notes.roll, rng)
    room = torch.empty_like(limit)
    room[slot] = torch.minimum(limit - notes.end, most[notes.roll])
    before = room.cumsum(0) - room  # in the random order, over all rolls
    spent = before - before[_first(notes.roll)[notes.roll]]
    more = torch.minimum(room, (cells[notes.roll] - spent).clamp(min=0))
    return replace(notes, duration=notes.duration + more[slot])


@dataclass(frozen=True, eq=False)
class Maskers:
    """The dominant note of every window, and the bounds of noise on it: [roll, track, window] each.

    Attributes:
        pitch: int64, the cell of the dominant pitch, -1 without one.
        low: H, the least audible velocity, 0..1.
        high: kappa M, the velocity of the masking note lowered by the offset; no noise where it is not above `low`.
        size: steps of a window.
    """

    pitch: Tensor  # int64, the cell of the dominant pitch, -1 without one
    low: Tensor  # H, velocities 0..1
    high: Tensor  # kappa M; there is no noise where it is not above `low`
    size: int  # steps of a window

    @property
    def open(self) -> Tensor:
        """bool: there is a dominant note, and it leaves room."""
        return (self.pitch >= 0) & (self.high > self.low)

    def of(self, notes: Notes, lowest: int) -> tuple[Tensor, Tensor, Tensor]:
        """Look up the windows of notes.

        Args:
            notes: the notes.
            lowest: the lowest pitch of their set.

        Returns:
            bool [note], whether the note is the dominant one of a window with room for noise; the two bounds there,
            [note] each.
        """
        at = (notes.roll, notes.track, notes.start // self.size)
        return self.open[at] & (self.pitch[at] == notes.pitch - lowest), self.low[at], self.high[at]


def maskers(rolls: Rolls, size: int, level_127_db: float = 80.0, offset_db: float = 0.0) -> Maskers:
    """Compute HarmonyCloak's bounds of velocity noise in windows: from H(f) to M.

    M is the velocity of the loudest note of the dominant pitch in the window. For drums, whose pitch is no frequency, H
    is velocity 1.

    Args:
        rolls: the set.
        size: steps of a window.
        level_127_db: dB SPL at the listener of a note of velocity 127.
        offset_db: how far M is lowered, by the velocity law of DLS (40 log10 v dB).

    Returns:
        The bounds.
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
