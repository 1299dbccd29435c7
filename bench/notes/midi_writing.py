"""Write MIDI files with edited notes: only the bytes of edited notes change, all others are copied from the source.

Conventions
-----------

* A note that keeps its ticks and its velocity keeps its events, byte for byte. A new velocity changes one byte. Other
  edits replace the events of the note.
* An event of no note keeps its bytes, its tick and its order among the events of its tick. Its delta time is rewritten
  only where an event before it was added or removed; its status byte is written out only where running status would
  change its meaning.
* A track without an edit, unknown chunks, and bytes that are not events are unchanged.
* The last end-of-track event of a track moves only where an added note ends later.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from bench.errors import DataError
from bench.files import printable
from bench.notes.midi import Score, ScorePart, note_event, score_of
from bench.notes.smf import END_OF_TRACK, META, NOTE_OFF, NOTE_ON, SYSTEM, Event, Smf, Track, varlen

__all__ = ["check_written", "write_notes"]

RELEASE_VELOCITY = 64  # MIDI's default
_FIRST, _LAST = -1, 1 << 40  # order before and after all events of a tick
_Lane = tuple[int, int]  # channel and pitch
_Position = tuple[int, int]  # tick, and the order among the events of that tick


class _Output(NamedTuple):
    """An event to write: one of the source's, perhaps with another velocity, or a new one."""

    tick: int
    order: int
    source: int = -1  # the number of the source's event, -1 for a new one
    velocity: int = -1  # of a strike, -1 where it stays
    message: bytes = b""  # of a new event, with its status byte


def write_notes(score: Score, notes: Tensor) -> bytes:
    """Write a file with other notes.

    Args:
        score: The source.
        notes: int64 [note, 7], as `bench.notes.midi_edits.transfer_edits` returns them.

    Returns:
        The bytes of the whole file. A moved release keeps its release velocity. A release without a strike is copied
        where no edited note sounds.
    """
    tracks = torch.tensor([part.track for part in score.parts])
    before, after = tracks[score.notes[:, 0]], tracks[notes[:, 0]]
    contents = []
    for number, track in enumerate(score.file.tracks):
        old, new = score.notes[before == number].tolist(), notes[after == number].tolist()
        contents.append(track.content if sorted(old) == sorted(new) else _content(track, score.parts, old, new))
    return score.file.with_tracks(contents)


def _content(track: Track, parts: tuple[ScorePart, ...], old: list[list[int]], new: list[list[int]]) -> bytes:
    """Return the bytes of a track with the notes `new` in place of `old`."""
    notes = _placed(track, parts, old, new)
    spans: dict[_Lane, list[tuple[_Position, _Position]]] = {}
    for note in notes:
        if not note.unchanged:
            spans.setdefault(note.lane, []).append((note.first, max(note.first, note.last)))
    for lane in spans.values():
        lane.sort()
    overlaps = _overlaps(track)
    changed = {row[5] for row in old} - {note.strike for note in notes if note.unchanged}
    changed |= {number for number, position, lane, _ in _note_events(track) if _in(spans, lane, position)}
    touched = {overlaps[number] for number in changed if number in overlaps}
    free = {number for number, overlap in overlaps.items() if overlap in touched}
    outputs = [*_notes(track, notes, free)]
    outputs += _copied(track, {number for row in old for number in row[5:]}, outputs, spans, free)
    outputs.sort(key=lambda output: output[:2])
    end = next((n for n, output in enumerate(outputs) if output.source == len(track.events) - 1), None)
    if end is not None and _ends(track, track.events[-1]):
        last = outputs.pop(end)
        outputs.append(last._replace(tick=max(last.tick, outputs[-1].tick if outputs else 0)))
    tail = track.content[track.events[-1].end :]
    return b"".join(_encoded(track, outputs)) + tail


class _Note(NamedTuple):
    """A note to write."""

    lane: _Lane
    first: _Position
    last: _Position
    strike: int  # the source's event, -1 for none
    release: int  # the source's event that it ends with, though perhaps not at that tick, -1 for none
    velocity: int  # -1 where the strike keeps its own
    timed: bool  # neither end moves
    unchanged: bool  # nothing of it changes


def _placed(track: Track, parts: tuple[ScorePart, ...], old: list[list[int]], new: list[list[int]]) -> list[_Note]:
    """Return the notes, with the positions of their strikes and releases among the events of their ticks."""
    source = {row[5]: row for row in old}
    notes = []
    for part, begin, end, pitch, velocity, strike, release in new:
        old_row = source.get(strike, [-1] * 7)
        timed = strike >= 0 and [*old_row[1:3], old_row[6]] == [begin, end, release]
        first, last = (begin, strike if strike >= 0 else _LAST), (end, _FIRST)
        if release >= 0 and (timed or track.events[release].tick == end):
            last = (track.events[release].tick, release)
        louder = -1 if old_row[4] == velocity else velocity
        lane = (parts[part].channel, pitch)
        notes.append(_Note(lane, first, last, strike, release, louder, timed, timed and louder < 0))
    return notes


def _overlaps(track: Track) -> dict[int, int]:
    """Group the events of overlapping notes of one pitch: event number -> number of its group.

    A group ends when as many releases as strikes have passed. Parsers disagree which of its strikes a release ends, so
    a change of one event changes how they read the others.
    """
    groups: dict[int, int] = {}
    sounding: dict[_Lane, tuple[int, int]] = {}  # how many strikes are not released, and the group
    for number, _, lane, velocity in _note_events(track):
        depth, group = sounding.get(lane, (0, number))
        if velocity or depth:
            groups[number] = group
            sounding[lane] = (depth + 1 if velocity else depth - 1), group
            if not sounding[lane][0]:
                del sounding[lane]
    return groups


def _note_events(track: Track) -> Iterator[tuple[int, _Position, _Lane, int]]:
    """Yield number, position, lane and velocity of every strike and, with velocity 0, of every release."""
    for number, event in enumerate(track.events):
        if (note := note_event(track, event)) is not None:
            yield number, (event.tick, number), (event.status & 0x0F, note[0]), note[1]


def _in(spans: dict[_Lane, list[tuple[_Position, _Position]]], lane: _Lane, position: _Position) -> bool:
    """Return whether a position lies within a span of its lane."""
    lane_spans = spans.get(lane, [])
    index = bisect_left(lane_spans, (position,)) - 1
    return index >= 0 and lane_spans[index][0] < position < lane_spans[index][1]


def _notes(track: Track, notes: list[_Note], free: set[int]) -> Iterator[_Output]:
    """Yield the strikes and releases to write.

    Args:
        track: The source.
        notes: The notes to write.
        free: Events of overlaps that an edit changes: every note there gets a release of its own, and so does a note
            that ends with the track where that end moves.
    """
    moves = not (track.events and _ends(track, track.events[-1]))
    moves |= any(note.last[0] > track.length for note in notes if not note.timed)
    for note in notes:
        if note.strike >= 0:
            yield _Output(*note.first, note.strike, note.velocity)
        else:
            yield _Output(*note.first, message=bytes([NOTE_ON | note.lane[0], note.lane[1], note.velocity]))
        if note.last[1] >= 0:
            yield _Output(*note.last, note.release)
        elif note.release >= 0:
            yield _Output(*note.last, message=_explicit(track, track.events[note.release]))
        elif not note.timed or (
            moves if note.last[0] > track.length else note.strike in free or (moves and note.last[0] == track.length)
        ):
            yield _Output(*note.last, message=bytes([NOTE_OFF | note.lane[0], note.lane[1], RELEASE_VELOCITY]))


def _copied(
    track: Track,
    of_notes: set[int],
    outputs: list[_Output],
    spans: dict[_Lane, list[tuple[_Position, _Position]]],
    free: set[int],
) -> Iterator[_Output]:
    """Yield the source's events that are not strikes or releases of written notes.

    They include releases without a strike where no edited note sounds, and strikes that are repeated in the same tick,
    where no edit changes the overlap.
    """
    skipped = of_notes | {output.source for output in outputs}
    for number, event in enumerate(track.events):
        if number in skipped:
            continue
        if (note := note_event(track, event)) is not None:
            lane = (event.status & 0x0F, note[0])
            if number in free if note[1] else _in(spans, lane, (event.tick, number)):
                continue
        yield _Output(event.tick, number, number)


def _encoded(track: Track, outputs: list[_Output]) -> Iterator[bytes]:
    """Yield delta time and message of every event."""
    tick = running = 0
    before, after_channel_message = -1, False  # the source's event before, and whether that was a channel message
    for output in outputs:
        delta, tick = output.tick - tick, output.tick
        if output.source < 0:
            running, after_channel_message = output.message[0], True
            yield varlen(delta) + output.message
        else:
            event = track.events[output.source]
            stated = event.tick - (track.events[output.source - 1].tick if output.source else 0)
            yield track.content[event.start : event.body] if stated == delta else varlen(delta)
            still_running = running == event.status and (after_channel_message or before == output.source - 1)
            message = track.message(event) if still_running else _explicit(track, event)
            yield message if output.velocity < 0 else message[:-1] + bytes([output.velocity])
            after_channel_message = event.status < SYSTEM
            running = event.status if after_channel_message else running
        before = output.source


def _explicit(track: Track, event: Event) -> bytes:
    """Return the event's message with its status byte."""
    return bytes([event.status]) + track.content[event.data : event.end]


def _ends(track: Track, event: Event) -> bool:
    """Return whether this is an end-of-track event."""
    return event.status == META and track.content[event.data] == END_OF_TRACK


def check_written(score: Score, notes: Tensor, data: bytes, path: Path) -> Score:
    """Check a written file against its source, byte by byte for everything but the notes.

    Args:
        score: The source.
        notes: int64 [note, 7], the notes that were written.
        data: The bytes of the written file.
        path: Its name, for messages.

    Returns:
        The written file's score.

    Raises:
        DataError: The file has other notes, or other bytes of an event, a chunk or a tail.
    """
    reread = score_of(data, path)
    expected, actual = _facts(score, notes), _facts(reread, reread.notes)
    if expected != actual:
        odd = next(iter(set(expected) ^ set(actual)), None)
        raise DataError(
            f"{printable(path)}: {len(expected)} notes were written and {len(actual)} read again, which differ: {odd}"
        )
    source_chunks, written_chunks = _chunks(score.file), _chunks(reread.file)
    if source_chunks != written_chunks:
        odd_chunk = next(
            (n for n, pair in enumerate(zip(source_chunks, written_chunks, strict=False)) if pair[0] != pair[1]),
            len(source_chunks),
        )
        raise DataError(f"{printable(path)}: chunk {odd_chunk} of the written file differs from the source's")
    for number, (track, written_track) in enumerate(zip(score.file.tracks, reread.file.tracks, strict=True)):
        if _other_events(track) != _other_events(written_track):
            raise DataError(f"{printable(path)}: track {number} of the written file has other events than the source's")
    return reread


def _facts(score: Score, notes: Tensor) -> list[tuple[int, ...]]:
    """Return (track, channel, program, pitch, begin, end, velocity) of every note, in order."""
    rows = notes[:, :5].tolist()
    return sorted((*score.parts[part], pitch, begin, end, velocity) for part, begin, end, pitch, velocity in rows)


def _chunks(file: Smf) -> list[bytes]:
    """Return all bytes outside the tracks, without the sizes and the padding of RIFF."""
    return [
        file.before[:4] + file.before[8:-4],
        *(chunk.header[:4] if isinstance(chunk, Track) else chunk for chunk in file.chunks),
        file.after.removeprefix(b"\0"),
    ]


def _other_events(track: Track) -> list[tuple[int, int, bytes]]:
    """Return tick, status and bytes of the events of no note, and the bytes after them.

    The tick of the last event is ignored where it is the end of the track.
    """
    events = [
        (event.tick, event.status, track.content[event.data : event.end])
        for event in track.events
        if note_event(track, event) is None
    ]
    if track.events and _ends(track, track.events[-1]):
        events[-1] = (0, *events[-1][1:])
    return [*events, (0, 0, track.content[track.events[-1].end :] if track.events else track.content)]
