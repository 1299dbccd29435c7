"""Transfer a defense's edits of piano rolls back to the notes of the MIDI file in ticks.

A roll is quantised and the file is not, so the protected file is never written from the roll. Instead, the protected
rolls are compared with the clean ones, and each protected note gets its ticks as follows:

* Begin. If a clean note begins at the same step: the tick of that note. If a clean note sounds there, which is thus
  split: the tick of the step. In silence: the tick of the step, but not before the pitch has ended.
* End. If a clean note ends at the same step: the tick of that end. If a clean note sounds there, which is thus
  shortened or split: the tick of the step. In silence: the tick of the step, but at most the next strike of the pitch
  or the end of the file.

Unchanged notes therefore keep their ticks, and no pitch of a channel sounds twice at a time where it did not before.
Further rules:

* Rolls are pieces of a few bars. A note that lasts beyond the end of a piece begins anew in the next one; a new
  velocity there has no effect on the file unless the note was already split, and only silence ends the note there.
* A note whose onset cell also begins a longer note is not in the rolls, and is left unchanged in the file.
* Where the channel has another program than the part, no note is added, and a note that lasts over a change of program
  is not struck again after it: it is left unchanged.
* The bars of the rolls are those of the first metre.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.api import Rolls
from bench.errors import DataError
from bench.files import printable
from bench.notes.midi import DRUM_CHANNEL, Score
from bench.notes.rolls import Notes, disjoint, grid, notes_of, quantised, steps_in
from bench.notes.smf import PROGRAM
from bench.notes.windows import cut, joined

__all__ = ["Frame", "transfer_edits"]

LONGEST = 1 << 20  # steps of a file: 36 hours at 120 beats a minute
_NEVER = 1 << 38  # ticks: later than any note, and small enough for `key * _NEVER` in 64 bits


@dataclass(frozen=True, eq=False)
class Frame:
    """A file as rolls: parts are tracks, pieces of `bars` bars are rolls, silent pieces are left out.

    Attributes:
        score: the file.
        steps_per_beat: steps a quarter note.
        bars: of a piece.

    Raises:
        DataError: the file is too long, or counts fewer ticks than steps a beat.
    """

    score: Score
    steps_per_beat: int = 4
    bars: int = 8  # of a piece

    def __post_init__(self) -> None:
        score = self.score
        if score.ticks_per_beat < self.steps_per_beat:
            resolution = f"{score.ticks_per_beat} ticks a beat"
            raise DataError(
                f"{printable(score.path)}: the file counts {resolution}, expected at least {self.steps_per_beat}"
            )
        if score.length * self.steps_per_beat // score.ticks_per_beat > LONGEST:
            beats = score.length // score.ticks_per_beat
            raise DataError(
                f"{printable(score.path)}: {beats} beats, expected at most {LONGEST // self.steps_per_beat}"
            )

    @property
    def size(self) -> int:
        """Steps of a piece."""
        return self.bars * self.score.beats_per_bar * self.steps_per_beat

    def pieces(self) -> list[int]:
        """Return the numbers of the pieces in which something sounds.

        Returns:
            Numbers from 0, ascending.
        """
        return sorted(set(cut(quantised(self.score, self.steps_per_beat), self.size).roll.tolist()))

    def rolls(self, pieces: Sequence[int], score: Score | None = None) -> Rolls:
        """Return pieces as one set.

        Args:
            pieces: their numbers.
            score: the same file after edits, divided into the same pieces; None: the clean file.

        Returns:
            Rolls [piece, part, step, 128 pitches].
        """
        edited = score or self.score
        track_of = {part: number for number, part in enumerate(self.score.parts)}
        # A track that lost all its notes may be listed with another program; no note refers to that part.
        track = torch.tensor([track_of.get(part, 0) for part in edited.parts])
        notes, _ = disjoint(quantised(edited, self.steps_per_beat))
        span = (min(pieces) * self.size, (max(pieces) + 1) * self.size)
        notes = cut(notes[(notes.end > span[0]) & (notes.start < span[1])], self.size)
        roll = torch.full((max(int(notes.roll.max()) if len(notes) else 0, max(pieces)) + 1,), -1)
        roll[torch.tensor(pieces)] = torch.arange(len(pieces))
        notes = replace(notes, roll=roll[notes.roll], track=track[notes.track])
        name = printable(self.score.path.stem)
        velocity, onset = grid(notes[notes.roll >= 0], len(pieces), len(self.score.parts), self.size)
        remaining = steps_in(self.score, self.steps_per_beat) - torch.tensor(pieces) * self.size
        return Rolls(
            velocity=velocity,
            onset=onset,
            programs=tuple(part.program for part in self.score.parts),
            ids=tuple(f"{name}-{number:05d}" for number in pieces),
            groups=(name,) * len(pieces),
            lengths=remaining.clamp(max=self.size),
            tempo=torch.full((len(pieces),), self.score.tempo),
            steps_per_beat=self.steps_per_beat,
            beats_per_bar=self.score.beats_per_bar,
            tracks=self.score.names,
        )

    def notes(self, rolls: Rolls, pieces: Sequence[int]) -> Notes:
        """List the notes of pieces.

        Args:
            rolls: a set of pieces.
            pieces: their numbers.

        Returns:
            Notes of roll 0, starts counted from the beginning of the file.
        """
        notes = notes_of(rolls.to("cpu"))
        start = notes.start + torch.tensor(pieces)[notes.roll] * self.size
        return replace(notes, roll=torch.zeros_like(notes.roll), start=start)


def transfer_edits(frame: Frame, protected: Sequence[Notes]) -> Tensor:
    """Transfer the edits of a defense to the notes of the file.

    Args:
        frame: the file.
        protected: the notes of all pieces after the defense, as `Frame.notes` lists them.

    Returns:
        int64 [note, 7] like `Score.notes`. The last two columns are events of the clean note that a note begins or ends
        with: the strike is -1 for a note that begins elsewhere, the release may be one whose tick has changed.
    """
    score = frame.score
    lookup = _Clean(frame)
    notes = _merged(joined(protected), lookup, frame.size)
    begin, hard, strike = lookup.beginning(notes)
    end, fixed, floor, release = lookup.ending(notes)
    floor = torch.maximum(floor, begin)
    velocity = (notes.velocity * 127).round().clamp(1, 127).long()
    edited = torch.stack([notes.track, begin, end, notes.pitch, velocity, strike, release], 1)
    # A clean note that lasts over a change of program cannot be struck again there: it is left unchanged.
    owner = torch.where(hard, lookup.sounding(notes), -1)
    split = hard & (strike < 0)
    split[split.clone()] = ~_plays(score, edited[split])
    unchanged = torch.isin(torch.arange(len(score.notes)), owner[split])
    transferred = ~(hard & torch.isin(owner, owner[split]))
    untouched = score.notes[lookup.not_in_rolls | unchanged]
    edited = torch.cat([edited[transferred], untouched])
    exact = torch.ones(len(untouched), dtype=torch.bool)
    hard, fixed = torch.cat([hard[transferred], exact]), torch.cat([fixed[transferred], exact])
    floor = torch.cat([floor[transferred], untouched[:, 2]])
    return _without_overlaps(edited, hard, fixed, floor, score)


class _Clean:
    """Index of the clean notes on the grid by lane (part and pitch) and step."""

    def __init__(self, frame: Frame) -> None:
        self._score, self._steps_per_beat = frame.score, frame.steps_per_beat
        self._notes, self._owner = disjoint(quantised(frame.score, frame.steps_per_beat))
        self._span = LONGEST * 2
        self._key = self._lane(self._notes) * self._span + self._notes.start
        self.not_in_rolls = torch.ones(len(frame.score.notes), dtype=torch.bool)
        self.not_in_rolls[self._owner] = False

    def beginning(self, notes: Notes) -> tuple[Tensor, Tensor, Tensor]:
        """Return tick, whether it lies in a clean note (else it may be moved), and the clean note's strike event, -1
        if none.
        """
        index, sounds = self._find(notes, notes.start)
        starts = sounds & (self._notes.start[index] == notes.start)
        source = self._score.notes[self._owner[index]]
        tick = torch.where(starts, source[:, 1], self._tick(notes.start))
        return tick, sounds, torch.where(starts, source[:, 5], -1)

    def ending(self, notes: Notes) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return tick, whether it lies in a clean note, the tick before which it may not be moved, and a release event.

        The event is that of the last clean note that the note covers.
        """
        index, sounds = self._find(notes, notes.end - 1)
        source = self._score.notes[self._owner[index]]
        covers = (self._notes.end[index] > notes.start) & self._same(notes, index)
        ends = sounds & (self._notes.end[index] == notes.end)
        tick = torch.where(ends, source[:, 2], self._tick(notes.end))
        floor = torch.where(covers & ~sounds, source[:, 2], 0)
        return tick, sounds, floor, torch.where(covers, source[:, 6], -1)

    def sounding(self, notes: Notes) -> Tensor:
        """Return the row in `Score.notes` of the clean note that sounds where each note begins, int64 [note];
        arbitrary if none.
        """
        return self._owner[self._find(notes, notes.start)[0]]

    def continues(self, notes: Notes) -> Tensor:
        """Return whether a clean note that began earlier sounds where each note begins, bool [note]."""
        index, sounds = self._find(notes, notes.start)
        return sounds & (self._notes.start[index] < notes.start)

    def _find(self, notes: Notes, step: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last clean note of each note's lane that begins up to the step, and whether it sounds there."""
        index = (torch.searchsorted(self._key, self._lane(notes) * self._span + step, right=True) - 1).clamp(min=0)
        starts = self._notes.start[index] <= step
        return index, self._same(notes, index) & starts & (self._notes.end[index] > step)

    def _same(self, notes: Notes, index: Tensor) -> Tensor:
        return self._lane(self._notes)[index] == self._lane(notes)

    def _tick(self, step: Tensor) -> Tensor:
        return (2 * step * self._score.ticks_per_beat + self._steps_per_beat).div(
            2 * self._steps_per_beat, rounding_mode="floor"
        )

    @staticmethod
    def _lane(notes: Notes) -> Tensor:
        return notes.track * 128 + notes.pitch


def _merged(notes: Notes, clean: _Clean, size: int) -> Notes:
    """Return the notes in order, and rejoin those that were only cut at the end of a piece."""
    notes, _ = disjoint(notes)
    lane = notes.track * 128 + notes.pitch
    seam, continues = notes.start % size == 0, clean.continues(notes)
    # After a ghost at the end of a piece, the next piece begins with another note.
    alike = seam[:-1] | ~continues[:-1] | (notes.velocity[1:] == notes.velocity[:-1])
    joins = seam & continues
    joins[0:1] = False
    joins[1:] &= (lane[1:] == lane[:-1]) & (notes.start[1:] == notes.end[:-1]) & alike
    first = (~joins).nonzero().flatten()
    last = torch.cat([first[1:], torch.tensor([len(notes)])]) - 1 if len(notes) else first
    return replace(notes[first], duration=notes.end[last] - notes.start[first])


def _without_overlaps(edited: Tensor, hard: Tensor, fixed: Tensor, floor: Tensor, score: Score) -> Tensor:
    """Remove overlaps: an end yields to a beginning in a clean note, a new beginning to an earlier end."""
    channels = torch.tensor([(part.track, part.channel) for part in score.parts])[edited[:, 0]]
    begin, end, pitch = edited[:, 1], edited[:, 2], edited[:, 3]
    pitched = channels[:, 1] * 128 + pitch
    lane = torch.unique(channels[:, 0] * 2048 + pitched, return_inverse=True)[1]
    end = torch.minimum(end, _next(lane, begin, hard))
    limit = _next(pitched, begin, hard).clamp(max=score.length)
    end = torch.where(fixed, end, torch.maximum(torch.minimum(end, limit), torch.minimum(floor, end)))
    begin = torch.where(hard, begin, torch.maximum(begin, _reached(pitched, begin, end, hard)))
    edited = torch.cat([edited[:, :1], begin[:, None], end[:, None], edited[:, 3:]], 1)
    keep = begin < end
    new = (keep & ~hard).nonzero().flatten()
    keep[new] = _plays(score, edited[new])
    return edited[keep]


def _next(key: Tensor, begin: Tensor, counts: Tensor) -> Tensor:
    """Return for each note the first later beginning of the same key among those that count; a late tick if none."""
    beginnings = (key * _NEVER + begin)[counts].sort().values
    index = torch.searchsorted(beginnings, key * _NEVER + begin, right=True)
    nearest = torch.cat([beginnings, torch.tensor([1 << 62])])[index]
    return torch.where(nearest // _NEVER == key, nearest % _NEVER, _NEVER - 1)


def _reached(key: Tensor, begin: Tensor, end: Tensor, hard: Tensor) -> Tensor:
    """Return for each note the last tick at which an earlier note of the same key still sounds; negative if none."""
    order = (~hard).long().argsort(stable=True)
    order = order[(key * _NEVER + begin)[order].argsort(stable=True)]
    reach = (key * _NEVER + end)[order].cummax(0).values  # keys ascend, so the maximum is never one of another key
    before = torch.cat([torch.full((1,), -1), reach[:-1]]) - (key * _NEVER)[order]
    return torch.empty_like(begin).index_copy_(0, order, before)


def _plays(score: Score, notes: Tensor) -> Tensor:
    """Return whether the channel of each note's part has the part's program after the events of its tick, bool
    [note].
    """
    changes: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for number, track in enumerate(score.file.tracks):
        for event in track.events:
            channel = event.status & 0x0F
            if event.status & 0xF0 == PROGRAM and channel != DRUM_CHANNEL:
                program = min(track.content[event.data], 127)
                changes.setdefault((number, channel), []).append((event.tick, program))
    plays = torch.ones(len(notes), dtype=torch.bool)
    for number, part in enumerate(score.parts):
        timeline = changes.get((part.track, part.channel), [])
        if len(timeline) > 1 or (timeline and timeline[0][0] > 0):
            for row in (notes[:, 0] == number).nonzero().flatten().tolist():
                index = bisect_right(timeline, (int(notes[row, 1]), 1 << 62))
                plays[row] = (timeline[index - 1][1] if index else 0) == part.program
    return plays
