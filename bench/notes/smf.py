"""Standard MIDI Files as bytes: chunks and events with their offsets, so that everything unedited can be copied.

Conventions
-----------

* Reading is lenient where the content is complete: a wrong chunk length is replaced by the end of the track's events,
  running status continues after SysEx and meta events, data bytes may have their eighth bit set, unknown chunks and
  bytes after the last track are kept. A file whose events are truncated is refused.
* A RIFF file of type RMID (.rmi) is read by its `data` chunk.
* Joining the parts of a file in order gives its bytes again.

Sources: MIDI 1.0 Detailed Specification (MMA, 1996), chapter "Standard MIDI Files 1.0"; RP-019 and "Microsoft
Multimedia Standards Update", 1994, for RIFF MIDI files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.errors import DataError
from bench.files import printable

__all__ = [
    "END_OF_TRACK", "META", "NOTE_OFF", "NOTE_ON", "PROGRAM", "SYSTEM", "Event", "Smf", "Track", "parse", "read_bytes",
    "varlen",
]  # fmt: skip

LARGEST_FILE = 8 << 20  # bytes; the longest piano recordings of MAESTRO have 0.4 MB

NOTE_OFF, NOTE_ON, PROGRAM = 0x80, 0x90, 0xC0  # the upper half of a status byte
SYSTEM = 0xF0  # status bytes from here on are not channel messages
META, SYSEX, ESCAPE = 0xFF, 0xF0, 0xF7
END_OF_TRACK = 0x2F  # meta type
_CHUNK = 8  # bytes of a chunk's tag and length
_LONGEST_DELTA = 1 << 28  # what a variable-length quantity of four bytes holds
_CUT = "it ends too early"
_DATA_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0, 0xF8: 0, 0xFA: 0, 0xFB: 0, 0xFC: 0, 0xFE: 0}  # by system status
_DATA_BYTES |= {status: 1 if status & 0xE0 == 0xC0 else 2 for status in range(0x80, 0xF0)}


class Event(NamedTuple):
    """One event of a track. Offsets count from the track's first byte after the chunk header."""

    tick: int  # from the beginning of the track
    status: int  # the running status where the event has no status byte
    start: int  # of the delta time
    body: int  # of the first byte after the delta time
    data: int  # of the first data byte: `body` under running status, else `body` + 1
    end: int  # of the first byte after the event


@dataclass(frozen=True, eq=False)
class Track:
    """One MTrk chunk.

    Attributes:
        header: the eight bytes of tag and length, as they are in the file.
        content: all bytes of the chunk after its header.
        events: in the order of the file. The bytes of `content` after the last one are no events.
    """

    header: bytes
    content: bytes
    events: tuple[Event, ...]

    @property
    def length(self) -> int:
        """Ticks from the beginning of the track to its last event."""
        return self.events[-1].tick if self.events else 0

    def message(self, event: Event) -> bytes:
        """Return the bytes of an event without its delta time.

        Args:
            event: One of the track's events.

        Returns:
            The bytes, with the status byte where the event has one.
        """
        return self.content[event.body : event.end]

    def meta(self, event: Event) -> tuple[int, bytes] | None:
        """Return type and data of a meta event.

        Args:
            event: One of the track's events.

        Returns:
            Type and data; None for other events.
        """
        if event.status != META:
            return None
        _, start = _quantity(self.content, event.data + 1)
        return self.content[event.data], self.content[start : event.end]


@dataclass(frozen=True, eq=False)
class Smf:
    """One file.

    Attributes:
        chunks: in the order of the file; `Track` for an MTrk chunk, else the bytes of a chunk or of what is no chunk.
            The first is the header chunk, MThd.
        kind: format 0, 1 or 2.
        division: ticks a quarter note; 0x8000 and more is SMPTE time code.
        before: the bytes before the header chunk, of the RIFF header and of the chunks before `data`.
        after: the bytes after the last chunk, of further RIFF chunks.
    """

    chunks: tuple[bytes | Track, ...]
    kind: int
    division: int
    before: bytes = b""
    after: bytes = b""

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The track chunks, in the order of the file."""
        return tuple(chunk for chunk in self.chunks if isinstance(chunk, Track))

    @property
    def riff(self) -> bool:
        """Whether the file is a RIFF file (.rmi)."""
        return bool(self.before)

    def to_bytes(self) -> bytes:
        """Return the bytes of the whole file.

        Returns:
            The bytes that were parsed.
        """
        return self.before + _joined(self.chunks) + self.after

    def with_tracks(self, contents: Sequence[bytes]) -> bytes:
        """Return the bytes of the file with other track contents, and the lengths in its headers updated.

        Args:
            contents: One per track. A track whose content is unchanged keeps its header, even if that has a wrong
                length.

        Returns:
            The bytes of the whole file.
        """
        new = iter(contents)
        chunks = [_relengthed(chunk, next(new)) if isinstance(chunk, Track) else chunk for chunk in self.chunks]
        content = b"".join(chunks)
        if not self.riff:
            return content + self.after
        return _wrapped(self.before, self.after, len(_joined(self.chunks)), content)


def read_bytes(path: Path) -> bytes:
    """Read the bytes of a MIDI file.

    Args:
        path: The file.

    Returns:
        The bytes.

    Raises:
        DataError: The file is missing, too large, or cannot be read.
    """
    try:
        if not path.is_file():
            raise DataError(f"{printable(path)}: there is no such file, expected a MIDI file")
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise DataError(f"{printable(path)}: {size} bytes, expected a MIDI file of at most {LARGEST_FILE}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be read ({error.strerror or error})") from error


def parse(data: bytes, path: str | Path) -> Smf:
    """Split a MIDI file into chunks and events.

    Args:
        data: the whole file.
        path: its name, for messages.

    Returns:
        The file; `to_bytes()` gives `data` again.

    Raises:
        DataError: the bytes are no MIDI file, or its events or tracks are cut short.
    """
    try:
        start, stop = _content(data)
        return _parsed(data, start, stop)
    except _DamageError as damage:
        raise DataError(f"{printable(path)}: not a MIDI file that can be read ({len(data)} bytes; {damage})") from None


def varlen(value: int) -> bytes:
    """Encode a number as a variable-length quantity, such as a delta time: seven bits a byte, the highest first.

    Args:
        value: 0 or more.

    Returns:
        One byte or more.
    """
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(0x80 | value & 0x7F)
    return bytes(reversed(digits))


class _DamageError(Exception):
    """The file's bytes are damaged; the message says how."""


def _content(data: bytes) -> tuple[int, int]:
    """Return where the header chunk begins and where the file or its RIFF `data` chunk ends."""
    if data[:4] != b"RIFF" or data[8:12] != b"RMID":
        return 0, len(data)
    position = 12
    while position + _CHUNK <= len(data):
        length = int.from_bytes(data[position + 4 : position + _CHUNK], "little")
        if data[position : position + 4] == b"data":
            return position + _CHUNK, min(len(data), position + _CHUNK + length)
        position += _CHUNK + length + length % 2
    raise _DamageError("it is a RIFF file without a data chunk")


def _parsed(data: bytes, start: int, stop: int) -> Smf:
    """Parse the file whose header chunk begins at `start`."""
    if data[start : start + 4] != b"MThd" or start + 14 > stop:
        raise _DamageError(f"it begins with {data[start : start + 4]!r}, expected a header chunk b'MThd' of 6 bytes")
    length = int.from_bytes(data[start + 4 : start + _CHUNK])
    position = start + _CHUNK + length
    if length < 6 or position > stop:
        raise _DamageError(f"its header chunk states {length} bytes, expected 6")
    kind, count, division = (int.from_bytes(data[start + offset : start + offset + 2]) for offset in (8, 10, 12))
    chunks: list[bytes | Track] = [data[start:position]]
    tracks = 0
    while position < stop:
        if data[position : position + 4] == b"MTrk" and position + _CHUNK <= stop:
            track = _track(data, position, stop, tracks)
            chunks.append(track)
            position += _CHUNK + len(track.content)
            tracks += 1
            continue
        if _is_chunk(data, position, stop):
            end = position + _CHUNK + int.from_bytes(data[position + 4 : position + _CHUNK])
        else:  # bytes between tracks, or after the last one
            end = data.find(b"MTrk", position + 1, stop)
            end = stop if end < 0 else end
        chunks.append(data[position:end])
        position = end
    if tracks < count:
        raise _DamageError(f"its header states {count} tracks, but it has {tracks}: it ends too early")
    return Smf(tuple(chunks), kind, division, data[:start], data[stop:])


def _is_chunk(data: bytes, position: int, stop: int) -> bool:
    """Return whether a whole chunk begins here: a tag of four printable characters and a length that fits."""
    tag, end = data[position : position + 4], position + _CHUNK + int.from_bytes(data[position + 4 : position + _CHUNK])
    return position + _CHUNK <= stop and all(0x20 <= byte < 0x7F for byte in tag) and end <= stop


def _follows(data: bytes, position: int, stop: int) -> bool:
    """Return whether a chunk may end here: at the end of the file, or before another chunk."""
    return position == stop or data[position : position + 4] == b"MTrk" or _is_chunk(data, position, stop)


def _track(data: bytes, position: int, stop: int, number: int) -> Track:
    """Parse the track chunk that begins at `position`.

    Its stated length is used where its events and the following bytes agree with it, else the track ends with its first
    end-of-track event.
    """
    header, first = data[position : position + _CHUNK], position + _CHUNK
    stated = first + int.from_bytes(header[4:])
    content = data[first : min(stated, stop)]
    events, ends, damage = _events(content)
    last = events[ends[0]].end if ends else 0  # of the first end-of-track event
    overrun = bool(ends) and first + last < stated and data[first + last : first + last + 4] == b"MTrk"
    agrees = stated <= stop and not overrun and (bool(ends) or damage is None) and _follows(data, stated, stop)
    if not agrees:
        remaining = data[first:stop]
        shorter, end_marks, remaining_damage = _events(remaining, first_end=True)
        if end_marks and _follows(data, first + shorter[-1].end, stop):
            return Track(header, remaining[: shorter[-1].end], tuple(shorter))
        if not ends:
            offset = shorter[-1].end if shorter else 0
            reason = remaining_damage or _CUT
            raise _DamageError(f"event {len(shorter)} of track {number}, at byte {first + offset}: {reason}")
    if damage is not None:  # the bytes after the end-of-track event are not events
        events = events[: ends[0] + 1]
    return Track(header, content, tuple(events))


def _events(data: bytes, *, first_end: bool = False) -> tuple[list[Event], list[int], str | None]:
    """Return events, the numbers of the end-of-track events among them, and why parsing stopped early, if it did.

    Args:
        data: The track's bytes after the chunk header.
        first_end: Stop after the first end-of-track event.
    """
    events: list[Event] = []
    ends: list[int] = []
    position = tick = running = 0
    while position < len(data):
        start = position
        try:
            delta, body = _quantity(data, position)
            status = data[body]
            first = body + (status >= 0x80)
            if status < 0x80:
                status = running
            if status in _DATA_BYTES:
                position = first + _DATA_BYTES[status]
            elif status in (SYSEX, ESCAPE, META):
                length, position = _quantity(data, first + (status == META))
                position += length
        except IndexError:  # the bytes end within an event
            return events, ends, _CUT
        if delta >= _LONGEST_DELTA:
            return events, ends, f"a delta time of {delta} ticks, expected less than {_LONGEST_DELTA}"
        if not status:
            return events, ends, f"data byte {data[body]:#04x} without a status byte before it"
        if position == start:
            return events, ends, f"status byte {status:#04x} is not defined by MIDI"
        if position > len(data):
            return events, ends, _CUT
        if status < SYSTEM:
            running = status
        tick += delta
        events.append(Event(tick, status, start, body, first, position))
        if status == META and data[first] == END_OF_TRACK:
            ends.append(len(events) - 1)
            if first_end:
                break
    return events, ends, None


def _quantity(data: bytes, position: int) -> tuple[int, int]:
    """Decode a variable-length quantity; return it and the offset after it. Raise `IndexError` where the bytes end
    within it.
    """
    value = 0
    while True:
        byte = data[position]
        position += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, position


def _joined(chunks: Sequence[bytes | Track]) -> bytes:
    return b"".join(chunk.header + chunk.content if isinstance(chunk, Track) else chunk for chunk in chunks)


def _relengthed(track: Track, content: bytes) -> bytes:
    """Return the track's chunk with another content."""
    if content == track.content:
        return track.header + content
    return track.header[:4] + len(content).to_bytes(4) + content


def _wrapped(before: bytes, after: bytes, length: int, content: bytes) -> bytes:
    """Return a RIFF file whose `data` chunk had `length` bytes, with another content."""
    if len(content) == length:
        return before + content + after
    padded = length % 2 == 1 and after[:1] == b"\0"
    trailing = after[1:] if padded else after
    pad = b"\0" if len(content) % 2 and (padded or length % 2 == 0) else b""
    growth = len(content) + len(pad) - length - padded
    size = min(max(int.from_bytes(before[4:8], "little") + growth, 0), 0xFFFFFFFF)
    sizes = before[:4] + size.to_bytes(4, "little") + before[8:-4] + len(content).to_bytes(4, "little")
    return sizes + content + pad + trailing
