"""Piano rolls, note lists and MIDI files, and their conversions.

Conventions
-----------

* Time is counted in steps, `steps_per_beat` to the quarter note; a MIDI file's ticks are rounded to the nearest step
  and a note lasts at least one step.
* `Notes` are columns of equal length, not a list of objects, so that every conversion is a scatter or a gather.
* Within one track notes of the same pitch never overlap: where the next one begins, the earlier one ends. Parsers
  disagree about such overlaps, so none is ever written.
* A cell that sounds after a silent one begins a note even without an onset flag, since a defense may have added it.
* Files are read by `bench.notes.midi`, in ticks.

A `Rolls` has one tempo and one metre. A file with several tempi is read at the mean that keeps its duration; of several
metres the first counts, and a bar that is not a whole number of quarter notes is joined with the next one (7/8 is read
as 7 quarters).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.api import Rolls
from bench.errors import DataError
from bench.files import printable
from bench.notes.midi import DRUM_CHANNEL, DRUMS, Score, read_score

__all__ = ["DRUMS", "Notes", "disjoint", "grid", "notes_of", "quantised", "read_midi", "steps_in", "write_midi"]

MELODIC_CHANNELS = tuple(channel for channel in range(16) if channel != DRUM_CHANNEL)
LARGEST_ROLL = 1 << 27  # cells of one roll, 5 bytes each


@dataclass(frozen=True, eq=False)
class Notes:
    """Notes as columns of equal length, in any order.

    Attributes:
        roll: int64 [note], the number of the roll in the set.
        track: int64 [note].
        start: int64 [note], steps.
        duration: int64 [note], steps, at least 1.
        pitch: int64 [note], MIDI 0..127.
        velocity: float32 [note], 0..1.
    """

    roll: Tensor  # int64 [note]: which roll of the set
    track: Tensor  # int64 [note]
    start: Tensor  # int64 [note], steps
    duration: Tensor  # int64 [note], steps, at least 1
    pitch: Tensor  # int64 [note], MIDI 0..127
    velocity: Tensor  # float32 [note], 0..1

    def __len__(self) -> int:
        return len(self.roll)

    def __getitem__(self, index: Tensor) -> Notes:
        """Return the notes at an index or where a mask is true."""
        return Notes(
            self.roll[index],
            self.track[index],
            self.start[index],
            self.duration[index],
            self.pitch[index],
            self.velocity[index],
        )

    @property
    def end(self) -> Tensor:
        """The first step at which each note no longer sounds, int64 [note]."""
        return self.start + self.duration

    @classmethod
    def of(cls, rows: Sequence[Sequence[float]] | Tensor) -> Notes:
        """Build notes from rows.

        Args:
            rows: [note, 6]: roll, track, start, duration, pitch, velocity.

        Returns:
            The notes.
        """
        table = torch.as_tensor(rows, dtype=torch.float64).reshape(-1, 6)
        roll, track, start, duration, pitch = table[:, :5].long().unbind(1)
        return cls(roll, track, start, duration, pitch, table[:, 5].float())


def grid(
    notes: Notes, rolls: int, tracks: int, steps: int, lowest: int = 0, pitches: int = 128
) -> tuple[Tensor, Tensor]:
    """Write notes as the two tensors of a `Rolls`.

    Notes are cut at step 0 and at `steps`; a note that begins before step 0 and still sounds there begins at 0. If two
    notes of one pitch overlap, the later one ends the earlier; of two that begin together, the longer one remains.

    Args:
        notes: The notes.
        rolls: Number of rolls.
        tracks: Number of tracks.
        steps: Number of steps.
        lowest: The lowest pitch.
        pitches: Number of pitches.

    Returns:
        velocity float32 and onset bool, [roll, track, step, pitch].

    Raises:
        DataError: A pitch is outside `lowest .. lowest + pitches - 1`.
    """
    shape = (rolls, tracks, steps, pitches)
    start, end = notes.start.clamp(min=0), notes.end.clamp(max=steps)
    nonempty = end > start
    notes = replace(notes, start=start, duration=end - start)[nonempty]
    pitch = notes.pitch - lowest
    if len(notes) and not bool(((pitch >= 0) & (pitch < pitches)).all()):
        pitch_range = f"{int(notes.pitch.min())}..{int(notes.pitch.max())}"
        raise DataError(f"notes of pitch {pitch_range}, expected {lowest}..{lowest + pitches - 1}")
    notes, _ = disjoint(notes)
    start, duration, pitch = notes.start, notes.duration, notes.pitch - lowest
    first = ((notes.roll * tracks + notes.track) * steps + start) * pitches + pitch
    note = torch.repeat_interleave(torch.arange(len(first), device=first.device), duration)
    ahead = torch.arange(len(note), device=first.device) - (duration.cumsum(0) - duration)[note]
    velocity = torch.zeros(math.prod(shape), device=first.device)
    velocity[first[note] + ahead * pitches] = notes.velocity[note]
    onset = torch.zeros(math.prod(shape), dtype=torch.bool, device=first.device)
    onset[first] = True
    return velocity.reshape(shape), onset.reshape(shape)


def disjoint(notes: Notes) -> tuple[Notes, Tensor]:
    """Remove overlaps: of two notes of one pitch, the later one ends the earlier; if they begin together, the longer
    remains.

    Args:
        notes: In any order.

    Returns:
        The notes, ordered by roll, track, pitch and start, and the index int64 [note] of each among those given.
    """
    tracks, span = (int(column.max()) + 1 if len(notes) else 1 for column in (notes.track, notes.start))
    key = (notes.roll * tracks + notes.track) * 128 + notes.pitch
    order = notes.duration.argsort(stable=True)
    order = order[(key * span + notes.start)[order].argsort(stable=True)]
    key, start, duration = key[order], notes.start[order], notes.duration[order].clone()
    follows = key[1:] == key[:-1]
    duration[:-1] = torch.where(follows, torch.minimum(duration[:-1], start[1:] - start[:-1]), duration[:-1])
    order, duration = order[duration > 0], duration[duration > 0]
    return replace(notes[order], duration=duration), order


def notes_of(rolls: Rolls) -> Notes:
    """List the notes of a set.

    Args:
        rolls: the set.

    Returns:
        Notes ordered by roll, track, pitch and start. The velocity of a note is that of its first cell.
    """
    sounds = (rolls.velocity.detach() > 0).transpose(
        2, 3
    )  # [roll, track, pitch, step], so that a note's cells are adjacent
    before = torch.nn.functional.pad(sounds, (1, 0))[..., :-1]
    begins = sounds & (rolls.onset.transpose(2, 3) | ~before)
    roll, track, cell, step = begins.nonzero(as_tuple=True)
    # Every sounding cell belongs to the last note that began, so a duration is the count of such cells.
    number = begins[sounds].long().cumsum(0) - 1
    duration = torch.bincount(number, minlength=len(step))
    velocity = rolls.velocity.detach()[roll, track, step, cell]
    return Notes(roll, track, step, duration, cell + rolls.lowest, velocity)


def write_midi(rolls: Rolls, index: int, path: str | Path) -> None:
    """Write one roll of a set as a MIDI file of format 1, one track a track, silent ones too.

    The velocity is rounded to 1..127, the tempo to whole microseconds a beat. The end of the music is the end of every
    track.

    Args:
        rolls: the set.
        index: which roll.
        path: the file.

    Raises:
        DataError: more than 15 melodic tracks, for which MIDI has no channels.
    """
    import mido

    melodic = sum(program != DRUMS for program in rolls.programs)
    if melodic > len(MELODIC_CHANNELS):
        raise DataError(
            f"{melodic} melodic tracks, expected at most {len(MELODIC_CHANNELS)}: MIDI has no more channels"
        )
    single = rolls.select([index]).to("cpu")
    notes = notes_of(single)
    step = math.ceil(480 / single.steps_per_beat)  # ticks
    length = int(single.lengths[0]) * step
    file = mido.MidiFile(type=1, ticks_per_beat=step * single.steps_per_beat, charset="utf-8")
    file.tracks.append(_conductor(mido, float(single.tempo[0]), single.beats_per_bar, length))
    free = iter(MELODIC_CHANNELS)
    for track, program in enumerate(single.programs):
        channel = DRUM_CHANNEL if program == DRUMS else next(free)
        messages = mido.MidiTrack()
        if single.tracks:
            messages.append(mido.MetaMessage("track_name", name=single.tracks[track]))
        messages.append(mido.Message("program_change", program=program % DRUMS, channel=channel))
        last = 0
        for tick, pitch, velocity in _events(notes[notes.track == track], step):
            messages.append(mido.Message("note_on", channel=channel, note=pitch, velocity=velocity, time=tick - last))
            last = tick
        messages.append(mido.MetaMessage("end_of_track", time=max(0, length - last)))
        file.tracks.append(messages)
    file.save(str(path))


def read_midi(path: str | Path, steps_per_beat: int = 4) -> Rolls:
    """Read a MIDI file as a set of one roll: pitches 0..127, one track a part (`bench.notes.midi`).

    Args:
        path: the file.
        steps_per_beat: steps a quarter note.

    Returns:
        One roll; its id and its group are the file's name without suffix.

    Raises:
        DataError: the file is missing, too large, damaged, without notes, or so long that its roll would not fit in
        memory.
    """
    score = read_score(path)
    notes = quantised(score, steps_per_beat)
    length = steps_in(score, steps_per_beat)
    if length * len(score.parts) * 128 > LARGEST_ROLL:
        most = LARGEST_ROLL // (128 * len(score.parts) * steps_per_beat)
        size = f"{length // steps_per_beat} beats in {len(score.parts)} tracks"
        raise DataError(f"{printable(path)}: {size}, expected at most {most} beats")
    grids = grid(notes, 1, len(score.parts), length)
    return Rolls(
        *grids,
        programs=tuple(part.program for part in score.parts),
        ids=(printable(score.path.stem),),
        groups=(printable(score.path.stem),),
        lengths=torch.tensor([length]),
        tempo=torch.tensor([score.tempo]),
        steps_per_beat=steps_per_beat,
        beats_per_bar=score.beats_per_bar,
        tracks=score.names,
    )


def quantised(score: Score, steps_per_beat: int, origin: int = 0) -> Notes:
    """Round the notes of a score to steps.

    Args:
        score: the score.
        steps_per_beat: steps a quarter note.
        origin: the tick of step 0.

    Returns:
        Notes in the order of the score, of roll 0, a track a part. Notes that follow each other within one step
        overlap.
    """
    part, begin, end, pitch, velocity = score.notes[:, :5].unbind(1)
    start = _steps(begin - origin, steps_per_beat, score.ticks_per_beat)
    duration = (_steps(end - origin, steps_per_beat, score.ticks_per_beat) - start).clamp(min=1)
    return Notes(torch.zeros_like(part), part, start, duration, pitch, velocity / 127)


def steps_in(score: Score, steps_per_beat: int) -> int:
    """Count the steps of a whole file, with all its notes and all its ticks.

    Args:
        score: The score.
        steps_per_beat: Steps a quarter note.

    Returns:
        The number of steps.
    """
    last = int(quantised(score, steps_per_beat).end.max())
    return max(last, -(-score.length * steps_per_beat // score.ticks_per_beat))


def _events(notes: Notes, step: int) -> list[tuple[int, int, int]]:
    """Return (tick, pitch, velocity) in order of time, velocity 0 for the end of a note; ends precede beginnings."""
    velocity = (notes.velocity * 127).round().clamp(1, 127).long()
    begin = torch.stack([notes.start * step, notes.pitch, velocity], 1)
    end = torch.stack([notes.end * step, notes.pitch, torch.zeros_like(velocity)], 1)
    return sorted((tick, pitch, velocity) for tick, pitch, velocity in torch.cat([begin, end]).tolist())


def _conductor(mido: Any, tempo: float, beats_per_bar: int, length: int) -> Any:
    """Return the first track of a file of format 1: tempo, metre and the end of the music."""
    microseconds = min(max(round(60e6 / tempo), 1), (1 << 24) - 1)
    track = mido.MidiTrack()
    track.append(mido.MetaMessage("time_signature", numerator=beats_per_bar, denominator=4))
    track.append(mido.MetaMessage("set_tempo", tempo=microseconds))
    track.append(mido.MetaMessage("end_of_track", time=length))
    return track


def _steps(ticks: Tensor, steps_per_beat: int, ticks_per_beat: int) -> Tensor:
    """Round ticks to the nearest step, halves upwards."""
    return (2 * ticks * steps_per_beat + ticks_per_beat).div(2 * ticks_per_beat, rounding_mode="floor")
