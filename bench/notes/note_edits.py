"""Edits of notes on the grid: writing rolls, permuting values in groups, changing durations, masking bounds.

A *group* is a set of notes that may exchange values: those of a roll, or of a track of a roll. Every function sorts or
scatters all notes of a set at once.
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
from bench.sound.masking import hz_to_bark

__all__ = ["Maskers", "cells_of", "dealt", "lengthened", "maskers", "medians", "ranks", "to_rolls"]

DEALS = 100  # most attempts, each of which reduces the number of invalid notes


def to_rolls(notes: Notes, like: Rolls) -> Rolls:
    """Write notes as rolls in the shape of another set.

    Args:
        notes: The notes; overlaps are resolved as by `bench.notes.rolls.grid`.
        like: The set; notes are cut at the length of their roll.

    Returns:
        `like` with these notes.

    Raises:
        DataError: A pitch is out of range.
    """
    end = torch.minimum(notes.end, like.lengths[notes.roll])
    rolls, tracks, steps, pitches = like.velocity.shape
    within = replace(notes, duration=end - notes.start)
    velocity, onset = grid(within, rolls, tracks, steps, like.lowest, pitches)
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


def dealt(group: Tensor, rng: Generator, invalid: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Draw a random permutation of the notes within each group; `values[dealt(...)]` permutes values.

    Args:
        group: int64 [note].
        rng: Random numbers.
        invalid: Maps an int64 [note] permutation to bool [note], the notes whose new value is not allowed. They are
            permuted again with as many others, `DEALS` times at most.

    Returns:
        int64 [note]: for each note a note of its group, each once.
    """
    permutation = torch.arange(len(group), device=group.device)
    redraw = torch.ones_like(group, dtype=torch.bool)
    for _ in range(DEALS):
        open_notes = redraw.nonzero()[:, 0]
        groups = group[open_notes]
        permutation[open_notes] = permutation[open_notes][
            groups.argsort(stable=True)[_first(groups)[groups] + ranks(groups, rng)]
        ]
        misfits = invalid(permutation) if invalid else None
        if misfits is None or not misfits.any():
            break
        share = torch.bincount(group, misfits.double()) / torch.bincount(group).clamp(min=1)
        uniform = torch.rand(len(group), generator=rng, device=rng.device).to(group.device)
        redraw = misfits | (uniform < share[group])
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

    No note is extended into the next one of its pitch, nor beyond the length of the roll. Where that limits all notes,
    fewer cells sound.

    Args:
        notes: In the order of `bench.notes.rolls.notes_of`.
        like: Their set.
        cells: int64 [roll], the number of further cells.
        most: int64 [roll], the most steps that are added to one note.
        rng: Random numbers.

    Returns:
        The notes with their new durations.
    """
    same = torch.stack([notes.roll, notes.track, notes.pitch]).diff(dim=1).eq(0).all(0)
    limit = like.lengths[notes.roll]
    limit[:-1] = torch.where(same, notes.start[1:], limit[:-1])
    slot = _first(notes.roll)[notes.roll] + ranks(notes.roll, rng)
    available = torch.empty_like(limit)
    available[slot] = torch.minimum(limit - notes.end, most[notes.roll])
    before = available.cumsum(0) - available  # in the random order, over all rolls
    used_before = before - before[_first(notes.roll)[notes.roll]]
    added = torch.minimum(available, (cells[notes.roll] - used_before).clamp(min=0))
    return replace(notes, duration=notes.duration + added[slot])


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
        """Whether a window has a dominant note whose bounds leave room for noise, bool [roll, track, window]."""
        return (self.pitch >= 0) & (self.high > self.low)

    def at_notes(self, notes: Notes, lowest: int) -> tuple[Tensor, Tensor, Tensor]:
        """Look up the windows of notes.

        Args:
            notes: the notes.
            lowest: the lowest pitch of their set.

        Returns:
            bool [note], whether the note is the dominant one of a window with room for noise; the two bounds there,
            [note] each.
        """
        index = (notes.roll, notes.track, notes.start // self.size)
        return self.open[index] & (self.pitch[index] == notes.pitch - lowest), self.low[index], self.high[index]


def maskers(
    rolls: Rolls, size: int, level_127_db: float = 80.0, offset_db: float = 0.0, bark_db: float = 0.0
) -> Maskers:
    """Compute HarmonyCloak's bounds of velocity noise in windows, from H(f) to M.

    M is the velocity of the loudest note of the dominant pitch in the window. The pitch of drums is not a frequency, so
    H is velocity 1 for drums.

    Args:
        rolls: The set.
        size: Steps of a window.
        level_127_db: dB SPL at the listener of a note of velocity 127.
        offset_db: How far M is lowered, by the velocity law of DLS (40 log10 v dB).
        bark_db: How much further for each Bark of the note's frequency; 14.5 and 1 are the masking of a tone by a tone.
            Drums, whose pitch is no frequency, count as 0 Bark.

    Returns:
        The bounds.
    """
    velocity = rolls.velocity.detach()
    pitch = dominant(rolls, size)
    padded = functional.pad(velocity, (0, 0, 0, -velocity.shape[2] % size))
    peaks = padded.reshape(*padded.shape[:2], -1, size, padded.shape[3]).amax(3)
    loudest = peaks.gather(3, pitch.clamp(min=0)[..., None])[..., 0]
    audible = threshold_velocity(torch.arange(128, device=pitch.device), level_127_db).to(velocity.dtype) / 127
    drums = torch.tensor([program == DRUMS for program in rolls.programs], device=pitch.device)
    low = torch.where(drums[:, None], 1 / 127, audible[pitch.clamp(min=0) + rolls.lowest])
    bark = hz_to_bark(440.0 * 2 ** ((pitch.clamp(min=0) + rolls.lowest - 69) / 12)).where(~drums[:, None], 0.0)
    return Maskers(pitch, low, loudest * 10 ** (-(offset_db + bark_db * bark) / 40), size)


def _first(group: Tensor) -> Tensor:
    """Return how many notes are in the groups before each, int64 [group]."""
    count = torch.bincount(group)
    return count.cumsum(0) - count
