"""MIDI files of odd kinds: read, kept byte for byte without an edit, and beside the notes with any edit.

The files are built here from bytes. What must stay is found by a parser of this file, written from the specification
and not from `bench.notes.smf`; it can do less: it wants chunk lengths that are right.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.api import Rolls
from bench.errors import DataError
from bench.notes.midi import Score, score_of
from bench.notes.midi_edits import Frame, transfer_edits
from bench.notes.midi_writing import check_written, write_notes
from bench.notes.smf import parse, varlen

END = b"\x00\xff\x2f\x00"
TEMPO = b"\x00\xff\x51\x03\x07\xa1\x20"
METRE = b"\x00\xff\x58\x04\x04\x02\x18\x08"


def notes(count: int = 6, channel: int = 0, running: bool = True) -> bytes:
    """Quarter notes from pitch 60 up, at 480 ticks a beat, with a controller in the middle of each."""
    content = b""
    for number in range(count):
        content += b"\x00" + bytes([0x90 | channel, 60 + number, 70])
        content += b"\x81\x70" + bytes([0xB0 | channel, 64, number])
        content += b"\x81\x70" + bytes([0x90 | channel, 60 + number, 0])
        if running:
            content += b"\x00" + bytes([72, 50]) + b"\x70" + bytes([72, 0])
    return content


def chunk(content: bytes, tag: bytes = b"MTrk", stated: int | None = None) -> bytes:
    return tag + (len(content) if stated is None else stated).to_bytes(4, "big") + content


def midi(*parts: bytes, kind: int = 1, division: int = 480, count: int | None = None, more: bytes = b"") -> bytes:
    """A header, and chunks that are given without one: track contents, or whole chunks where they say so."""
    chunks = [
        part if part[:4] in (b"MTrk", b"XFIH", b"XFKM", b"pad ", b"\0MTr", b"junk") else chunk(part) for part in parts
    ]
    tracks = sum(part.count(b"MTrk") for part in chunks) if count is None else count
    fields = b"".join(number.to_bytes(2, "big") for number in (kind, tracks, division))
    return chunk(fields + more, b"MThd") + b"".join(chunks)


def riff(content: bytes, *chunks: tuple[bytes, bytes], pad: bool = True) -> bytes:
    body = b"RMID"
    for tag, data in ((b"data", content), *chunks):
        body += tag + len(data).to_bytes(4, "little") + data + (b"\0" if pad and len(data) % 2 else b"")
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def track(*middle: bytes) -> bytes:
    """Notes, the given events, and notes again."""
    return TEMPO + METRE + notes(3) + b"".join(middle) + notes(3) + END


def meta(kind: int, data: bytes) -> bytes:
    return b"\x05\xff" + bytes([kind]) + varlen(len(data)) + data


XF = chunk(b"\x00\xff\x07\x04XFln", b"XFIH") + chunk(b"\x00\xff\x05\x05words", b"XFKM")
ONE = track()
CASES = {
    "foreign chunks behind": midi(ONE) + XF,
    "foreign chunks between": midi(chunk(b"XFln", b"XFIH"), ONE, chunk(b"abc", b"XFKM"), notes(3, 1) + END),
    "text behind": midi(ONE) + b"made by hand\r\n",
    "zeros behind": midi(ONE) + bytes(100),
    "a byte between": midi(ONE, b"\0MTrk" + chunk(notes(3, 2) + END)[4:]),
    "a longer header": midi(ONE, more=b"\x01\x02\x03"),
    "more tracks than stated": midi(ONE, notes(3, 1) + END, count=1),
    "a track without notes": midi(TEMPO + END, ONE, b"\x00\xc1\x05" + END),
    "format 0 with two tracks": midi(ONE, notes(3, 1) + END, kind=0),
    "packets of system exclusive": midi(
        track(b"\x00\xf0\x03\x43\x12\x00", b"\x81\x48\xf7\x06\x43\x12\x00\x43\x12\xf7")
    ),
    "system exclusive of 8 bits": midi(track(b"\x00\xf0\x04\x43\xff\x80\xf7")),
    "system exclusive without data": midi(track(b"\x00\xf0\x00", b"\x00\xf7\x00")),
    "an escape": midi(track(b"\x00\xf7\x02\xf3\x01", b"\x00\xf7\x01\xfa")),
    "controllers of 8 bits": midi(
        track(b"\x10\xb0\x07\xff", b"\x00\xb0\x87\x05", b"\x00\xe0\xff\xff", b"\x00\xc0\xff")
    ),
    "real time": midi(track(b"\x02\xf8", b"\x03\xfe", b"\x00\xf6", b"\x00\xf3\x05", b"\x00\xf2\x05\x06")),
    "running status behind system exclusive": midi(track(b"\x00\xf0\x02\x43\xf7\x00\x48\x40\x20\x48\x00")),
    "running status behind meta": midi(track(b"\x00\xff\x01\x01a\x00\x48\x40\x20\x48\x00")),
    "running status behind real time": midi(track(b"\x00\xf8\x00\x48\x40\x20\x48\x00")),
    "tempo and metre with more bytes": midi(
        b"\x00\xff\x51\x05\x07\xa1\x20\x01\x02\x00\xff\x58\x06\x03\x02\x18\x08\x09\x09" + ONE
    ),
    "metas with too few bytes": midi(
        b"".join(b"\x00\xff" + bytes([kind, 1, 1]) for kind in (0x51, 0x54, 0x58, 0x59, 0x00, 0x20, 0x21)) + ONE
    ),
    "metas without bytes": midi(b"".join(b"\x00\xff" + bytes([kind, 0]) for kind in range(0x60) if kind != 0x2F) + ONE),
    "keys": midi(
        track(*(meta(0x59, key) for key in (b"\xee\x01", b"\x08\x00", b"\x00\xff", b"\x80\x7f", b"\x01\x00\x02")))
    ),
    "metas that nobody knows": midi(track(*(meta(kind, b"ab") for kind in (0x0A, 0x4B, 0x60, 0x7E, 0x7F, 0x80, 0xFF)))),
    "a metre of nothing": midi(meta(0x58, b"\x00\x02\x18\x08") + meta(0x58, b"\x03\xff\x18\x08") + ONE),
    "a long text": midi(track(meta(0x05, bytes(range(256)) * 3))),
    "names in any code": midi(meta(0x03, "名前".encode("shift-jis")) + meta(0x03, b"\xff\xfe") + ONE),
    "padded delta times": midi(track(b"\x80\x80\x05\xb0\x07\x10", b"\x80\x00\xff\x01\x80\x01a")),
    "notes of 8 bits": midi(track(b"\x00\x90\x48\xc8", b"\x10\x90\x48\x00", b"\x00\x90\xbc\x40", b"\x10\x80\xbc\x40")),
    "doubled notes": midi(track(b"\x00\x90\x4f\x40\x00\x4f\x50\x81\x00\x4f\x00\x00\x4f\x00\x30\x4f\x00")),
    "overlapping notes": midi(track(b"\x00\x90\x4f\x40\x40\x4f\x50\x81\x00\x80\x4f\x07\x40\x4f\x09")),
    "notes of no length": midi(track(b"\x00\x90\x4f\x40\x00\x4f\x00\x00\x4f\x00\x00\x90\x50\x40\x00\x80\x50\x09")),
    "notes never released": midi(track(b"\x00\x90\x4f\x40\x00\x9a\x05\x40"), b"\x00\x91\x30\x40" + notes(2, 1) + END),
    "a strike at the end": midi(notes(3) + b"\x00\x90\x4f\x40" + END),
    "releases of nothing": midi(track(b"\x00\x80\x4f\x40\x00\x90\x3c\x00\x81\x00\x90\x48\x00\x00\x80\x48\x01")),
    "no end of the track": midi(TEMPO + notes(4), notes(3, 1)),
    "notes behind the end of the track": midi(notes(3) + END + notes(2) + END, notes(2, 3) + END),
    "zeros behind the end of the track": midi(ONE + bytes(5), notes(2, 3) + END),
    "bytes behind the end of the track": midi(ONE + b"\xf4\xf5\xf5", notes(2, 3) + END),
    "RIFF": riff(midi(ONE), (b"LIST", b"INFOINAM\x04\0\0\0song")),
    "RIFF of odd length": riff(midi(ONE + b"\0" * ((len(midi(ONE)) + 1) % 2)), (b"DISP", b"odd"), (b"LIST", b"INFO")),
    "RIFF without padding": riff(midi(ONE, b"\x00\xff\x01\x01a" + END, notes(1) + END), pad=False),
    "program changes": midi(track(b"\x00\xc0\x05", b"\x20\x90\x48\x30\x20\x48\x00\x00\xc0\x07")),
    "aftertouch and bends": midi(
        track(b"\x00\xa0\x3c\x10\x00\x3c\x20", b"\x00\xd0\x10\x05\x20", b"\x00\xe0\x00\x40\x00\x01\x41")
    ),
    "releases with a velocity": midi(track(b"\x00\x90\x48\x40\x20\x80\x48\x11\x00\x90\x4a\x40\x20\x80\x4a\x22")),
    "16 channels": midi(*(notes(2, channel) + END for channel in range(16))),
    "one channel in two tracks": midi(notes(4) + END, b"\x50\x90\x3c\x40\x50\x3c\x00" + notes(2) + END),
}
WRONG_LENGTHS = {
    "too large, the last track": midi(chunk(ONE, stated=len(ONE) + 5)),
    "too large, before a track": midi(chunk(ONE, stated=len(ONE) + 5), notes(2, 1) + END),
    "far too large": midi(chunk(ONE, stated=0xFFFFFFFF), notes(2, 1) + END),
    "too small": midi(chunk(ONE, stated=len(ONE) - 5), notes(2, 1) + END),
    "too small by the end of the track": midi(chunk(ONE, stated=len(ONE) - 4)),
    "nothing": midi(chunk(ONE, stated=0), chunk(notes(2, 1) + END, stated=0)),
    "too large, before a foreign chunk": midi(chunk(ONE, stated=len(ONE) + 3)) + XF,
}


def others(data: bytes) -> list[object]:
    """Everything but the notes: chunks that are no track, and the tick and bytes of events that are no note's."""
    found: list[object] = []
    if data[:4] == b"RIFF":
        at, content = 12, b""
        while at < len(data):
            tag, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
            body = data[at + 8 : at + 8 + size]
            assert len(body) == size
            if tag == b"data":
                content = body
            else:
                found.append((tag, body))
            at += 8 + size + size % 2
        assert int.from_bytes(data[4:8], "little") in (len(data) - 8, at - 8)
        return [*found, *others(content)]
    at = 0
    while at < len(data):
        tag, end = data[at : at + 4], at + 8 + int.from_bytes(data[at + 4 : at + 8], "big")
        if tag == b"MTrk":
            found.append(
                [event for event in events(data[at + 8 : end]) if event[1] & 0xE0 != 0x80 or event[2][0] > 127]
            )
        elif tag[0] == 0 and tag[1:] == b"MTr":
            found.append(data[at : at + 1])
            end = at + 1
        elif end > len(data) or not tag.isalpha():
            found.append(data[at:])
            break
        else:
            found.append(data[at:end])
        at = end
    return found


def events(content: bytes) -> list[tuple[int, int, bytes]]:
    """Tick (none for the end of the track, which may move), status and data bytes of every event, and what is left."""
    found: list[tuple[int, int, bytes]] = []
    at, tick, running, ended = 0, 0, 0, False
    while at < len(content) and not (found and found[-1][0] < 0 and content[at] >= 0xF4):
        shift = 0
        while content[at] & 0x80:
            shift = (shift | content[at] & 0x7F) << 7
            at += 1
        tick, at = tick + (shift | content[at]), at + 1
        status = running
        if content[at] & 0x80:
            status, at = content[at], at + 1
        running = status if status < 0xF0 else running
        if status in (0xF0, 0xF7, 0xFF):
            kind = content[at : at + (status == 0xFF)]
            at += len(kind)
            length, first = 0, at
            while content[at] & 0x80:
                length = (length | content[at] & 0x7F) << 7
                at += 1
            at += 1 + (length | content[at])
            ended = status == 0xFF and kind == b"\x2f"
            found.append((-1 if ended else tick, status, kind + content[first:at]))
        else:
            size = {0xC0: 1, 0xD0: 1, 0xF0: {0xF2: 2, 0xF3: 1}.get(status, 0)}.get(status & 0xF0, 2)
            found.append((tick, status, content[at : at + size]))
            at += size
    return [*found, (-1, 0xFF, content[at:])]


def score(data: bytes) -> Score:
    return score_of(data, Path("song.mid"))


def protected(source: Score, rng: torch.Generator | None, louder: float = 1.0) -> bytes:
    """The file after an edit: all velocities scaled, and with `rng` notes added, split, cut and removed by chance."""
    frame = Frame(source, bars=1)
    clean = frame.rolls(frame.pieces())
    velocity = (clean.velocity * louder).clamp(max=1)
    onset = clean.onset.clone()
    if rng is not None:
        lanes = sorted({int(pitch) for pitch in source.notes[:, 3]} | {40})
        for lane in lanes:
            chance = torch.rand(velocity[..., lane].shape, generator=rng)
            one = velocity[..., lane]
            velocity[..., lane] = torch.where(chance < 0.2, 0.0, torch.where(chance > 0.8, chance, one))
            onset[..., lane] |= torch.rand(chance.shape, generator=rng) < 0.2
        velocity = velocity * clean.support
    changed: Rolls = replace(clean, velocity=velocity, onset=onset & (velocity > 0))
    rows = transfer_edits(frame, [frame.notes(changed, frame.pieces())])
    data = write_notes(source, rows)
    check_written(source, rows, data, source.path)
    return data


@pytest.mark.parametrize("name", CASES | WRONG_LENGTHS)
def test_without_an_edit_every_byte_stays(name: str) -> None:
    data = (CASES | WRONG_LENGTHS)[name]
    source = score(data)
    assert source.file.to_bytes() == data
    assert protected(source, None) == data


@pytest.mark.parametrize("name", CASES)
def test_with_an_edit_everything_but_the_notes_stays(name: str) -> None:
    data = CASES[name]
    source = score(data)
    softer = protected(source, None, 0.5)
    assert others(softer) == others(data)
    assert sorted(score(softer).notes[:, :4].tolist()) == sorted(source.notes[:, :4].tolist())
    rng = torch.Generator().manual_seed(3)
    for _ in range(4):
        out = protected(source, rng)
        assert out != data
        assert others(out) == others(data)


@pytest.mark.parametrize("name", WRONG_LENGTHS)
def test_a_track_of_wrong_length_is_read_whole_and_written_with_the_right_one(name: str) -> None:
    source = score(WRONG_LENGTHS[name])
    whole = midi(ONE, notes(2, 1) + END) if len(source.file.tracks) == 2 else midi(ONE)
    assert source.notes.tolist() == score(whole).notes.tolist()
    edited = protected(source, None, 0.5)
    assert edited == protected(score(whole), None, 0.5) + (XF if "foreign" in name else b"")


def test_a_velocity_is_one_byte() -> None:
    data = CASES["packets of system exclusive"]
    softer = protected(score(data), None, 0.5)
    changed = [(one, other) for one, other in zip(data, softer, strict=True) if one != other]
    assert set(changed) == {(70, 35), (50, 25)}
    assert len(changed) == len(score(data).notes)


def test_a_note_keeps_its_release_velocity_and_running_status() -> None:
    data = midi(b"\x00\x90\x48\x40\x81\x70\x80\x48\x11\x00\x90\x4a\x40\x83\x60\x4a\x00" + END)
    source = score(data)
    rows = source.notes.clone()
    rows[0, 2] = 120
    shorter = b"\x00\x90\x48\x40\x78\x80\x48\x11\x78\x90\x4a\x40\x83\x60\x4a\x00" + END
    assert write_notes(source, rows) == midi(shorter)
    assert write_notes(source, rows[1:]) == midi(b"\x81\x70\x90\x4a\x40\x83\x60\x4a\x00" + END)


def test_what_a_removed_event_stated_is_stated_anew() -> None:
    """The status byte of a removed note, on which what follows relies, is written out."""
    data = midi(b"\x00\x90\x48\x40\x81\x70\x48\x00\x00\x4a\x40\x81\x70\x4a\x00" + END)
    source = score(data)
    assert write_notes(source, source.notes[1:]) == midi(b"\x81\x70\x90\x4a\x40\x81\x70\x4a\x00" + END)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it begins with b''"),
        (b"this is no music at all", "it begins with b'this'"),
        (midi(ONE)[:-30], "it ends too early"),
        (midi(ONE)[:20], "it ends too early"),
        (midi(ONE, notes(1) + END)[: len(midi(ONE))], "states 2 tracks, but it has 1"),
        (midi(ONE, count=3), "states 3 tracks, but it has 1"),
        (midi(b"\x00\x3c\x40" + END), "event 0 of track 0, at byte 22: data byte 0x3c without a status byte"),
        (midi(notes(1) + b"\x00\xf4\x00" + END), "status byte 0xf4 is not defined by MIDI"),
        (midi(notes(1) + b"\xff\xff\xff\xff\x7f\x90\x3c\x40" + END), "a delta time of 34359738367 ticks"),
        (midi(notes(1) + b"\x00\xf0\x7f\x01\x02\xf7" + END), "it ends too early"),
        (midi(ONE, kind=2), "format 2, expected format 0 or 1"),
        (midi(ONE, kind=7), "format 7, expected format 0 or 1"),
        (midi(ONE, division=0xE728), "SMPTE time code, expected ticks"),
        (midi(ONE, division=0), "0 ticks a quarter note, expected at least 1"),
        (midi(TEMPO + END), "no notes"),
        (riff(b"")[:12], "a RIFF file without a data chunk"),
        (riff(b"hello"), "it begins with b'hell'"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(data: bytes, reason: str) -> None:
    with pytest.raises(DataError) as raised:
        score(data)
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", CASES)
def test_any_bytes_are_read_or_refused_in_one_line(name: str) -> None:
    """A byte that is changed by chance gives another file, which stays, or one line, never another exception."""
    rng = torch.Generator().manual_seed(1)
    data = CASES[name]
    places, values = (torch.randint(top, (12,), generator=rng).tolist() for top in (len(data), 256))
    for at, value in zip(places, values, strict=True):
        damaged = data[:at] + bytes([value]) + data[at + 1 :]
        try:
            source = score(damaged)
            out = protected(source, None) if source.length < 50_000 else source.file.to_bytes()
        except DataError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert out == damaged, (at, value)


def test_tempo_metre_and_names_are_read_from_what_is_there() -> None:
    more = score(CASES["tempo and metre with more bytes"])
    assert (more.tempo, more.beats_per_bar) == (120.0, 3)
    few = score(CASES["metas with too few bytes"])
    assert (few.tempo, few.metres) == (120.0, [(4, 4)])
    assert score(CASES["a metre of nothing"]).metres == [(3, 2**255), (4, 4)]
    assert score(CASES["names in any code"]).names == ("名前".encode("shift-jis").decode("utf-8", "replace"),)


def test_a_riff_file_states_its_new_lengths() -> None:
    source = score(CASES["RIFF of odd length"])
    out = protected(source, torch.Generator().manual_seed(5))
    assert int.from_bytes(out[4:8], "little") == len(out) - 8
    inner = parse(out, "out.rmi")
    assert inner.riff
    assert others(out)[:2] == [(b"DISP", b"odd"), (b"LIST", b"INFO")]
