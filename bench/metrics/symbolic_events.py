"""Sounding cells and notes of a set of rolls as columns, from which the symbolic metrics are computed.

A roll is mostly silent (1 cell of 100 sounds in POP909), so every cell is read once, here, for a few rolls at a time;
the metrics of `symbolic_tracks` count rows of these columns. `merged` combines several tracks into one.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Concatenate, ParamSpec

import torch
from torch import Tensor
from torch.nn import functional

from bench.api import Rolls
from bench.errors import DataError
from bench.notes.rolls import DRUMS

__all__ = ["Events", "events", "merged", "of_rolls"]

P = ParamSpec("P")

_CELLS_PER_BLOCK = 1 << 23  # bounds the memory


@dataclass(frozen=True, eq=False)
class Events:
    """All that sounds in some rolls, as int64 columns in the order of row, pitch and step.

    Attributes:
        row: [cell], the track of a roll that the cell is in: roll * tracks + track.
        pitch: [cell], MIDI 0..127.
        step: [cell].
        note_row: [note], as `row`; the notes are those of `bench.notes.rolls.notes_of`.
        note_pitch: [note], MIDI 0..127.
        start: [note], steps.
        duration: [note], steps.
        lengths: [roll], steps.
        programs: one per track.
        steps_per_beat: of the rolls.
        beats_per_bar: of the rolls.
    """

    row: Tensor  # [cell]
    pitch: Tensor  # [cell], MIDI 0..127
    step: Tensor  # [cell]
    note_row: Tensor  # [note]
    note_pitch: Tensor  # [note]
    start: Tensor  # [note], steps
    duration: Tensor  # [note], steps
    lengths: Tensor  # [roll], steps
    programs: tuple[int, ...]  # one a track
    steps_per_beat: int
    beats_per_bar: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rolls and tracks."""
        return len(self.lengths), len(self.programs)

    @property
    def bar(self) -> int:
        """Steps in a bar."""
        return self.steps_per_beat * self.beats_per_bar

    @cached_property
    def drums(self) -> Tensor:
        """Whether each track is one of drums, bool [track]."""
        return torch.tensor([program == DRUMS for program in self.programs], device=self.lengths.device)

    @cached_property
    def pitches(self) -> Tensor:
        """The number of notes of each pitch, float64 [roll, track, 128]."""
        return self.count(self.note_row, (self.note_pitch, 128))

    @cached_property
    def classes(self) -> Tensor:
        """The number of notes of each pitch class (pitch % 12), float64 [roll, track, 12]."""
        return functional.pad(self.pitches, (0, 4)).reshape(*self.shape, 11, 12).sum(2)

    @cached_property
    def sounding(self) -> Tensor:
        """The number of sounding cells at each step, float64 [roll, track, step]."""
        return self.count(self.row, (self.step, max(1, int(self.lengths.max()))))

    def spans(self, size: int) -> Tensor:
        """Count the spans of `size` steps in each roll, the last one cut short or not.

        Args:
            size: steps.

        Returns:
            int64 [roll].
        """
        return -(-self.lengths // size)

    def sounding_in(self, size: int) -> Tensor:
        """Count sounding cells in each span of `size` steps.

        Args:
            size: steps.

        Returns:
            float64 [roll, track, span].
        """
        padded = functional.pad(self.sounding, (0, -self.sounding.shape[2] % size))
        return padded.reshape(*self.shape, -1, size).sum(3)

    def count(self, row: Tensor, *columns: tuple[Tensor, int]) -> Tensor:
        """Count how often each row, and each value of further columns, occurs.

        Args:
            row: int64 [n], rows.
            columns: further columns, each int64 [n] with the number of its values.

        Returns:
            float64 [roll, track, ...], one further dimension per column.
        """
        sizes = [size for _, size in columns]
        index = row
        for column, size in columns:
            index = index * size + column
        counts = torch.bincount(index, minlength=math.prod(self.shape) * math.prod(sizes))
        return counts.reshape(*self.shape, *sizes).double()


def events(rolls: Rolls) -> Iterator[Events]:
    """Yield the events of a set, a few rolls at a time, in order.

    Args:
        rolls: the set; of a block, the first roll is its roll 0.

    Yields:
        The events of a block of rolls.

    Raises:
        DataError: the set is empty.
    """
    count, tracks, steps, pitches = rolls.velocity.shape
    if count == 0:
        raise DataError("no rolls to measure, expected at least one")
    at_once = max(1, _CELLS_PER_BLOCK // max(1, tracks * steps * pitches))
    bits = max(1, (steps - 1).bit_length())
    for begin in range(0, count, at_once):
        block = slice(begin, begin + at_once)
        lengths = rolls.lengths[block]
        cell = _sounding_cells(rolls.velocity.detach()[block])
        line, pitch = cell // pitches, cell % pitches
        row, step = line // steps, line % steps
        # Row, pitch, step and onset flag are packed into one integer, so that one sort orders the cells.
        key = (((row << 7 | pitch) << bits | step) << 1 | rolls.onset[block].reshape(-1)[cell]).sort()[0]
        position = key >> 1
        step, pitch, row = position & ((1 << bits) - 1), (position >> bits & 127) + rolls.lowest, position >> (bits + 7)
        # A note begins at an onset flag, and where the previous step of the same pitch is silent.
        continues = functional.pad(torch.diff(position) == 1, (1, 0)) & (step > 0)
        first = ((key & 1).bool() | ~continues).nonzero()[:, 0]
        duration = torch.diff(first, append=first.new_tensor([len(key)]))
        notes = row[first], pitch[first], step[first], duration
        block_events = Events(
            row, pitch, step, *notes, lengths, rolls.programs, rolls.steps_per_beat, rolls.beats_per_bar
        )
        yield block_events if int(lengths.min()) == steps else _clipped(block_events)


def merged(events: Events, drums: bool = False) -> Events:
    """Merge tracks into one.

    Args:
        events: of some rolls.
        drums: merge all tracks; else the melodic ones alone.

    Returns:
        Events of one melodic track. A cell in which several tracks sound is one cell; every note stays, also notes that
        coincide.
    """
    tracks = len(events.programs)
    keep = torch.ones_like(events.drums) if drums else ~events.drums
    cells, notes = (slice(None) if bool(keep.all()) else keep[row % tracks] for row in (events.row, events.note_row))
    bits = max(1, (max(1, int(events.lengths.max())) - 1).bit_length())
    key = (events.row[cells] // tracks << 7 | events.pitch[cells]) << bits | events.step[cells]
    key = torch.unique_consecutive(key.sort()[0])
    return replace(
        events,
        row=key >> (bits + 7),
        pitch=key >> bits & 127,
        step=key & ((1 << bits) - 1),
        note_row=events.note_row[notes] // tracks,
        note_pitch=events.note_pitch[notes],
        start=events.start[notes],
        duration=events.duration[notes],
        programs=(0,),
    )


def of_rolls(compute: Callable[Concatenate[Events, P], Tensor]) -> Callable[Concatenate[Rolls | Events, P], Tensor]:
    """Make a metric of `Events` accept `Rolls` too, which are processed in blocks.

    Args:
        compute: The metric, from events to a tensor [roll, ...].

    Returns:
        The metric of events or rolls.
    """

    def metric(music: Rolls | Events, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        if isinstance(music, Events):
            return compute(music, *args, **kwargs)
        return torch.cat([compute(block, *args, **kwargs) for block in events(music)])

    functools.update_wrapper(metric, compute)
    return metric


def _sounding_cells(velocity: Tensor) -> Tensor:
    """Return where the flattened velocities are above 0, int64 [cell]."""
    flat = velocity.reshape(-1)
    if flat.device.type != "cpu":
        return (flat > 0).nonzero()[:, 0]
    import numpy

    # Only this reads the whole roll; numpy is four times as fast as torch here.
    return torch.from_numpy(numpy.flatnonzero(flat.numpy() > 0))


def _clipped(events: Events) -> Events:
    """Remove what lies beyond `lengths`; cut notes there."""
    lengths = events.lengths.repeat_interleave(len(events.programs))
    cells, notes = events.step < lengths[events.row], events.start < lengths[events.note_row]
    if bool(cells.all()):
        return events
    remaining = lengths[events.note_row] - events.start
    return replace(
        events,
        row=events.row[cells],
        pitch=events.pitch[cells],
        step=events.step[cells],
        note_row=events.note_row[notes],
        note_pitch=events.note_pitch[notes],
        start=events.start[notes],
        duration=torch.minimum(events.duration, remaining)[notes],
    )
