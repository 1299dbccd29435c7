"""What a MIDI file says, in ticks: its notes, with the messages that begin and end them, its tempo and its metre.

Conventions
-----------
* A part is what one track of the file plays on one channel with one program; channel 10 (index 9) is drums.
* A pitch of a channel sounds once at a time within a track. A strike ends the note that sounds there already, and the
  next release ends the new one; a further release says nothing. Parsers disagree about such overlaps (first in, first
  out, or last in, first out), and a synthesiser's voices of one pitch end with the first release.
* A note of no length lasts one tick; of two strikes in one tick the second counts. A note that is never released lasts
  to the end of its track.
* mido reads and writes: the faster parsers at hand lose silent tracks, and one of them ends the process on damaged
  files.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bench.errors import DataError

__all__ = ["DRUMS", "DRUM_CHANNEL", "MIDI_SUFFIXES", "Part", "Score", "read_score"]

MIDI_SUFFIXES = (".mid", ".midi")
DRUMS = 128  # the program of a drum track; MIDI itself knows drums by their channel
DRUM_CHANNEL = 9
LARGEST_FILE = 8 << 20  # bytes; the longest piano recordings of MAESTRO have 0.4 MB
DEFAULT_TEMPO = 120.0  # MIDI's own, where a file states none


class Part(NamedTuple):
    """Where a part's notes lie in the file."""

    track: int  # of the file
    channel: int  # 0..15
    program: int  # General MIDI 0..127, or 128 for drums


@dataclass(frozen=True, eq=False)
class Score:
    """A file and its notes. `columns` names what a note's row holds, in ticks and MIDI numbers."""

    path: Path
    file: Any  # mido's MidiFile
    parts: tuple[Part, ...]
    names: tuple[str, ...]  # of the parts' tracks, one a part
    # int64 [note, 7]: part, begin, end (exclusive), pitch, velocity, and the places in the track's list of messages of
    # the one that strikes it and of the one that releases it, -1 where a later strike or the track's end does.
    notes: Tensor

    @property
    def ticks_per_beat(self) -> int:
        return int(self.file.ticks_per_beat)

    @property
    def length(self) -> int:
        """Ticks to the last message of any track."""
        return max((sum(message.time for message in messages) for messages in self.file.tracks), default=0)

    @property
    def tempo(self) -> float:
        """Beats a minute; of several tempi, the one at which the notes together last as long."""
        return _tempo(self.file, int(self.notes[:, 2].max()) if len(self.notes) else 0)

    @property
    def beats_per_bar(self) -> int:
        """Quarter notes in a bar of the first metre; of the fewest bars that are a whole number of them."""
        metres = _meta(self.file, "time_signature")
        if not metres:
            return 4
        bar = 4 * int(metres[0][1].numerator)
        return max(1, bar // math.gcd(bar, int(metres[0][1].denominator)))


def read_score(path: str | Path) -> Score:
    """One MIDI file of format 0 or 1. Parts are in the order of their first notes; silent ones come with their track.

    Raises `DataError`, one line, for a file that is missing, too large, damaged or without notes.
    """
    path = Path(path)
    file = _parsed(path)
    parts, names, notes = _collect(file)
    if not notes:
        raise DataError(f"{path}: the MIDI file holds no notes, expected at least one")
    table = torch.tensor(notes, dtype=torch.int64)
    return Score(path, file, tuple(parts), tuple(names), _lasting(table, parts))


def _parsed(path: Path) -> Any:
    """The file as mido's `MidiFile`, or a `DataError` that says what is wrong with it."""
    import mido

    if not path.is_file():
        raise DataError(f"{path}: no such file, expected a MIDI file")
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise DataError(f"{path}: {size} bytes, expected a MIDI file of at most {LARGEST_FILE}")
    _teach_mido()
    try:
        file = mido.MidiFile(str(path), clip=True)
    except Exception as error:  # mido raises what its parser trips over: EOFError, OSError, ValueError, IndexError ...
        reason = str(error) or "it ends too early"
        raise DataError(f"{path}: not a MIDI file that can be read ({size} bytes; {reason})") from error
    if file.type == 2 or file.ticks_per_beat <= 0:
        kind = "independent sequences (format 2)" if file.type == 2 else "SMPTE time code"
        raise DataError(f"{path}: the MIDI file counts in {kind}, expected format 0 or 1 in ticks a beat")
    return file


@functools.cache
def _teach_mido() -> None:
    """Describe the meta messages that mido does not know: it loses their time, and all that follows comes early."""
    from mido.midifiles import meta

    def decode(self: Any, message: Any, data: Any) -> None:
        message.data = tuple(data)

    def encode(self: Any, message: Any) -> list[int]:
        return list(message.data)

    known = {"attributes": ["data"], "defaults": [()], "decode": decode, "encode": encode}
    for number in set(range(0x80)) - set(meta._META_SPECS):
        name = f"meta_{number:02x}"
        meta.add_meta_spec(type(name, (meta.MetaSpec,), {**known, "type_byte": number, "type": name}))


def _collect(file: Any) -> tuple[list[Part], list[str], list[tuple[int, int, int, int, int, int, int]]]:
    """Parts, their names, and rows of notes as `Score` holds them.

    A track without notes is kept as a part if it names a program.
    """
    parts: dict[Part, int] = {}
    names: list[str] = []
    notes: list[tuple[int, int, int, int, int, int, int]] = []
    for number, messages in enumerate(file.tracks):
        name, now = "", 0
        programs: dict[int, int] = {}
        sounding: dict[tuple[int, int], tuple[int, int, int, int]] = {}
        known = len(parts)
        for place, message in enumerate(messages):
            now += message.time
            kind = message.type
            if kind in ("note_on", "note_off"):
                key = (message.channel, message.note)
                struck = kind == "note_on" and message.velocity > 0
                if key in sounding:  # the end of a note, or a re-strike, which ends it too
                    part, begin, velocity, strike = sounding.pop(key)
                    notes.append((part, begin, now, message.note, velocity, strike, -1 if struck else place))
                if struck:
                    drums = message.channel == DRUM_CHANNEL
                    found = Part(number, message.channel, DRUMS if drums else programs.get(message.channel, 0))
                    sounding[key] = (parts.setdefault(found, len(parts)), now, message.velocity, place)
            elif kind == "program_change":
                programs[message.channel] = message.program
            elif kind == "track_name":
                name = name or message.name.encode("latin-1", "replace").decode("utf-8", "replace")
        for (_, pitch), (part, begin, velocity, strike) in sounding.items():  # never released
            notes.append((part, begin, now, pitch, velocity, strike, -1))
        if len(parts) == known:
            for channel, program in programs.items():
                parts[Part(number, channel, DRUMS if channel == DRUM_CHANNEL else program)] = len(parts)
        names += [name] * (len(parts) - known)
    return list(parts), names, notes


def _lasting(table: Tensor, parts: list[Part]) -> Tensor:
    """The notes, each of a tick at least; one that is struck again in the tick of its strike is left out."""
    part, begin, end, pitch = table[:, :4].unbind(1)
    table[:, 2] = torch.maximum(end, begin + 1)
    lane = torch.tensor([16 * part.track + part.channel for part in parts])[part] * 128 + pitch
    order = begin.argsort(stable=True)
    order = order[lane[order].argsort(stable=True)]
    follows = lane[order][1:] == lane[order][:-1]
    kept = torch.ones(len(table), dtype=torch.bool)
    kept[order[:-1]] = ~(follows & (begin[order][1:] < table[order][:-1, 2]))
    return table[kept]


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
