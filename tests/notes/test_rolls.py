"""Piano rolls, notes and MIDI files: round trips are exact on the grid, damage is one line."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Callable
from pathlib import Path

import mido
import pytest
import torch

from bench.api import Rolls
from bench.errors import DataError
from bench.notes.rolls import DRUMS, Notes, grid, notes_of, read_midi, write_midi


def some_rolls(seed: int = 0, steps_per_beat: int = 4, beats_per_bar: int = 4, notes: int = 150) -> Rolls:
    """Two rolls of four tracks (drums second, the last one silent), with overlaps for `grid` to resolve."""
    rng = torch.Generator().manual_seed(seed)
    draw = {"roll": 2, "track": 3, "start": 60, "duration": 9, "pitch": 40, "velocity": 127}
    columns = {name: torch.randint(most, (notes,), generator=rng) for name, most in draw.items()}
    columns["duration"] += 1
    columns["pitch"] += 40
    columns["velocity"] = (columns["velocity"] + 1) / 127
    velocity, onset = grid(Notes(**columns), 2, 4, 72)
    return Rolls(
        velocity,
        onset,
        programs=(0, DRUMS, 33, 48),
        ids=("a", "b"),
        groups=("a", "b"),
        lengths=torch.tensor([72, 72]),
        tempo=torch.tensor([93.5, 120.0]),
        steps_per_beat=steps_per_beat,
        beats_per_bar=beats_per_bar,
        tracks=("piano", "drums", "båss", "strings"),
    ).check()


@pytest.mark.parametrize(("steps_per_beat", "beats_per_bar"), [(4, 4), (3, 3), (12, 5), (7, 6)])
def test_midi_round_trip_is_exact(tmp_path: Path, steps_per_beat: int, beats_per_bar: int) -> None:
    rolls = some_rolls(steps_per_beat, steps_per_beat, beats_per_bar)
    for index in range(2):
        write_midi(rolls, index, tmp_path / "x.mid")
        read = read_midi(tmp_path / "x.mid", steps_per_beat)
        assert torch.equal(read.onset[0], rolls.onset[index])
        assert torch.equal((read.velocity[0] * 127).round(), (rolls.velocity[index] * 127).round())
        assert read.programs == rolls.programs
        assert read.tracks == rolls.tracks
        assert read.beats_per_bar == beats_per_bar
        assert int(read.lengths[0]) == 72
        assert float(read.tempo[0]) == pytest.approx(float(rolls.tempo[index]), rel=1e-6)  # whole microseconds
        write_midi(read, 0, tmp_path / "y.mid")
        assert (tmp_path / "y.mid").read_bytes() == (tmp_path / "x.mid").read_bytes()


def full_rolls() -> Rolls:
    """Fifteen melodic tracks and drums: every velocity, and each pitch struck again where its last note ends."""
    rng = torch.Generator().manual_seed(7)
    rows = []
    for track in range(16):
        for pitch in (track, 60 + track, 127 - track):
            cuts = [0, *(torch.randperm(94, generator=rng)[:12] + 1).sort().values.tolist(), 95]
            rows += [(0, track, a, b - a, pitch, 0.0) for a, b in itertools.pairwise(cuts)]
    velocity = (torch.arange(len(rows)) % 127 + 1) / 127
    velocity, onset = grid(dataclasses.replace(Notes.of(rows), velocity=velocity), 1, 16, 96)
    programs = (*range(0, 120, 8), DRUMS)
    return Rolls(
        velocity, onset, programs, ("x",), ("x",), torch.tensor([96]), torch.tensor([71.25]), 8, 6,
        tracks=tuple(f"part {number}" for number in range(16)),
    ).check()  # fmt: skip


def test_a_full_file_round_trips(tmp_path: Path) -> None:
    rolls = full_rolls()
    assert (rolls.velocity * 127).round().unique().tolist() == list(range(128))
    write_midi(rolls, 0, tmp_path / "x.mid")
    read = read_midi(tmp_path / "x.mid", 8)
    assert torch.equal(read.onset, rolls.onset)
    assert torch.equal((read.velocity * 127).round(), (rolls.velocity * 127).round())
    assert len(notes_of(read)) == 16 * 3 * 13
    assert (read.programs, read.tracks, read.beats_per_bar) == (rolls.programs, rolls.tracks, 6)
    assert float(read.tempo[0]) == pytest.approx(71.25, rel=1e-6)


def test_meta_messages_of_unknown_kinds_keep_the_time(tmp_path: Path) -> None:
    """mido alone reads them as lasting nothing, and all that follows too early."""
    file = mido.MidiFile(ticks_per_beat=480)
    note(file, 480, 480).insert(0, mido.UnknownMetaMessage(0x60, data=b"xy", time=960))
    file.save(tmp_path / "x.mid")
    assert notes_of(read_midi(tmp_path / "x.mid")).start.tolist() == [12]


def test_another_reader_sees_the_same_notes(tmp_path: Path) -> None:
    import pretty_midi

    rolls = some_rolls(3)
    write_midi(rolls, 1, tmp_path / "x.mid")
    seconds = 60 / 120 / 4  # the second roll's tempo, sixteenths
    mine = notes_of(rolls.select([1]))
    expected = sorted(
        (track, round(start * seconds, 4), round((start + duration) * seconds, 4), pitch)
        for track, start, duration, pitch in torch.stack(
            [mine.track, mine.start, mine.duration, mine.pitch], 1
        ).tolist()
    )
    tracks = {"piano": 0, "drums": 1, "båss": 2}
    found = []
    for instrument in pretty_midi.PrettyMIDI(str(tmp_path / "x.mid"), charset="utf-8").instruments:
        assert instrument.is_drum == (instrument.name == "drums")
        for note in instrument.notes:
            found.append((tracks[instrument.name], round(note.start, 4), round(note.end, 4), note.pitch))
    assert sorted(found) == expected


def test_notes_and_grid_are_inverse() -> None:
    rolls = some_rolls(5)
    notes = notes_of(rolls)
    velocity, onset = grid(notes, 2, 4, 72)
    assert torch.equal(velocity, rolls.velocity)
    assert torch.equal(onset, rolls.onset)
    assert len(notes) == int(rolls.onset.sum())
    assert int(notes.duration.sum()) == int((rolls.velocity > 0).sum())


def test_notes_of_one_pitch_never_overlap() -> None:
    rows = [(0, 0, 0, 8, 60, 0.5), (0, 0, 2, 2, 60, 1.0), (0, 0, 6, 1, 61, 0.2), (0, 0, 6, 3, 61, 0.4)]
    velocity, onset = grid(Notes.of(rows), 1, 1, 10)
    assert onset[0, 0, :, 60].nonzero().flatten().tolist() == [0, 2]
    # The re-strike ends the first note for good: what was left of it does not come back.
    assert velocity[0, 0, :, 60].tolist() == [0.5, 0.5, 1.0, 1.0, 0, 0, 0, 0, 0, 0]
    assert notes_of_pair(velocity, onset, 61) == [(6, 3)]


def notes_of_pair(velocity: torch.Tensor, onset: torch.Tensor, pitch: int) -> list[tuple[int, int]]:
    rolls = Rolls(velocity, onset, (0,), ("a",), ("a",), torch.tensor([velocity.shape[2]]), torch.tensor([120.0]))
    notes = notes_of(rolls)
    at = notes.pitch == pitch
    return list(zip(notes.start[at].tolist(), notes.duration[at].tolist(), strict=True))


def test_adjacent_notes_stay_two_and_stray_cells_begin_one() -> None:
    velocity, onset = grid(Notes.of([(0, 0, 0, 4, 60, 0.5), (0, 0, 4, 4, 60, 0.5)]), 1, 1, 12)
    assert notes_of_pair(velocity, onset, 60) == [(0, 4), (4, 4)]
    velocity[0, 0, 10:, 60] = 0.3  # a defense wrote cells without an onset
    assert notes_of_pair(velocity, onset, 60) == [(0, 4), (4, 4), (10, 2)]


def test_grid_cuts_at_both_ends_and_refuses_other_pitches() -> None:
    velocity, onset = grid(Notes.of([(0, 0, -3, 5, 60, 0.5), (0, 0, 6, 9, 62, 0.5)]), 1, 1, 8, lowest=60, pitches=3)
    assert velocity[0, 0, :, 0].tolist() == [0.5, 0.5, 0, 0, 0, 0, 0, 0]
    assert bool(onset[0, 0, 0, 0])
    assert velocity[0, 0, :, 2].tolist() == [0, 0, 0, 0, 0, 0, 0.5, 0.5]
    with pytest.raises(DataError, match=r"pitch 72\.\.72, expected 60\.\.62"):
        grid(Notes.of([(0, 0, 0, 1, 72, 0.5)]), 1, 1, 8, lowest=60, pitches=3)


def note(file: mido.MidiFile, start: int, duration: int, channel: int = 0) -> mido.MidiTrack:
    track = mido.MidiTrack()
    track.append(mido.Message("note_on", note=60, velocity=64, time=start, channel=channel))
    track.append(mido.Message("note_off", note=60, time=duration, channel=channel))
    file.tracks.append(track)
    return track


def test_several_tempi_keep_the_duration(tmp_path: Path) -> None:
    file = mido.MidiFile(ticks_per_beat=480)
    track = note(file, 0, 480 * 8)
    track.insert(0, mido.MetaMessage("set_tempo", tempo=500_000))
    file.tracks.append(mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=1_000_000, time=480 * 6)]))
    file.save(tmp_path / "x.mid")
    assert read_midi(tmp_path / "x.mid").seconds == pytest.approx(6 * 0.5 + 2 * 1.0) == pytest.approx(file.length)


@pytest.mark.parametrize(
    ("metre", "beats"), [((4, 4), 4), ((3, 4), 3), ((6, 8), 3), ((7, 8), 7), ((2, 2), 4), ((3, 2), 6)]
)
def test_bars_are_counted_in_quarter_notes(tmp_path: Path, metre: tuple[int, int], beats: int) -> None:
    file = mido.MidiFile()
    note(file, 0, 480).insert(0, mido.MetaMessage("time_signature", numerator=metre[0], denominator=metre[1]))
    file.save(tmp_path / "x.mid")
    assert read_midi(tmp_path / "x.mid").beats_per_bar == beats


def test_channels_of_format_0_become_tracks(tmp_path: Path) -> None:
    file = mido.MidiFile(type=0, ticks_per_beat=480)
    track = note(file, 0, 480)
    track.append(mido.Message("program_change", program=40, channel=3))
    for channel in (3, 9):
        track.append(mido.Message("note_on", note=60, velocity=1, channel=channel))
        track.append(mido.Message("note_on", note=60, velocity=0, time=240, channel=channel))
    file.save(tmp_path / "x.mid")
    read = read_midi(tmp_path / "x.mid")
    assert read.programs == (0, 40, DRUMS)
    assert notes_of(read).start.tolist() == [0, 4, 6]
    assert notes_of(read).duration.tolist() == [4, 2, 2]


def test_melodic_tracks_are_limited_by_the_channels(tmp_path: Path) -> None:
    velocity, onset = grid(Notes.of([(0, 0, 0, 1, 60, 0.5)]), 1, 17, 4)
    rolls = Rolls(velocity, onset, (0,) * 16 + (DRUMS,), ("a",), ("a",), torch.tensor([4]), torch.tensor([120.0]))
    with pytest.raises(DataError, match="16 melodic tracks"):
        write_midi(rolls, 0, tmp_path / "x.mid")
    fewer = dataclasses.replace(rolls, velocity=velocity[:, 1:], onset=onset[:, 1:], programs=rolls.programs[1:])
    write_midi(fewer, 0, tmp_path / "x.mid")
    assert {m.channel for t in mido.MidiFile(tmp_path / "x.mid").tracks for m in t if not m.is_meta} == set(range(16))


def damaged(damage: str, path: Path) -> None:
    rolls = some_rolls()
    write_midi(rolls, 0, path)
    whole = path.read_bytes()
    file = mido.MidiFile(ticks_per_beat=480)
    match damage:
        case "missing":
            path.unlink()
        case "folder":
            path.unlink()
            path.mkdir()
        case "empty":
            path.write_bytes(b"")
        case "truncated":
            path.write_bytes(whole[:-20])
        case "header only":
            path.write_bytes(whole[:14])
        case "text":
            path.write_text("It was a dark and stormy night.\n" * 20)
        case "no notes":
            write_midi(dataclasses.replace(rolls, velocity=rolls.velocity * 0, onset=rolls.onset & False), 0, path)
        case "too long":
            note(file, (1 << 28) - 1, 480)
            file.save(path)
        case "too large":
            path.write_bytes(whole + bytes(9 << 20))
        case "format 2":
            path.write_bytes(whole[:9] + b"\x02" + whole[10:])
        case "time code":
            path.write_bytes(whole[:12] + b"\xe7\x28" + whole[14:])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("missing", "no such file"),
        ("folder", "no such file"),
        ("empty", "not a MIDI file"),
        ("truncated", "not a MIDI file"),
        ("header only", "not a MIDI file"),
        ("text", "not a MIDI file"),
        ("no notes", "no notes"),
        ("too long", "expected at most"),
        ("too large", "expected a MIDI file of at most"),
        ("format 2", "format 2"),
        ("time code", "SMPTE"),
    ],
)
def test_damage_is_one_line(tmp_path: Path, damage: str, reason: str) -> None:
    damaged(damage, tmp_path / "x.mid")
    with pytest.raises(DataError, match=reason) as raised:
        read_midi(tmp_path / "x.mid")
    assert "\n" not in str(raised.value)
    assert "x.mid" in str(raised.value)


def test_no_damage_escapes(tmp_path: Path) -> None:
    """Random bytes in a good file: it is read, or refused as data; nothing else is raised."""
    write_midi(some_rolls(notes=40), 0, tmp_path / "good.mid")
    good = (tmp_path / "good.mid").read_bytes()
    rng = random.Random(0)
    outcomes = {True: 0, False: 0}
    for _ in range(150):
        data = bytearray(good)
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        (tmp_path / "x.mid").write_bytes(data)
        outcomes[reads(lambda: read_midi(tmp_path / "x.mid").check())] += 1
    assert min(outcomes.values()) > 10


def reads(attempt: Callable[[], Rolls]) -> bool:
    try:
        attempt()
    except DataError:
        return False
    return True
