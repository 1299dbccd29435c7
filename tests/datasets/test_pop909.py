"""POP909: bars are found where the song has them, splits share no song, and what is missing is said."""

from __future__ import annotations

import hashlib
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import mido
import pytest
import torch

from bench import plugins
from bench.api import Rolls
from bench.errors import DataError, UsageError
from bench.notes.midi import read_score
from bench.notes.rolls import notes_of

TRACKS = ("MELODY", "BRIDGE", "PIANO")


def build(**given: Any) -> Any:
    return plugins.build("datasets", "pop909", given)


@pytest.fixture(scope="module")
def module() -> ModuleType:
    return sys.modules[plugins.load("datasets", "pop909").__module__]


def song(
    path: Path, offset: int = 0, bars: int = 9, metre: tuple[int, int] = (1, 4), wobble: int = 0, pitch: int = 60
) -> Path:
    """A chord a bar and a melody of quarters from `offset` ticks on, 480 a beat; `wobble` moves every other note."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [(2, 1920 * bar, 1900, 48 + tone, 50 + bar) for bar in range(bars) for tone in (0, 4, 7)]
    rows += [(0, 480 * beat + wobble * (beat % 2), 240, pitch + beat % 5, 90) for beat in range(4 * bars)]
    rows += [(1, 1920 * bars - 960, 480, 72, 100)]
    file = mido.MidiFile(ticks_per_beat=480)
    file.tracks.append(mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=750_000)]))
    file.tracks[0].append(mido.MetaMessage("time_signature", numerator=metre[0], denominator=metre[1]))
    for number, name in enumerate(TRACKS):
        events = [(offset + at, 1, p, v) for track, at, _, p, v in rows if track == number]
        events += [(offset + at + length, 0, p, 0) for track, at, length, p, _ in rows if track == number]
        messages = mido.MidiTrack([mido.MetaMessage("track_name", name=name)])
        now = 0
        for tick, _, p, v in sorted(events):
            messages.append(mido.Message("note_on", note=p, velocity=v, channel=number, time=tick - now))
            now = tick
        file.tracks.append(messages)
    file.save(path)
    return path


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    for number in range(1, 61):
        song(tmp_path / f"{number:03d}.mid", offset=53 * number)
    return tmp_path


@pytest.mark.parametrize("offset", [0, 50, 119, 1000, 5003])
def test_the_bar_line_is_found_wherever_it_lies(tmp_path: Path, module: ModuleType, offset: int) -> None:
    score = read_score(song(tmp_path / "001.mid", offset))
    line, off = module.bar_line(score, module._tracks(score))
    assert line == pytest.approx(offset, abs=1)
    assert off == 0


def test_rolls_are_whole_bars_with_the_velocities_of_the_performance(tmp_path: Path) -> None:
    song(tmp_path / "001.mid", offset=437)
    data = load_one(tmp_path)
    assert data.velocity.shape == (2, 3, 64, 84)
    assert sorted(data.ids) == ["001-000", "001-001"]  # nine bars: the last is no whole window
    assert (data.tracks, data.programs) == (("melody", "bridge", "piano"), (0, 0, 0))
    assert data.tempo.tolist() == pytest.approx([80.0, 80.0])
    notes = notes_of(data)
    chords = notes.track == 2
    assert sorted(set(notes.start[chords].tolist())) == [0, 16, 32, 48]
    assert set(notes.duration[chords].tolist()) == {16}
    first = data.ids.index("001-000")
    bars = notes[chords & (notes.roll == first) & (notes.pitch == 48)]
    assert (bars.velocity * 127).round().tolist() == [50, 51, 52, 53]
    finer = load_one(tmp_path, steps_per_beat=12, bars=2)
    assert finer.velocity.shape == (4, 3, 96, 84)
    assert set(notes_of(finer).start[notes_of(finer).track == 2].tolist()) == {0, 48}


def load_one(folder: Path, **given: Any) -> Rolls:
    """What the only song gives, whichever split it falls to."""
    for split in ("train", "validation", "test"):
        dataset = build(path=str(folder), rolls=0, validation_rolls=0, test_rolls=0, **given)
        if dataset._files(split):
            rolls: Rolls = dataset.load(split).check()
            return rolls
    raise AssertionError("the song is in no split")


def test_notes_outside_the_range_are_folded_by_octaves(tmp_path: Path) -> None:
    song(tmp_path / "001.mid", pitch=10)
    data = load_one(tmp_path)
    notes = notes_of(data)
    assert set(notes.pitch[notes.track == 0].tolist()) == {34, 35, 24, 25, 26}


def test_no_song_is_in_two_splits_and_songs_take_turns(songs: Path) -> None:
    groups = {}
    for split in ("train", "validation", "test"):
        data = build(path=str(songs), rolls=0, validation_rolls=0, test_rolls=0).load(split)
        groups[split] = set(data.groups)
        assert len(data) == 2 * len(groups[split])
    assert sum(map(len, groups.values())) == len(set().union(*groups.values())) == 60
    few = build(path=str(songs), rolls=3).load("train")
    assert len(set(few.groups)) == 3
    more = build(path=str(songs), rolls=len(groups["train"]) + 1).load("train")
    assert more.ids[:3] == few.ids
    with pytest.raises(DataError, match=r"100 train rolls, but there are \d+ windows of 4 bars in \d+ songs"):
        build(path=str(songs), rolls=100).load("train")


def test_songs_off_the_grid_or_in_other_metres_are_left_out(songs: Path) -> None:
    every = build(path=str(songs), rolls=0).load("train")
    names = sorted(set(every.groups))
    song(songs / f"{names[0]}.mid", metre=(3, 4))
    song(songs / f"{names[1]}.mid", metre=(6, 8))
    song(songs / f"{names[2]}.mid", wobble=60)
    assert sorted(set(build(path=str(songs), rolls=0).load("train").groups)) == names[3:]


def test_the_layout_of_the_repository_is_read(tmp_path: Path, songs: Path) -> None:
    nested = tmp_path / "POP909"
    for file in songs.glob("*.mid"):
        song(nested / file.stem / file.name, offset=10)
        song(nested / file.stem / "versions" / f"{file.stem}-v1.mid")
    there = build(path=str(nested), rolls=0).load("train")
    assert set(there.groups) == set(build(path=str(songs), rolls=0).load("train").groups)


def test_what_is_missing_or_damaged_is_said(tmp_path: Path, songs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_DATA", raising=False)
    with pytest.raises(DataError, match="BENCH_DATA is not set; download the songs from https"):
        build().load("train")
    empty = tmp_path / "empty"
    (empty / "pop909").mkdir(parents=True)
    monkeypatch.setenv("BENCH_DATA", str(empty))
    with pytest.raises(DataError, match=r"no songs in .*pop909 \(from BENCH_DATA\); download them from https"):
        build().load("train")
    assert "no songs" in build().inventory()["songs"]
    assert build().fingerprint() == ""
    with pytest.raises(DataError, match="unknown split of POP909"):
        build(path=str(songs)).load("dev")
    with pytest.raises(UsageError, match=r"-\d+ rolls, expected 0"):
        build(rolls=-1)
    bad = build(path=str(songs), rolls=0)._files("train")[0]
    bad.write_bytes(b"MThd")
    with pytest.raises(DataError, match=rf"{bad.name}: not a MIDI file"):
        build(path=str(songs), rolls=0).load("train")
    file = mido.MidiFile(song(bad))
    file.tracks[1][0].name = "VOCALS"
    file.save(bad)
    with pytest.raises(DataError, match="a track is called 'vocals', expected melody, bridge, piano"):
        build(path=str(songs), rolls=0).load("train")


def test_the_fingerprint_knows_the_files(songs: Path) -> None:
    first = build(path=str(songs)).fingerprint()
    assert len(first) == 16
    song(songs / "001.mid", bars=12)
    assert build(path=str(songs)).fingerprint() != first


def test_the_real_songs_are_the_ones_described(bench_data: Path, module: ModuleType) -> None:
    files = [*sorted((bench_data / "pop909").glob("[0-2]*.mid")), bench_data / "pop909" / "300.mid"]
    if len(files) != 300:
        pytest.skip(f"{len(files)} of the songs 001-300 in {bench_data / 'pop909'}")
    sums = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    path = plugins.find("datasets", "pop909").path
    assert path is not None
    card = tomllib.loads(path.with_suffix(".toml").read_text())
    assert card["checksums"]["songs"] == hashlib.sha256(sums.encode()).hexdigest()
    data = build(path=str(bench_data / "pop909"), rolls=60).load("train")
    notes = notes_of(data)
    assert data.lowest + 84 > int(notes.pitch.max())
    shares = torch.bincount(notes.start % 16, minlength=16) / len(notes)
    stated = torch.tensor(card["alignment"]["onsets_by_sixteenth"])
    assert shares.tolist() == pytest.approx(stated.tolist(), abs=0.05)
    assert int(shares.argmax()) == 0
