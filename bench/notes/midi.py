"""MIDI files as notes in ticks, each with the events that strike and release it, and their tempo and metre.

Conventions
-----------

* A part is what one track of the file plays on one channel with one program; channel 10 (index 9) is drums.
* A pitch of a channel sounds once at a time within a track. A strike ends a note that already sounds there, and the
  next release ends the new one; further releases have no effect. Parsers disagree about such overlaps (first in, first
  out, or last in, first out), and a synthesiser ends all voices of a pitch at the first release.
* A note of no length lasts one tick; of two strikes in one tick, the second counts. A note that is never released lasts
  to the end of its track.
* Tempo and metre events with too few bytes are skipped; further bytes are ignored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from bench.errors import DataError
from bench.files import printable
from bench.notes.smf import NOTE_OFF, NOTE_ON, PROGRAM, Event, Smf, Track, parse, read_bytes

__all__ = ["DRUMS", "DRUM_CHANNEL", "MIDI_SUFFIXES", "Score", "ScorePart", "note_event", "read_score", "score_of"]

MIDI_SUFFIXES = (".mid", ".midi", ".kar", ".rmi", ".smf")
DRUMS = 128  # the program of a drum track here; in MIDI, drums are a channel
DRUM_CHANNEL = 9
DEFAULT_TEMPO = 120.0  # beats a minute, MIDI's default
TRACK_NAME, SET_TEMPO, TIME_SIGNATURE = 0x03, 0x51, 0x58  # types of meta events


class ScorePart(NamedTuple):
    """What one track plays on one channel with one program."""

    track: int  # of the file
    channel: int  # 0..15
    program: int  # General MIDI 0..127, or 128 for drums


@dataclass(frozen=True, eq=False)
class Score:
    """A MIDI file and its notes.

    Attributes:
        path: the file's name.
        file: its bytes, as chunks and events.
        parts: tracks, channels and programs; `notes` refer to them by number.
        names: of the parts' tracks, one a part.
        notes: int64 [note, 7], in ticks and MIDI numbers: part, begin, end (exclusive), pitch, velocity, and the
            numbers of the track's events that strike and release the note; -1 where a later strike or the end of the
            track ends it.
    """

    path: Path
    file: Smf
    parts: tuple[ScorePart, ...]
    names: tuple[str, ...]
    notes: Tensor

    @property
    def ticks_per_beat(self) -> int:
        """Ticks a quarter note."""
        return self.file.division

    @property
    def length(self) -> int:
        """Ticks to the last event of any track."""
        return max((track.length for track in self.file.tracks), default=0)

    @property
    def tempo(self) -> float:
        """Beats a minute; with several tempi, the mean that keeps the duration of the notes."""
        return _tempo(self.file, int(self.notes[:, 2].max()) if len(self.notes) else 0)

    @property
    def metres(self) -> list[tuple[int, int]]:
        """Numerator and denominator of every time signature, in order of time."""
        metas = _metas(self.file, TIME_SIGNATURE, 2)
        return [(data[0], 2 ** data[1]) for _, data in metas if data[0] > 0]

    @property
    def beats_per_bar(self) -> int:
        """Quarter notes in a bar of the first metre, or in the fewest bars that are a whole number of them."""
        if not self.metres:
            return 4
        numerator, denominator = self.metres[0]
        return max(1, 4 * numerator // math.gcd(4 * numerator, denominator))


def read_score(path: str | Path) -> Score:
    """Read the notes of a MIDI file.

    Args:
        path: A file of format 0 or 1 that counts in ticks a quarter note, plain or in RIFF (.rmi).

    Returns:
        Parts in the order of their first notes; parts without notes come with their track.

    Raises:
        DataError: The file is missing, too large, damaged, of another format, or without notes.
    """
    path = Path(path)
    return score_of(read_bytes(path), path)


def score_of(data: bytes, path: Path) -> Score:
    """Read the notes from the bytes of a MIDI file.

    Args:
        data: The whole file.
        path: Its name, for messages and ids.

    Returns:
        As `read_score`.

    Raises:
        DataError: As `read_score`.
    """
    file = parse(data, path)
    if file.kind not in (0, 1):
        raise DataError(f"{printable(path)}: a MIDI file of format {file.kind}, expected format 0 or 1")
    if file.division >= 0x8000:
        raise DataError(f"{printable(path)}: the MIDI file counts in SMPTE time code, expected ticks a quarter note")
    if file.division == 0:
        raise DataError(f"{printable(path)}: the MIDI file states 0 ticks a quarter note, expected at least 1")
    parts, names, notes = _collect(file)
    if not notes:
        raise DataError(f"{printable(path)}: the MIDI file holds no notes, expected at least one")
    table = torch.tensor(notes, dtype=torch.int64)
    return Score(path, file, tuple(parts), tuple(names), _lasting(table, parts))


def note_event(track: Track, event: Event) -> tuple[int, int] | None:
    """Read an event as a strike or a release.

    Args:
        track: The track.
        event: One of its events.

    Returns:
        Pitch and velocity, 0 for a release; None for any other event. A velocity byte of 128 and more counts as 127; a
        pitch byte of 128 and more is no note.
    """
    if event.status & 0xE0 != NOTE_OFF or track.content[event.data] >= 0x80:
        return None
    velocity = min(track.content[event.data + 1], 127) if event.status & 0xF0 == NOTE_ON else 0
    return track.content[event.data], velocity


def _collect(file: Smf) -> tuple[list[ScorePart], list[str], list[tuple[int, int, int, int, int, int, int]]]:
    """Return parts, the names of their tracks, and rows of notes as `Score` has them.

    A track without notes is a part too if it names a program.
    """
    parts: dict[ScorePart, int] = {}
    names: list[str] = []
    notes: list[tuple[int, int, int, int, int, int, int]] = []
    for number, track in enumerate(file.tracks):
        name = ""
        programs: dict[int, int] = {}
        sounding: dict[tuple[int, int], tuple[int, int, int, int]] = {}
        parts_before = len(parts)
        for index, event in enumerate(track.events):
            tick, channel = event.tick, event.status & 0x0F
            if (note := note_event(track, event)) is not None:
                pitch, velocity = note
                if (channel, pitch) in sounding:  # the end of a note, or a re-strike, which ends it too
                    part, begin, loudness, strike = sounding.pop((channel, pitch))
                    notes.append((part, begin, tick, pitch, loudness, strike, -1 if velocity else index))
                if velocity:
                    program = DRUMS if channel == DRUM_CHANNEL else programs.get(channel, 0)
                    part = parts.setdefault(ScorePart(number, channel, program), len(parts))
                    sounding[channel, pitch] = (part, tick, velocity, index)
            elif event.status & 0xF0 == PROGRAM:
                programs[channel] = min(track.content[event.data], 127)
            elif (meta := track.meta(event)) is not None and meta[0] == TRACK_NAME:
                name = name or meta[1].decode("utf-8", "replace")
        for (_, pitch), (part, begin, loudness, strike) in sounding.items():  # never released
            notes.append((part, begin, track.length, pitch, loudness, strike, -1))
        if len(parts) == parts_before:
            for channel, program in programs.items():
                parts[ScorePart(number, channel, DRUMS if channel == DRUM_CHANNEL else program)] = len(parts)
        names += [name] * (len(parts) - parts_before)
    return list(parts), names, notes


def _lasting(table: Tensor, parts: list[ScorePart]) -> Tensor:
    """Make each note last a tick at least; drop a note that is struck again in the tick of its strike."""
    part, begin, end, pitch = table[:, :4].unbind(1)
    table[:, 2] = torch.maximum(end, begin + 1)
    lane = torch.tensor([16 * part.track + part.channel for part in parts])[part] * 128 + pitch
    order = begin.argsort(stable=True)
    order = order[lane[order].argsort(stable=True)]
    follows = lane[order][1:] == lane[order][:-1]
    keep = torch.ones(len(table), dtype=torch.bool)
    keep[order[:-1]] = ~(follows & (begin[order][1:] < table[order][:-1, 2]))
    return table[keep]


def _metas(file: Smf, kind: int, size: int) -> list[tuple[int, bytes]]:
    """Return ticks and data of the meta events of one type with at least `size` bytes, in order of time."""
    metas = []
    for track in file.tracks:
        for event in track.events:
            meta = track.meta(event)
            if meta is not None and meta[0] == kind and len(meta[1]) >= size:
                metas.append((event.tick, meta[1]))
    return sorted(metas, key=lambda meta: meta[0])


def _tempo(file: Smf, end: int) -> float:
    """Return the beats a minute at which a piece that ends at `end` ticks keeps its duration."""
    changes = [(0, 60e6 / DEFAULT_TEMPO)]
    changes += [(tick, max(1, int.from_bytes(data[:3]))) for tick, data in _metas(file, SET_TEMPO, 3)]
    until = [tick for tick, _ in changes[1:]] + [end]
    intervals = [(max(0, min(stop, end) - tick), beat) for (tick, beat), stop in zip(changes, until, strict=True)]
    total = sum(ticks for ticks, _ in intervals)
    if total == 0:
        return float(60e6 / changes[-1][1])
    return float(60e6 * total / sum(ticks * beat for ticks, beat in intervals))
