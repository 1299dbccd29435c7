"""Excerpts of scores that state no dynamics and few tempi: where they begin, how loud their notes are, as rolls.

Conventions
-----------
* A `Piece` is on a grid of `STEPS_PER_BEAT` steps to the beat, repeats unrolled.
* Excerpts begin on a down-beat where a voice sounds, so that a pick-up bar gives no silent start; notes held over it
  are struck there.
* The velocity of a note is its part's base, U(60, 85), + 8 on the down-beat, 4 on the middle of the bar, 2 on other
  beats, + 7 sin of a phrase of 16 beats with a random phase, + N(0, 3), within 30..110.
* The tempo is the score's mark, else U(66, 108) beats a minute; onsets are not humanised.
* What is drawn depends on the seed and the piece's name alone, so that an excerpt is the same whatever else is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor

from bench.api import Rolls, check_range
from bench.errors import DataError, UsageError, unknown
from bench.notes.pitches import LOWEST, PITCHES
from bench.notes.rolls import Notes, grid
from bench.seeds import name_generator

__all__ = [
    "STEPS_PER_BEAT",
    "TIMBRES",
    "Excerpt",
    "Piece",
    "check_sizes",
    "in_four",
    "rolls_of",
    "spans",
    "take",
    "tempo_of",
    "whole_bars",
]

STEPS_PER_BEAT = 4
TEMPO = (66.0, 108.0)
# General MIDI programs of the four parts, in one family.
TIMBRES = {
    "choir": (52, 53, 52, 53),
    "brass": (56, 60, 57, 58),
    "harpsichord": (6, 6, 6, 6),
    "guitar": (24, 24, 24, 24),
    "strings": (40, 40, 41, 42),
    "organ": (19, 19, 19, 19),
    "piano": (0, 0, 0, 0),
    "winds": (73, 68, 71, 70),
}


@dataclass(frozen=True)
class Piece:
    """A score on the grid.

    Attributes:
        name: of the piece, unique in its data set.
        group: what must stay in one split, such as the work or the tune.
        notes: int64 [note, 4]: part, start, duration, pitch; in steps.
        downs: steps of the down-beats, ascending.
        end: steps.
        bar: steps of a bar.
        common: in bars of four beats throughout.
        tempo: beats a minute, where the score states them.
        mode: of the key signature, where the score has one.
    """

    name: str
    group: str
    notes: Tensor
    downs: tuple[int, ...]
    end: int
    bar: int
    common: bool
    tempo: float | None
    mode: str | None

    @property
    def beats(self) -> int:
        """Whole beats of a bar."""
        return self.bar // STEPS_PER_BEAT


@dataclass(frozen=True)
class Excerpt:
    """A part of a piece: its number among the excerpts of the piece, first step, and length in steps."""

    piece: Piece
    number: int
    start: int
    steps: int


def check_sizes(dataset: Any, *timbres: str) -> None:
    """Check the parameters that data sets of excerpts have in common, in their `__post_init__`.

    Args:
        dataset: with `rate`, `seconds`, `bars`, and the sizes of its splits as clips and as rolls.
        timbres: of its clips.

    Raises:
        UsageError: a timbre is not among `TIMBRES`.
        ValueError: a number is out of range.
    """
    for timbre in timbres:
        if timbre not in TIMBRES:
            raise UsageError(unknown("timbre", timbre, TIMBRES))
    check_range(dataset, "seconds", above=0)
    check_range(dataset, "bars", "rate", least=1)
    check_range(dataset, "clips", "validation_clips", "test_clips", "pretrain_clips", least=0)
    check_range(dataset, "rolls", "validation_rolls", "test_rolls", least=0)


def take(
    pieces: Iterable[Callable[[], Piece | None]],
    cut: Callable[[Piece], Iterable[tuple[int, int]]],
    count: int,
    what: str,
) -> list[Excerpt]:
    """Take excerpts from pieces in turn: the first of every piece, then the second, and so on.

    Args:
        pieces: reads one piece each, in order; None where it is left out. No more are read than are needed.
        cut: gives (start, steps) of a piece's excerpts.
        count: how many; 0: all.
        what: is taken, for the error.

    Raises:
        DataError: the pieces hold fewer excerpts.
    """
    by_piece: list[list[Excerpt]] = []
    full = 0
    for read in pieces:
        if count and full == count:
            break
        piece = read()
        excerpts = [Excerpt(piece, number, *span) for number, span in enumerate(cut(piece))] if piece else []
        by_piece.append(excerpts)
        full += bool(excerpts)
    longest = max(map(len, by_piece), default=0)
    order = [excerpts[turn] for turn in range(longest) for excerpts in by_piece if turn < len(excerpts)]
    if len(order) < max(count, 1):
        raise DataError(f"{count} {what}: the scores hold {len(order)}; ask for at most that many, or 0 for all")
    return order[: count or None]


def spans(piece: Piece, seconds: float, seed: int) -> Iterator[tuple[int, int]]:
    """Yield (start, steps) of disjoint excerpts; the last one may end early, but not before half its length."""
    steps = math.ceil(seconds * tempo_of(piece, seed) / 60 * STEPS_PER_BEAT)
    earliest = 0
    for start in piece.downs:
        if start >= earliest and piece.end - start >= steps / 2 and _sounds(piece, start):
            yield start, min(steps, piece.end - start)
            earliest = start + steps


def whole_bars(piece: Piece, bars: int) -> Iterator[tuple[int, int]]:
    """Yield (start, steps) of excerpts of `bars` bars of four beats that no repeat's pick-up interrupts."""
    earliest, downs = 0, set(piece.downs) | {piece.end}
    for start in piece.downs if piece.common else ():
        stop = start + bars * piece.bar
        if start >= earliest and stop <= piece.end and all(step in downs for step in range(start, stop, piece.bar)):
            yield start, stop - start
            earliest = stop


def in_four(piece: Piece) -> Piece:
    """Halve the beat of a piece in bars of two beats, so that they have four, as in a reel written in 4/4."""
    if piece.bar != 2 * STEPS_PER_BEAT:
        return piece
    notes = piece.notes * torch.tensor([1, 2, 2, 1])
    downs = tuple(2 * step for step in piece.downs)
    tempo = None if piece.tempo is None else 2 * piece.tempo
    return replace(piece, notes=notes, downs=downs, end=2 * piece.end, bar=2 * piece.bar, common=True, tempo=tempo)


def tempo_of(piece: Piece, seed: int) -> float:
    """Return the score's tempo, or draw one."""
    if piece.tempo is not None:
        return piece.tempo
    low, high = TEMPO
    return low + (high - low) * float(torch.rand((), generator=_generator(seed, piece.name, "tempo")))


def rolls_of(
    excerpts: Sequence[Excerpt], seed: int, tracks: tuple[str, ...], programs: tuple[int, ...], **more: Any
) -> Rolls:
    """Assemble excerpts as a set, each starting at step 0.

    Args:
        excerpts: of pieces with at most as many parts as there are tracks.
        seed: of velocities and tempi.
        tracks: names of the parts.
        programs: General MIDI, of the parts.
        more: fields of the set, such as its texts.
    """
    columns = []
    for number, excerpt in enumerate(excerpts):
        notes = excerpt.piece.notes
        start, stop = notes[:, 1], notes[:, 1] + notes[:, 2]
        notes = notes[(stop > excerpt.start) & (start < excerpt.start + excerpt.steps)]
        positions = torch.stack([torch.full_like(notes[:, 0], number), notes[:, 0], notes[:, 1] - excerpt.start], 1)
        ends = (positions[:, 2] + notes[:, 2]).clamp(max=excerpt.steps)
        velocity = _velocity(excerpt, notes, seed, len(tracks))
        columns.append((*positions.unbind(1), ends - positions[:, 2], notes[:, 3], velocity))
    notes_of_all = Notes(*(torch.cat(column) for column in zip(*columns, strict=True)))
    lengths = torch.tensor([excerpt.steps for excerpt in excerpts])
    velocity, onset = grid(notes_of_all, len(excerpts), len(tracks), int(lengths.max()), LOWEST, PITCHES)
    return Rolls(
        velocity=velocity,
        onset=onset,
        programs=programs,
        ids=tuple(f"{excerpt.piece.name}-{excerpt.number}" for excerpt in excerpts),
        groups=tuple(excerpt.piece.group for excerpt in excerpts),
        lengths=lengths,
        tempo=torch.tensor([tempo_of(excerpt.piece, seed) for excerpt in excerpts]),
        steps_per_beat=STEPS_PER_BEAT,
        lowest=LOWEST,
        tracks=tracks,
        **more,
    )


def _sounds(piece: Piece, step: int) -> bool:
    """Tell whether a note sounds at a step."""
    start, duration = piece.notes[:, 1], piece.notes[:, 2]
    return bool(((start <= step) & (step < start + duration)).any())


def _generator(*names: object) -> Generator:
    return name_generator("/".join(map(str, names)))


def _velocity(excerpt: Excerpt, notes: Tensor, seed: int, parts: int) -> Tensor:
    """Draw velocities by the model at the head of this module: float32 [note] in 0..1."""
    piece, start = excerpt.piece, notes[:, 1].contiguous()
    rng = _generator(seed, piece.name, excerpt.number, "velocity")
    base = 60 + 25 * torch.rand(parts, generator=rng)
    phase = 2 * math.pi * torch.rand((), generator=rng)
    jitter = 3 * torch.randn(len(notes), generator=rng)
    downs = torch.tensor(piece.downs)
    down_beat = downs[(torch.searchsorted(downs, start, right=True) - 1).clamp(min=0)]
    position = (start - down_beat) % piece.bar
    accent = torch.where(position % STEPS_PER_BEAT == 0, 2.0, 0.0)
    accent[2 * position == piece.bar] = 4.0
    accent[position == 0] = 8.0
    phrase = 7 * torch.sin(2 * math.pi * start / (16 * STEPS_PER_BEAT) + phase)
    return (base[notes[:, 0]] + accent + phrase + jitter).clamp(30, 110) / 127
