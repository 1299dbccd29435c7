"""Lakh: both layouts give the same five tracks, damaged files are counted, and nothing is unpickled."""

from __future__ import annotations

import dataclasses
import io
import json
import random
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csc_matrix

from bench import plugins
from bench.api import Rolls
from bench.errors import DataError, UsageError
from bench.notes import pianorolls
from bench.notes.rolls import DRUMS, Notes, grid, notes_of, write_midi

PROGRAMS = (DRUMS, 0, 24, 32, 48)
Row = tuple[int, int, int, int, int]  # track, start, duration (24 steps a beat), pitch, velocity


def rows(bars: int = 9) -> list[Row]:
    """A note of every track on each beat, but none in the second window of four bars."""
    beats = [beat for beat in range(4 * bars) if not 16 <= beat < 32]
    return [(track, 24 * beat, 8 + 4 * track, 36 + 7 * track, 60 + beat) for beat in beats for track in range(5)]


def arrays(notes: list[Row], steps: int = 24 * 4 * 9, **more: Any) -> dict[str, Any]:
    """What pypianoroll's `save` puts into the file, by name."""
    found: dict[str, Any] = {"tempo": np.full(steps, 96.0), "downbeat": np.arange(steps) % 96 == 0}
    for track in range(5):
        roll = np.zeros((steps, 128), dtype=np.uint8)
        for number, start, duration, pitch, velocity in notes:
            if number == track:
                roll[start : start + duration, pitch] = velocity
        sparse = csc_matrix(roll)
        for name in ("data", "indices", "indptr"):
            found[f"pianoroll_{track}_csc_{name}"] = getattr(sparse, name)
        found[f"pianoroll_{track}_csc_shape"] = np.array(sparse.shape)
    return found | more


def info(**more: Any) -> dict[str, Any]:
    about = {str(n): {"program": p % DRUMS, "is_drum": p == DRUMS, "name": ""} for n, p in enumerate(PROGRAMS)}
    return about | {"beat_resolution": 24, "name": "x"} | more


def save(path: Path, content: dict[str, Any], about: dict[str, Any] | None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **content)
    if about is not None:
        with zipfile.ZipFile(path, "a") as members:
            members.writestr("info.json", json.dumps(about))
    return path


def midi(path: Path, notes: list[Row], metre: int = 4, programs: tuple[int, ...] = PROGRAMS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = [(0, track, start, duration, pitch, velocity / 127) for track, start, duration, pitch, velocity in notes]
    velocity, onset = grid(Notes.of(table), 1, 5, 24 * 4 * 9)
    steps = torch.tensor([24 * 4 * 9])
    rolls = Rolls(velocity, onset, programs, ("x",), ("x",), steps, torch.tensor([96.0]), 24, metre)
    write_midi(rolls, 0, path)
    return path


def name(number: int) -> str:
    return f"A/B/TR{number:016d}/{number:032x}"


def build(root: Path, **given: Any) -> Any:
    everything = {"path": str(root), "rolls": 0, "validation_rolls": 0, "test_rolls": 0}
    return plugins.build("datasets", "lakh", everything | given)


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    for number in range(40):
        save(tmp_path / "npz" / f"{name(number)}.npz", arrays(rows()), info())
    return tmp_path / "npz"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    for number in range(40):
        midi(tmp_path / "raw" / f"{name(number)}.mid", rows())
    return tmp_path / "raw"


@pytest.mark.parametrize("steps_per_beat", [4, 12, 24])
def test_both_layouts_give_the_same_rolls(npz: Path, raw: Path, steps_per_beat: int) -> None:
    one, other = (build(root, steps_per_beat=steps_per_beat).load("train").check() for root in (npz, raw))
    assert one.velocity.shape[1:] == (5, 16 * steps_per_beat, 84)
    assert one.ids == other.ids
    assert one.programs == PROGRAMS
    assert one.tracks == ("drums", "piano", "guitar", "bass", "strings")
    assert torch.equal(one.velocity, other.velocity)
    assert torch.equal(one.onset, other.onset)
    assert one.tempo.tolist() == pytest.approx([96.0] * len(one))
    assert other.tempo.tolist() == pytest.approx([96.0] * len(one))
    assert not any(window.endswith("-0001") for window in one.ids)  # silent
    notes = notes_of(one)
    assert set((notes.start % steps_per_beat).tolist()) == {0}
    bass = notes.duration[(notes.track == 3) & (notes.roll == 0)]
    assert set(bass.tolist()) == {round(20 / 24 * steps_per_beat)}


def test_splits_are_by_piece_and_pieces_take_turns(npz: Path) -> None:
    splits = {split: build(npz).load(split) for split in ("train", "validation", "test")}
    groups = [set(data.groups) for data in splits.values()]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 40
    assert all(group.startswith("TR") for group in set().union(*groups))
    assert len(splits["train"]) == 2 * len(groups[0])
    assert len(set(build(npz, rolls=5).load("train").groups)) == 5
    assert len(build(npz, per_piece=1).load("train")) == len(groups[0])
    with pytest.raises(DataError, match=r"900 train rolls, but there are \d+ windows of 4 bars in \d+ files"):
        build(npz, rolls=900).load("train")


def test_versions_and_doublets_are_one_piece(tmp_path: Path) -> None:
    for number in range(20):
        midi(tmp_path / f"{name(number)}.mid", rows())
        midi(tmp_path / f"A/TR{number:016d}/other.mid", rows())
    first = build(tmp_path)._files()[1]
    assert len(first) == 20
    assert sorted(first.values())[0].startswith("A/B/TR")
    again = tmp_path / f"Z/TR{99:016d}/{3:032x}.mid"  # matched to a second piece
    midi(again, rows())
    assert build(tmp_path)._files()[1] == first
    midi(tmp_path / "alone.mid", rows())
    assert build(tmp_path)._files()[1]["alone"] == "alone.mid"


def test_tracks_are_gathered_by_family_and_other_metres_left_out(tmp_path: Path) -> None:
    for number in range(30):
        midi(tmp_path / f"{number}.mid", rows(), programs=(DRUMS, 3, 30, 39, 73), metre=3 if number % 2 else 4)
    data = build(tmp_path).load("train")
    assert all(int(group) % 2 == 0 for group in data.groups)
    assert torch.bincount(notes_of(data).track).tolist() == [len(notes_of(data)) // 5] * 5


def test_bars_are_those_of_the_file(tmp_path: Path) -> None:
    """The first down-beat stated lies a beat in: the pick-up belongs to the bar before it."""
    steps = 24 * 4 * 9
    for number in range(20):
        content = arrays(rows(), downbeat=np.arange(steps) % 96 == 24)
        save(tmp_path / f"{number}.npz", content, info())
    data = build(tmp_path).load("train")
    notes = notes_of(data)
    opening = torch.tensor([window.endswith("-0000") for window in data.ids])[notes.roll]
    assert int(notes.start[opening].min()) == 12  # the fourth beat


def test_runs_of_one_velocity_are_notes(tmp_path: Path) -> None:
    content = arrays([(1, 0, 10, 60, 80), (1, 10, 5, 60, 90), (1, 20, 4, 60, 90), (1, 20, 4, 61, 90)])
    rolls = pianorolls.read_pianorolls(save(tmp_path / "x.npz", content, info()))
    found = zip(rolls.notes.start.tolist(), rolls.notes.duration.tolist(), rolls.notes.pitch.tolist(), strict=True)
    assert list(found) == [(0, 10, 60), (10, 5, 60), (20, 4, 60), (20, 4, 61)]
    assert (rolls.notes.velocity * 127).round().tolist() == [80, 90, 90, 90]
    changing = arrays([(1, 0, 10, 60, 80)], tempo=np.array([60.0, 120.0, np.nan, 0.0]))
    assert pianorolls.read_pianorolls(save(tmp_path / "y.npz", changing, info())).tempo == pytest.approx(80.0)


def pickled() -> bytes:
    """An array of objects whose unpickling would run code."""
    text = io.BytesIO()
    np.lib.format.write_array(text, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return text.getvalue()


def header(shape: tuple[int, ...], data: bytes = b"") -> bytes:
    text = io.BytesIO()
    np.lib.format.write_array_header_1_0(text, {"descr": "<i8", "fortran_order": False, "shape": shape})
    return text.getvalue() + data


def put(path: Path, member: str, data: bytes) -> None:
    """The file with one member changed."""
    with zipfile.ZipFile(path) as members:
        content = {entry: members.read(entry) for entry in members.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as members:
        for entry, old in (content | {member: data}).items():
            members.writestr(entry, data if entry == member else old)


def damaged(kind: str, path: Path) -> None:
    about, content = info(), arrays(rows())
    match kind:
        case "no info":
            save(path, content, None)
        case "a track less":
            save(path, {key: value for key, value in content.items() if not key.endswith("4_csc_indptr")}, about)
        case "wrong shape":
            save(path, content | {"pianoroll_0_csc_shape": np.array([864, 84])}, about)
        case "enormous shape":
            save(path, content | {"pianoroll_0_csc_shape": np.array([1 << 60, 128])}, about)
        case "outside":
            save(path, content | {"pianoroll_1_csc_shape": np.array([5, 128])}, about)
        case "no matrix":
            save(path, content | {"pianoroll_1_csc_indptr": np.zeros(129, dtype=np.int32)}, about)
        case "no notes":
            save(path, arrays([]), about)
        case "resolution":
            save(path, content, info(beat_resolution=0))
        case "program":
            save(path, content, info() | {"2": {"program": "guitar", "is_drum": False}})
        case "text":
            path.write_text("no zip at all")
        case "truncated":
            save(path, content, about)
            path.write_bytes(path.read_bytes()[:-200])
        case "corrupt":
            save(path, content, about)
            data = bytearray(path.read_bytes())
            data[2000:2100] = bytes(100)
            path.write_bytes(data)
        case "objects":
            save(path, content, about)
            put(path, "tempo.npy", pickled())
        case "bomb":
            save(path, content, about)
            put(path, "tempo.npy", bytes(pianorolls.LARGEST + 1))
        case "declared":
            save(path, content, about)
            put(path, "tempo.npy", header((1 << 40,), bytes(80)))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("no info", r"no info\.json"),
        ("a track less", "no array pianoroll_4_csc_indptr"),
        ("wrong shape", r"pianoroll_0_csc_shape is \[864, 84\]"),
        ("enormous shape", "expected at most"),
        ("outside", "pianoroll_1_csc_indices and indptr do not fit"),
        ("no matrix", "pianoroll_1_csc_indices and indptr do not fit"),
        ("no notes", "no notes in its 5 tracks"),
        ("resolution", "beat_resolution is 0"),
        ("program", "the program of track 2 is 'guitar'"),
        ("text", r"not an \.npz file"),
        ("truncated", r"not an \.npz file"),
        ("corrupt", r"not an \.npz file"),
        ("objects", "pickled objects, which are never loaded"),
        ("bomb", "unpacks to more than"),
        ("declared", r"an array of shape \(1099511627776,\) has 80 bytes"),
    ],
)
def test_damage_is_one_line(tmp_path: Path, kind: str, reason: str) -> None:
    damaged(kind, tmp_path / "x.npz")
    with pytest.raises(DataError, match=reason) as raised:
        pianorolls.read_pianorolls(tmp_path / "x.npz")
    assert "\n" not in str(raised.value)
    assert "x.npz" in str(raised.value)


def test_no_damage_escapes(tmp_path: Path) -> None:
    """Random bytes in a good file: it is read, or refused as data; nothing else is raised."""
    good = bytearray(save(tmp_path / "x.npz", arrays(rows()), info()).read_bytes())
    rng = random.Random(0)
    outcomes = {True: 0, False: 0}
    for _ in range(150):
        data = bytearray(good)
        data[rng.randrange(len(data))] = rng.randrange(256)
        (tmp_path / "x.npz").write_bytes(data)
        try:
            pianorolls.read_pianorolls(tmp_path / "x.npz")
            outcomes[True] += 1
        except DataError:
            outcomes[False] += 1
    assert min(outcomes.values()) > 10


def test_a_few_damaged_files_are_counted_and_many_refused(npz: Path) -> None:
    good = build(npz).load("train")
    names = [npz / build(npz)._files()[1][group] for group in sorted(set(good.groups))]
    assert len(names) >= 25
    damaged("text", names[0])
    with pytest.warns(UserWarning, match=rf"1 of {len(names)} files cannot be used: .*not an \.npz"):
        less = build(npz).load("train")
    assert set(good.groups) - set(less.groups) == {sorted(set(good.groups))[0]}
    for file in names[1:6]:
        damaged("bomb" if file is names[1] else "text", file)
    with pytest.raises(DataError, match=r"6 of \d+ files cannot be used: .*; and 3 more \(more than 5%\)"):
        build(npz).load("train")


def test_good_files_give_no_warning(npz: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(npz).load("test")


def test_what_is_missing_is_said_and_what_is_there_found(
    npz: Path, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = dataclasses.replace(build(npz), path="")
    monkeypatch.delenv("BENCH_DATA", raising=False)
    with pytest.raises(DataError, match="BENCH_DATA is not set; download files from https"):
        nothing.load("train")
    data = tmp_path / "data"
    data.mkdir()
    monkeypatch.setenv("BENCH_DATA", str(data))
    with pytest.raises(DataError, match=r"no folder lpd_5, .*lmd_full in .*data \(from BENCH_DATA\); download"):
        nothing.load("train")
    assert "no folder" in nothing.inventory()["files"]
    assert nothing.fingerprint() == ""
    raw.rename(data / "lmd_matched")
    assert next(iter(nothing.inventory())).endswith("lmd_matched")
    first = nothing.fingerprint()
    npz.rename(data / "lpd_5")
    assert next(iter(nothing.inventory())).endswith("lpd_5")
    assert "" != nothing.fingerprint() != first
    (data / "lpd_5_empty").mkdir()
    with pytest.raises(DataError, match=r"no \.npz or MIDI files in it"):
        dataclasses.replace(nothing, path=str(data / "lpd_5_empty")).load("train")
    with pytest.raises(DataError, match="unknown split of Lakh"):
        nothing.load("dev")
    with pytest.raises(UsageError, match="per_piece = 0"):
        build(data, per_piece=0)
