"""Piano rolls, note lists and MIDI files, and the way from each to the other.

Conventions
-----------
* Time is counted in steps, `steps_per_beat` to the quarter note; a MIDI file's ticks are rounded to the nearest step
  and a note lasts at least one step.
* `Notes` are columns of equal length, not a list of objects, so that every conversion is a scatter or a gather.
* Within one track notes of the same pitch never overlap: where the next one begins, the earlier one ends. Parsers
  disagree about such overlaps (first in, first out, or last in, first out), so no file that is written here holds one.
* A cell that sounds after a silent one begins a note even without an onset flag: a defense may have put it there.
* mido reads and writes: the faster parsers at hand lose silent tracks, and one of them ends the process on damaged
  files.

A `Rolls` keeps one tempo and one metre. A file with several tempi is read at the one that keeps its duration; of
several metres the first counts, and a bar that is no whole number of quarter notes is joined with the next one (7/8
is read as 7 quarters).
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

__all__ = ["DRUMS", "Notes", "grid", "notes_of", "read_midi", "write_midi"]

DRUMS = 128  # the program of a drum track; MIDI itself knows drums by their channel
DRUM_CHANNEL = 9
MELODIC_CHANNELS = tuple(channel for channel in range(16) if channel != DRUM_CHANNEL)
LARGEST_FILE = 8 << 20  # bytes; the longest piano recordings of MAESTRO have 0.4 MB
LARGEST_ROLL = 1 << 27  # cells of one roll, 5 bytes each
DEFAULT_TEMPO = 120.0  # MIDI's own, where a file states none


@dataclass(frozen=True, eq=False)
class Notes:
    """Notes as columns of equal length, in any order."""

    roll: Tensor  # int64 [note]: which roll of the set
    track: Tensor  # int64 [note]
    start: Tensor  # int64 [note], steps
    duration: Tensor  # int64 [note], steps, at least 1
    pitch: Tensor  # int64 [note], MIDI 0..127
    velocity: Tensor  # float32 [note], 0..1

    def __len__(self) -> int:
        return len(self.roll)

    def __getitem__(self, at: Tensor) -> Notes:
        """The notes at an index or where a mask is true."""
        return Notes(
            self.roll[at], self.track[at], self.start[at], self.duration[at], self.pitch[at], self.velocity[at]
        )

    @property
    def end(self) -> Tensor:
        """int64 [note]: the first step at which the note no longer sounds."""
        return self.start + self.duration

    @classmethod
    def of(cls, rows: Sequence[Sequence[float]] | Tensor) -> Notes:
        """From rows (roll, track, start, duration, pitch, velocity)."""
        table = torch.as_tensor(rows, dtype=torch.float64).reshape(-1, 6)
        roll, track, start, duration, pitch = table[:, :5].long().unbind(1)
        return cls(roll, track, start, duration, pitch, table[:, 5].float())


def grid(
    notes: Notes, rolls: int, tracks: int, steps: int, lowest: int = 0, pitches: int = 128
) -> tuple[Tensor, Tensor]:
    """Notes as the two tensors of a `Rolls`: velocity float32 and onset bool, [roll, track, step, pitch].

    What lies before step 0 or from `steps` on is cut off; a note that begins before step 0 and still sounds there
    begins at 0. Of two notes of the same pitch, the later one ends the earlier; of two that begin together, the
    longer stays. Raises `DataError` where a pitch is outside `lowest .. lowest + pitches - 1`.
    """
    shape = (rolls, tracks, steps, pitches)
    start, end = notes.start.clamp(min=0), notes.end.clamp(max=steps)
    inside = end > start
    notes = replace(notes, start=start, duration=end - start)[inside]
    pitch = notes.pitch - lowest
    if len(notes) and not bool(((pitch >= 0) & (pitch < pitches)).all()):
        found = f"{int(notes.pitch.min())}..{int(notes.pitch.max())}"
        raise DataError(f"notes of pitch {found}, expected {lowest}..{lowest + pitches - 1}")
    key = (notes.roll * tracks + notes.track) * pitches + pitch
    order = torch.argsort((key * (steps + 1) + notes.start) * (steps + 1) + notes.duration)
    key, start, duration = key[order], notes.start[order], notes.duration[order].clone()
    follows = key[1:] == key[:-1]
    duration[:-1] = torch.where(follows, torch.minimum(duration[:-1], start[1:] - start[:-1]), duration[:-1])
    kept = duration > 0
    start, duration, order = start[kept], duration[kept], order[kept]

    first = ((notes.roll[order] * tracks + notes.track[order]) * steps + start) * pitches + pitch[order]
    note = torch.repeat_interleave(torch.arange(len(first), device=first.device), duration)
    ahead = torch.arange(len(note), device=first.device) - (duration.cumsum(0) - duration)[note]
    velocity = torch.zeros(math.prod(shape), device=first.device)
    velocity[first[note] + ahead * pitches] = notes.velocity[order][note]
    onset = torch.zeros(math.prod(shape), dtype=torch.bool, device=first.device)
    onset[first] = True
    return velocity.reshape(shape), onset.reshape(shape)


def notes_of(rolls: Rolls) -> Notes:
    """The notes of a set, ordered by roll, track, pitch and start. A note's velocity is that of its first cell."""
    sounds = (rolls.velocity.detach() > 0).transpose(2, 3)  # [roll, track, pitch, step]: a note's cells side by side
    before = torch.nn.functional.pad(sounds, (1, 0))[..., :-1]
    begins = sounds & (rolls.onset.transpose(2, 3) | ~before)
    roll, track, cell, step = begins.nonzero(as_tuple=True)
    # Every cell that sounds belongs to the last note begun: the cells between two beginnings are the duration.
    number = begins[sounds].long().cumsum(0) - 1
    duration = torch.bincount(number, minlength=len(step))
    velocity = rolls.velocity.detach()[roll, track, step, cell]
    return Notes(roll, track, step, duration, cell + rolls.lowest, velocity)


def write_midi(rolls: Rolls, index: int, path: str | Path) -> None:
    """Write one roll of a set as a MIDI file of format 1, one track a track, silent ones too.

    The velocity is rounded to 1..127, the tempo to whole microseconds a beat. Where the music ends is the end of every
    track. Raises `DataError` for more than 15 melodic tracks: MIDI has no channel for them.
    """
    import mido

    melodic = sum(program != DRUMS for program in rolls.programs)
    if melodic > len(MELODIC_CHANNELS):
        raise DataError(f"{melodic} melodic tracks, but a MIDI file has {len(MELODIC_CHANNELS)} channels for them")
    one = rolls.select([index]).to("cpu")
    notes = notes_of(one)
    step = math.ceil(480 / one.steps_per_beat)  # ticks
    length = int(one.lengths[0]) * step
    file = mido.MidiFile(type=1, ticks_per_beat=step * one.steps_per_beat, charset="utf-8")
    file.tracks.append(_conductor(mido, float(one.tempo[0]), one.beats_per_bar, length))
    free = iter(MELODIC_CHANNELS)
    for track, program in enumerate(one.programs):
        channel = DRUM_CHANNEL if program == DRUMS else next(free)
        messages = mido.MidiTrack()
        if one.tracks:
            messages.append(mido.MetaMessage("track_name", name=one.tracks[track]))
        messages.append(mido.Message("program_change", program=program % DRUMS, channel=channel))
        now = 0
        for tick, pitch, velocity in _events(notes[notes.track == track], step):
            messages.append(mido.Message("note_on", channel=channel, note=pitch, velocity=velocity, time=tick - now))
            now = tick
        messages.append(mido.MetaMessage("end_of_track", time=max(0, length - now)))
        file.tracks.append(messages)
    file.save(str(path))


def read_midi(path: str | Path, steps_per_beat: int = 4) -> Rolls:
    """One MIDI file as a set of one roll: pitches 0..127, one track a channel and program of a file's track.

    The id and the group are the file's name without suffix. Raises `DataError`, one line, for a file that is missing,
    too large, damaged, without notes, or so long that its roll would not fit in memory.
    """
    path = Path(path)
    file = _parsed(path)
    parts, notes = _collect(file)
    if not notes:
        raise DataError(f"{path}: the MIDI file holds no notes, expected at least one")
    ticks = file.ticks_per_beat
    table = torch.tensor(notes, dtype=torch.int64)
    track, begin, end, pitch, velocity = table.unbind(1)
    start = _steps(begin, steps_per_beat, ticks)
    duration = (_steps(end, steps_per_beat, ticks) - start).clamp(min=1)
    written = max(sum(message.time for message in messages) for messages in file.tracks)
    length = max(int((start + duration).max()), -(-written * steps_per_beat // ticks))
    if length * len(parts) * 128 > LARGEST_ROLL:
        most = LARGEST_ROLL // (128 * len(parts) * steps_per_beat)
        raise DataError(
            f"{path}: {length // steps_per_beat} beats in {len(parts)} tracks, expected at most {most} beats"
        )
    columns = Notes(torch.zeros_like(track), track, start, duration, pitch, velocity / 127)
    grids = grid(columns, 1, len(parts), length)
    return Rolls(
        *grids,
        programs=tuple(program for program, _ in parts),
        ids=(path.stem,),
        groups=(path.stem,),
        lengths=torch.tensor([length]),
        tempo=torch.tensor([_tempo(file, int(end.max()))]),
        steps_per_beat=steps_per_beat,
        beats_per_bar=_beats_per_bar(file),
        tracks=tuple(name for _, name in parts),
    )


def _parsed(path: Path) -> Any:
    """The file as mido's `MidiFile`, or a `DataError` that says what is wrong with it."""
    import mido

    if not path.is_file():
        raise DataError(f"{path}: no such file, expected a MIDI file")
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise DataError(f"{path}: {size} bytes, expected a MIDI file of at most {LARGEST_FILE}")
    try:
        file = mido.MidiFile(str(path), clip=True)
    except Exception as error:  # mido raises what its parser trips over: EOFError, OSError, ValueError, IndexError ...
        reason = str(error) or "it ends too early"
        raise DataError(f"{path}: not a MIDI file that can be read ({size} bytes; {reason})") from error
    if file.type == 2 or file.ticks_per_beat <= 0:
        kind = "independent sequences (format 2)" if file.type == 2 else "SMPTE time code"
        raise DataError(f"{path}: the MIDI file counts in {kind}, expected format 0 or 1 in ticks a beat")
    return file


def _collect(file: Any) -> tuple[list[tuple[int, str]], list[tuple[int, int, int, int, int]]]:
    """Tracks (program, name) and notes (track, begin, end, pitch, velocity) in ticks.

    A file's track is split by channel and program. One without notes is kept if it names a program.
    """
    parts: dict[tuple[int, int, int], int] = {}
    names: list[str] = []
    notes: list[tuple[int, int, int, int, int]] = []
    for number, messages in enumerate(file.tracks):
        name, now = "", 0
        programs: dict[int, int] = {}
        sounding: dict[tuple[int, int], tuple[tuple[int, int, int], int, int]] = {}
        known = len(parts)
        for message in messages:
            now += message.time
            if message.type == "track_name":
                name = name or message.name.encode("latin-1", "replace").decode("utf-8", "replace")
            elif message.type == "program_change":
                programs[message.channel] = message.program
            elif message.type in ("note_on", "note_off"):
                key = (message.channel, message.note)
                if key in sounding:  # the end of a note, or a re-strike, which ends it too
                    part, begin, velocity = sounding.pop(key)
                    notes.append((parts[part], begin, now, message.note, velocity))
                if message.type == "note_on" and message.velocity > 0:
                    drums = message.channel == DRUM_CHANNEL
                    part = (number, message.channel, DRUMS if drums else programs.get(message.channel, 0))
                    parts.setdefault(part, len(parts))
                    sounding[key] = (part, now, message.velocity)
        for (_, pitch), (part, begin, velocity) in sounding.items():  # never released: they last to the track's end
            notes.append((parts[part], begin, now, pitch, velocity))
        if len(parts) == known:
            for channel, program in programs.items():
                parts[number, channel, DRUMS if channel == DRUM_CHANNEL else program] = len(parts)
        names += [name] * (len(parts) - known)
    return [(program, name) for (_, _, program), name in zip(parts, names, strict=True)], notes


def _events(notes: Notes, step: int) -> list[tuple[int, int, int]]:
    """(tick, pitch, velocity) in order of time, velocity 0 at the end of a note; ends come before beginnings."""
    velocity = (notes.velocity * 127).round().clamp(1, 127).long()
    begin = torch.stack([notes.start * step, notes.pitch, velocity], 1)
    end = torch.stack([notes.end * step, notes.pitch, torch.zeros_like(velocity)], 1)
    return sorted((tick, pitch, velocity) for tick, pitch, velocity in torch.cat([begin, end]).tolist())


def _conductor(mido: Any, tempo: float, beats_per_bar: int, length: int) -> Any:
    """The first track of a file of format 1: tempo, metre and where the music ends."""
    microseconds = min(max(round(60e6 / tempo), 1), (1 << 24) - 1)
    track = mido.MidiTrack()
    track.append(mido.MetaMessage("time_signature", numerator=beats_per_bar, denominator=4))
    track.append(mido.MetaMessage("set_tempo", tempo=microseconds))
    track.append(mido.MetaMessage("end_of_track", time=length))
    return track


def _steps(ticks: Tensor, steps_per_beat: int, ticks_per_beat: int) -> Tensor:
    """Ticks to the nearest step, halves upwards."""
    return (2 * ticks * steps_per_beat + ticks_per_beat).div(2 * ticks_per_beat, rounding_mode="floor")


def _meta(file: Any, kind: str) -> list[tuple[int, Any]]:
    """The meta messages of one kind with their ticks, in order of time."""
    found = []
    for messages in file.tracks:
        now = 0
        for message in messages:
            now += message.time
            if message.type == kind:
                found.append((now, message))
    return sorted(found, key=lambda pair: pair[0])


def _tempo(file: Any, end: int) -> float:
    """Beats a minute at which a piece that ends at `end` ticks keeps its duration."""
    changes = [(0, 60e6 / DEFAULT_TEMPO)] + [
        (tick, max(1, message.tempo)) for tick, message in _meta(file, "set_tempo")
    ]
    until = [tick for tick, _ in changes[1:]] + [end]
    spent = [(max(0, min(stop, end) - tick), beat) for (tick, beat), stop in zip(changes, until, strict=True)]
    total = sum(ticks for ticks, _ in spent)
    if total == 0:
        return float(60e6 / changes[-1][1])
    return float(60e6 * total / sum(ticks * beat for ticks, beat in spent))


def _beats_per_bar(file: Any) -> int:
    """Quarter notes in a bar of the first metre; of the fewest bars that are a whole number of them."""
    metres = _meta(file, "time_signature")
    if not metres:
        return 4
    bar = 4 * int(metres[0][1].numerator)
    return max(1, bar // math.gcd(bar, int(metres[0][1].denominator)))
