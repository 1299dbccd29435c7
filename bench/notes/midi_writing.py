"""A MIDI file with other notes: every message that is no note's stays, and what was written is read again.

Messages keep their ticks, their order and their content. mido writes running status, and writes the escape (F7), which
no file at hand has, as system exclusive.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import torch
from torch import Tensor

from bench.errors import DataError
from bench.notes.midi import Part, Score

__all__ = ["rewritten", "verify"]


def rewritten(score: Score, notes: Tensor) -> Any:
    """The file with these notes (as `transferred` gives them) in place of its own, as mido's `MidiFile`.

    A track without notes is taken over as it is. In the others every message that is no note's keeps its tick and its
    place; so do strikes and releases that have not moved. A release that has moved keeps its velocity. Releases of
    nothing are kept where no note sounds.
    """
    import mido

    source = score.file
    file = mido.MidiFile(type=source.type, ticks_per_beat=source.ticks_per_beat, charset=source.charset)
    tracks = torch.tensor([part.track for part in score.parts])
    before, after = tracks[score.notes[:, 0]], tracks[notes[:, 0]]
    for number, messages in enumerate(source.tracks):
        was, now = score.notes[before == number].tolist(), notes[after == number].tolist()
        file.tracks.append(_track(mido, messages, score.parts, was, now) if was or now else messages)
    return file


def _track(mido: Any, messages: Any, parts: tuple[Part, ...], was: list[list[int]], now: list[list[int]]) -> Any:
    """One track's messages with the notes `now` in place of those that it `was`."""
    ticks: list[int] = []
    for message in messages:
        ticks.append(message.time + (ticks[-1] if ticks else 0))
    spans: dict[tuple[int, int], list[tuple[int, int]]] = {}
    placed: dict[int, Any] = {}
    events: list[tuple[int, int, Any]] = []  # tick, place among the messages of that tick, message
    for part, begin, end, pitch, velocity, strike, release in now:
        channel = parts[part].channel
        spans.setdefault((channel, pitch), []).append((begin, end))
        if strike >= 0:
            placed[strike] = messages[strike].copy(velocity=velocity)
        else:
            struck = mido.Message("note_on", channel=channel, note=pitch, velocity=velocity)
            events.append((begin, len(messages), struck))
        if release >= 0 and ticks[release] == end:
            placed[release] = messages[release]
        else:
            like = messages[release] if release >= 0 else mido.Message("note_off", channel=channel, note=pitch)
            events.append((end, -1, like))
    own = {place for row in was for place in row[5:] if place >= 0}
    for lane in spans.values():
        lane.sort()
    last = 0
    for place, (tick, message) in enumerate(zip(ticks, messages, strict=True)):
        last = tick
        if message.type == "end_of_track":
            continue
        if message.type not in ("note_on", "note_off"):
            events.append((tick, place, message))
        elif place in placed:
            events.append((tick, place, placed[place]))
        elif place not in own and _stray(message, tick, spans):
            events.append((tick, place, message))
    events.sort(key=lambda event: event[:2])
    track = mido.MidiTrack()
    at = 0
    for tick, _, message in events:
        track.append(_timed(message, tick - at))
        at = tick
    track.append(mido.MetaMessage("end_of_track", time=max(0, last - at)))
    return track


def _stray(message: Any, tick: int, spans: dict[tuple[int, int], list[tuple[int, int]]]) -> bool:
    """Whether this is a release that touches no note."""
    if message.type == "note_on" and message.velocity > 0:
        return False
    lane = spans.get((message.channel, message.note), [])
    at = bisect_right(lane, (tick, 1 << 62)) - 1
    return at < 0 or lane[at][1] < tick


def verify(score: Score, notes: Tensor, again: Score) -> None:
    """Raises `DataError` where the file as read again does not hold these notes and the source's other messages."""
    meant, found = _facts(score, notes), _facts(again, again.notes)
    if meant != found:
        odd = next(iter(set(meant) ^ set(found)), None)
        raise DataError(f"{again.path}: written with {len(meant)} notes, read with {len(found)}; first odd one {odd}")
    for number, (one, other) in enumerate(zip(score.file.tracks, again.file.tracks, strict=True)):
        if _others(one) != _others(other):
            raise DataError(f"{again.path}: track {number} was read back with other messages beside its notes")


def _facts(score: Score, notes: Tensor) -> list[tuple[int, ...]]:
    """(track, channel, program, pitch, begin, end, velocity) of every note, in order."""
    rows = notes[:, :5].tolist()
    return sorted((*score.parts[part], pitch, begin, end, velocity) for part, begin, end, pitch, velocity in rows)


def _others(messages: Any) -> list[tuple[int, Any]]:
    """The messages that are no note's, each with its tick; where a track ends is of no account."""
    found, now = [], 0
    for message in messages:
        now += message.time
        if message.type not in ("note_on", "note_off", "end_of_track"):
            found.append((now, _timed(message, 0)))
    return found


def _timed(message: Any, time: int) -> Any:
    """The message at another time; mido's `copy` with arguments would check values that it read without a check."""
    message = message.copy()
    message.time = time
    return message
