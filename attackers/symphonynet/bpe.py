"""Music BPE: pitches that are often struck together become one symbol.

Liu et al. 2022, section 3.3: byte-pair encoding (Sennrich et al. 2016) over the pitches of notes that share position,
track and duration, a set in place of a string. Symbols are the 128 pitches, then the merges, each of two earlier
symbols; a table of merges is int64 [merge, 2], rows of -1 are not used.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from bench.notes.rolls import Notes

PITCHES = 128


@dataclass(frozen=True, eq=False)
class Symbols:
    """Notes after merging, as columns of equal length.

    Attributes:
        roll: int64.
        track: int64.
        start: int64, steps.
        duration: int64, steps.
        symbol: int64, a pitch, or 128 plus the number of a merge.
        notes: int64, how many notes the symbol stands for.
        velocity: float32, 0..1, their mean.
    """

    roll: Tensor
    track: Tensor
    start: Tensor
    duration: Tensor
    symbol: Tensor  # int64: a pitch, or 128 + merge
    notes: Tensor  # int64: of how many notes
    velocity: Tensor  # their mean


def learned(notes: Notes, count: int) -> Tensor:
    """Learn merges from a set: repeatedly merge the most frequent pair of symbols in a chord.

    Works on the distinct chords and their frequencies, of which there are few.

    Args:
        notes: the set.
        count: how many merges.

    Returns:
        int64 [merge, 2], pairs of earlier symbols; rows of -1 where no pair is left.
    """
    group = _groups(notes)
    order = (group * PITCHES + notes.pitch).argsort()
    sizes = torch.bincount(group)
    rank = torch.arange(len(order), device=order.device) - (sizes.cumsum(0) - sizes)[group[order]]
    chord_pitches = torch.full((len(sizes), int(sizes.max()) if len(sizes) else 0), -1, device=order.device)
    chord_pitches[group[order], rank] = notes.pitch[order]
    unique_chords, frequency = torch.unique(chord_pitches[sizes > 1], dim=0, return_counts=True)
    chords: Counter[tuple[int, ...]] = Counter()
    for pitches, number in zip(unique_chords.tolist(), frequency.tolist(), strict=True):
        chords[tuple(pitch for pitch in pitches if pitch >= 0)] = number
    table = torch.full((count, 2), -1, dtype=torch.int64, device=notes.roll.device)
    for merge in range(count):
        pairs: Counter[tuple[int, int]] = Counter()
        for chord, frequency in chords.items():
            for pair in combinations(chord, 2):
                pairs[pair] += frequency
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], -pair[0], -pair[1]))
        table[merge] = torch.tensor(best, device=table.device)
        merged_chords: Counter[tuple[int, ...]] = Counter()
        for chord, frequency in chords.items():
            has_pair = set(best) <= set(chord)
            merged_chords[tuple(sorted({*chord, PITCHES + merge} - set(best))) if has_pair else chord] += frequency
        chords = merged_chords
    return table


def merged(notes: Notes, merges: Tensor) -> Symbols:
    """Apply every merge in order; the gradient of the velocities is kept.

    Args:
        notes: the notes.
        merges: int64 [merge, 2].
    """
    columns = Symbols(
        notes.roll, notes.track, notes.start, notes.duration, notes.pitch, torch.ones_like(notes.pitch), notes.velocity
    )
    if not bool((merges >= 0).any()):
        return columns
    group = _groups(notes)
    symbol, alive = notes.pitch.clone(), torch.ones_like(notes.pitch, dtype=torch.bool)
    count, velocity = columns.notes.clone(), notes.velocity
    groups = int(group.max()) + 1 if len(group) else 0
    for number, (first, second) in enumerate(merges.tolist()):
        if first < 0:
            continue
        positions = torch.full((2, groups), -1, dtype=torch.int64, device=symbol.device)
        for row, part in enumerate((first, second)):
            index = (alive & (symbol == part)).nonzero()[:, 0]
            positions[row, group[index]] = index
        pairs = positions[:, (positions >= 0).all(0)]
        if not pairs.shape[1]:
            continue
        first_notes, second_notes = pairs
        total = count[first_notes] + count[second_notes]
        mean = (velocity[first_notes] * count[first_notes] + velocity[second_notes] * count[second_notes]) / total
        velocity = velocity.index_put((first_notes,), mean)
        count[first_notes], symbol[first_notes] = total, PITCHES + number
        alive[second_notes] = False
    index = alive.nonzero()[:, 0]
    rest = notes[index]
    return Symbols(rest.roll, rest.track, rest.start, rest.duration, symbol[index], count[index], velocity[index])


def expanded(merges: Tensor) -> Tensor:
    """Tabulate the pitches of every symbol.

    Args:
        merges: int64 [merge, 2].

    Returns:
        bool [symbol, pitch].
    """
    table = torch.zeros(PITCHES + len(merges), PITCHES, dtype=torch.bool, device=merges.device)
    table[:PITCHES] = torch.eye(PITCHES, dtype=torch.bool, device=merges.device)
    for number, (first, second) in enumerate(merges.tolist()):
        if first >= 0:
            table[PITCHES + number] = table[first] | table[second]
    return table


def _groups(notes: Notes) -> Tensor:
    """Number the distinct (roll, track, start, duration) of notes: int64 [note]."""
    rows = torch.stack([notes.roll, notes.track, notes.start, notes.duration], 1)
    group: Tensor = torch.unique(rows, dim=0, return_inverse=True)[1]
    return group
