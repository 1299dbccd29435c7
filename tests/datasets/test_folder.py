"""A folder of the user's own files: labels, splits, cutting, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from bench import plugins
from bench.api import Clips, Rolls
from bench.errors import DataError, UsageError
from bench.notes.rolls import DRUMS, Notes, grid, write_midi
from bench.sound import mpeg
from bench.sound.files import write

RATE = 8000


def build(root: Path, **given: Any) -> Any:
    return plugins.build("datasets", "folder", {"path": str(root), "rate": RATE, "seconds": 1.0, **given})


def tone(path: Path, hertz: float = 440.0, seconds: float = 1.0, channels: int = 1, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = torch.arange(round(seconds * rate)) / rate
    write(path, 0.5 * torch.sin(2 * torch.pi * hertz * time).expand(channels, -1), rate)
    return path


def song(path: Path, bars: int = 4, programs: tuple[int, ...] = (DRUMS, 5, 28, 35, 70), metre: int = 4) -> Path:
    """A note of each track in every beat but those of the second bar."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beats = [beat for beat in range(bars * metre) if beat // metre != 1]
    rows = [(0, track, 4 * beat, 2, 40 + track, 0.5) for beat in beats for track in range(len(programs))]
    steps = bars * metre * 4
    velocity, onset = grid(Notes.of(rows), 1, len(programs), steps)
    rolls = Rolls(velocity, onset, programs, ("s",), ("s",), torch.tensor([steps]), torch.tensor([100.0]))
    write_midi(dataclasses.replace(rolls, beats_per_bar=metre), 0, path)
    return path


@pytest.fixture
def split_folders(tmp_path: Path) -> Path:
    for split, count in (("train", 3), ("validation", 1), ("test", 2)):
        for number in range(count):
            tone(tmp_path / split / "low" / f"{number}.wav", 300)
            tone(tmp_path / split / "high" / "deeper" / f"{number}.flac", 1200)
    return tmp_path


def test_sub_folders_are_splits_and_labels(split_folders: Path) -> None:
    (split_folders / "notes.txt").write_text("not audio")
    (split_folders / ".hidden.wav").write_bytes(b"")
    data = build(split_folders)
    sizes = {split: len(data.load(split).check()) for split in ("train", "validation", "test")}
    assert sizes == {"train": 6, "validation": 2, "test": 4}
    clips = data.load("test")
    assert clips.classes == ("high", "low")
    spectrum = torch.fft.rfft(clips.audio[:, 0]).abs().argmax(1)  # one bin a hertz
    assert spectrum.tolist() == [1200 if label == 0 else 300 for label in clips.labels.tolist()]
    assert set(clips.groups) == {f"test/{name}" for name in ("low/0", "low/1", "high/deeper/0", "high/deeper/1")}


def test_a_hash_splits_by_group_and_new_files_move_nothing(tmp_path: Path) -> None:
    for number in range(40):
        tone(tmp_path / f"{number}.wav", seconds=0.3)
    before = {split: set(build(tmp_path, validation=0.2, test=0.2).load(split).groups) for split in ("train", "test")}
    assert 20 <= len(before["train"]) <= 30
    for number in range(40, 50):
        tone(tmp_path / f"{number}.wav", seconds=0.3)
    after = {split: set(build(tmp_path, validation=0.2, test=0.2).load(split).groups) for split in before}
    assert before["train"] <= after["train"]
    assert before["test"] <= after["test"]
    assert build(tmp_path).load("train").labels is None


def test_long_files_are_cut_and_short_ends_are_padded_or_left_out(tmp_path: Path) -> None:
    tone(tmp_path / "train" / "a.wav", seconds=2.7)
    tone(tmp_path / "train" / "b.wav", seconds=2.3)
    tone(tmp_path / "train" / "c.wav", seconds=0.2)
    tone(tmp_path / "validation" / "d.wav")
    tone(tmp_path / "test" / "e.wav")
    clips = build(tmp_path).load("train").check()
    lengths = dict(zip(clips.ids, clips.lengths.tolist(), strict=True))
    assert lengths == {
        "train/a.wav#0": 8000, "train/a.wav#1": 8000, "train/a.wav#2": 5600,
        "train/b.wav#0": 8000, "train/b.wav#1": 8000, "train/c.wav#0": 1600,
    }  # fmt: skip
    assert set(clips.groups) == {"train/a", "train/b", "train/c"}
    assert len(build(tmp_path, limit=4).load("train")) == 4
    assert build(tmp_path, limit=4).load("train").ids == clips.ids[:4]


def test_silent_stretches_are_left_out_and_silent_files_refused(tmp_path: Path) -> None:
    sound = torch.zeros(1, 3 * RATE)
    sound[:, : RATE // 2] = 0.3
    sound[:, -RATE // 2 :] = 0.3
    write(tmp_path / "a.wav", sound, RATE)
    data = build(tmp_path, validation=0, test=0)
    assert data.load("train").ids == ("a.wav#0", "a.wav#2")
    write(tmp_path / "b.wav", torch.zeros(1, RATE), RATE)
    with pytest.raises(DataError, match=r"b\.wav' is silent"):
        build(tmp_path, validation=0, test=0).load("train")


def test_rates_and_channels_are_made_one(tmp_path: Path) -> None:
    tone(tmp_path / "mono.wav", 440, rate=16000)
    tone(tmp_path / "stereo.ogg", 440, channels=2, rate=44100)
    tone(tmp_path / "native.flac", 440, channels=2, rate=RATE)
    for channels in (1, 2):
        clips = build(tmp_path, validation=0, test=0, channels=channels).load("train").check()
        assert clips.audio.shape == (3, channels, 8000)
        assert torch.fft.rfft(clips.audio).abs().argmax(-1).eq(440).all()
        assert clips.audio.abs().amax(-1).flatten().tolist() == pytest.approx([0.5] * 3 * channels, abs=0.03)
    tone(tmp_path / "six.wav", channels=6)
    with pytest.raises(DataError, match="6 channels, expected 1 or 2"):
        build(tmp_path, validation=0, test=0, channels=2).load("train")


def table(root: Path, text: str, name: str = "labels.csv") -> None:
    (root / name).write_text(text, encoding="utf-8")


def test_a_table_gives_labels_groups_and_texts(tmp_path: Path) -> None:
    for number in range(30):
        tone(tmp_path / "x" / f"{number}.wav", seconds=0.5)
    tone(tmp_path / "x" / "unlisted.wav")
    lines = [f"x/{number}.wav,{'ab'[number % 2]},album {number // 3},take “{number}”" for number in range(30)]
    table(tmp_path, "file,label,group,text\n" + "\n".join(lines) + "\n")
    sets = {split: build(tmp_path, validation=0.3, test=0.3).load(split) for split in ("train", "validation", "test")}
    assert sum(map(len, sets.values())) == 30
    groups = [set(clips.groups) for clips in sets.values()]
    assert len(set().union(*groups)) == sum(map(len, groups)) == 10  # albums stay together
    for clips in sets.values():
        for file, label, text in zip(clips.ids, clips.labels.tolist(), clips.texts, strict=True):
            number = int(file.removeprefix("x/").removesuffix(".wav#0"))
            assert (clips.classes[label], text) == ("ab"[number % 2], f"take “{number}”")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name,label\na.wav,x\n", "columns name,label, expected file,label"),
        ("file,label\n", "no rows"),
        ("file,label\nb.wav,x\n", "line 2 names 'b.wav', which is no file"),
        ("file,label\na.wav,x\na.wav,y\n", "line 3 names 'a.wav' a second time"),
        ("file,label\na.wav\n", "line 2 has not 2 columns"),
        ("file,label\na.wav,x,y\n", "line 2 has not 2 columns"),
        ("file,label\n../secret.wav,x\n", r"names '\.\./secret\.wav', expected a path below"),
        ("file,label\n/etc/passwd,x\n", "expected a path below"),
        ("file,label\nsub/../../secret.wav,x\n", "expected a path below"),
        ("file,label\n..\\secret.wav,x\n", "expected a path below"),
        ("file,label\n,x\n", "expected a path below"),
        ("file,label\na.wav,x\nc.wav,\n", "'c.wav' has no label"),
    ],
)
def test_a_wrong_table_is_told_by_line(tmp_path: Path, text: str, reason: str) -> None:
    root = tmp_path / "root"
    tone(tmp_path / "secret.wav")
    tone(root / "a.wav")
    tone(root / "c.wav")
    table(root, text)
    with pytest.raises(DataError, match=reason) as raised:
        build(root).load("train")
    assert "\n" not in str(raised.value)


def test_a_named_table_must_be_there_and_be_text(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav")
    with pytest.raises(DataError, match="no such table"):
        build(tmp_path, table="other.csv").load("train")
    with pytest.raises(DataError, match="expected a path below"):
        build(tmp_path, table="../other.csv").load("train")
    (tmp_path / "labels.csv").write_bytes(b"file,label\na.wav,\xff\xfe\n")
    with pytest.raises(DataError, match="UTF-8"):
        build(tmp_path).load("train")


@pytest.mark.parametrize("make", ["file", "folder", "table"])
def test_links_are_refused(tmp_path: Path, make: str) -> None:
    root = tmp_path / "root"
    tone(root / "a.wav")
    tone(tmp_path / "outside" / "b.wav")
    table(tmp_path, "file,label\na.wav,x\n")
    target = {"file": "outside/b.wav", "folder": "outside", "table": "labels.csv"}[make]
    (root / {"file": "b.wav", "folder": "more", "table": "labels.csv"}[make]).symlink_to(tmp_path / target)
    with pytest.raises(DataError, match="is a link"):
        build(root).load("train")


def test_unreadable_files_are_named_and_counted(tmp_path: Path) -> None:
    for number in range(6):
        tone(tmp_path / f"{number}.wav")
    for number, damage in enumerate(
        (b"", b"RIFF", b"hello" * 100, bytes(3000), (tmp_path / "5.wav").read_bytes()[:500])
    ):
        (tmp_path / f"{number}.wav").write_bytes(damage)
    with pytest.raises(DataError, match=r"5 of the split's 6 files cannot be used: .*; and 2 more") as raised:
        build(tmp_path, validation=0, test=0).load("train")
    assert str(raised.value).count(".wav'") == 3
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda root: root.rmdir(), "no such folder"),
        (lambda root: None, "no files of this domain"),
        (lambda root: tone(root / "a.wav"), "none of the 1 groups falls to"),
        (
            lambda root: [tone(root / split / "a.wav") for split in ("train", "test", "more")],
            "'more' lies beside test and train",
        ),
        (lambda root: [tone(root / "a.wav"), tone(root / "x" / "b.wav")], "'a.wav' has no label"),
    ],
)
def test_a_folder_that_cannot_be_used_is_explained(tmp_path: Path, make: Callable[[Path], Any], reason: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    make(root)
    with pytest.raises(DataError, match=reason):
        [build(root).load(split) for split in ("train", "validation", "test")]


def test_a_group_may_not_be_in_two_split_folders(split_folders: Path) -> None:
    files = ["train/low/0.wav", "test/low/0.wav"]
    table(split_folders, "file,group\n" + "".join(f"{file},same\n" for file in files))
    with pytest.raises(DataError, match="group 'same' is in train and in test"):
        build(split_folders).load("train")


def test_midi_is_cut_into_bars_of_five_tracks(tmp_path: Path) -> None:
    song(tmp_path / "train" / "a.mid")
    song(tmp_path / "train" / "b.MID", programs=(0, 40, 90), metre=3)
    song(tmp_path / "validation" / "c.kar")
    song(tmp_path / "test" / "d.rmi")
    rolls = build(tmp_path, domain="midi", bars=1).load("train").check()
    assert isinstance(rolls, Rolls)
    assert rolls.velocity.shape[1:] == (5, 16, 128)
    assert rolls.programs == (DRUMS, 0, 24, 32, 48)
    mine = [number for number, name in enumerate(rolls.ids) if name.startswith("train/a")]
    assert [rolls.ids[number] for number in mine] == [
        "train/a.mid#0",
        "train/a.mid#2",
        "train/a.mid#3",
    ]  # bar 1 is empty
    assert rolls.onset[mine[0]].nonzero()[:, [0, 2]].unique(dim=0).tolist() == [
        [track, 40 + track] for track in range(5)
    ]
    other = rolls.onset[rolls.ids.index("train/b.MID#0")]
    assert other.any(-1).any(-1).tolist() == [False, True, False, False, True]
    assert set(rolls.tempo.tolist()) == {100.0}
    assert rolls.beats_per_bar == 4  # the files do not agree
    (tmp_path / "train" / "c.mid").write_text("no music")
    with pytest.raises(DataError, match=r"1 of the split's 3 files cannot be used: .*c\.mid: not a MIDI file"):
        build(tmp_path, domain="midi").load("train")


def spread(root: Path, *folders: str) -> Path:
    """Two files in each folder."""
    for number, folder in enumerate(folders):
        tone(root / folder / "a.wav", 300 + number, 0.2)
        tone(root / folder / "b.wav", 300 + number, 0.2)
    return root


@pytest.mark.parametrize(
    ("folders", "reason"),
    [
        (("train", "val"), "found train/ and val/; expected train/ and test/, perhaps validation/; rename"),
        (("Train", "Validation"), "found Train/ and Validation/; expected train/"),
        (("train/x", "dev/x"), "found dev/ and train/; expected train/"),
        (("train",), "found train/; expected train/ and test/"),
        (("test", "valid"), "found test/ and valid/; expected train/"),
        (("train", "train-clean"), "'train-clean' lies beside train; expected"),
        (("train-clean", "test-other"), "'test-other' lies beside train-clean; expected"),
        (("train", "test", "noise"), "'noise' lies beside test and train; expected"),
        (("train", "val", "dev", "test"), "dev/ and val/ stand for one split, expected one of them"),
        (("Train", "train", "test"), "Train/ and train/ stand for one split"),
        (("dog/train", "dog/test", "cat/train"), "found cat/train/, expected the split above the label: train/cat/"),
    ],
)
def test_splits_that_are_not_whole_are_told_and_no_labels(
    tmp_path: Path, folders: tuple[str, ...], reason: str
) -> None:
    for split in ("train", "validation", "test"):
        with pytest.raises(DataError) as raised:
            build(spread(tmp_path, *folders)).load(split)
        assert reason in str(raised.value)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "folders",
    [
        ("train", "validation", "test"), ("Train", "Val", "Test"), ("TRAINING", "DEV", "TESTING"),
        ("train", "valid", "eval"), ("train", "development", "evaluation"),
    ],
)  # fmt: skip
def test_splits_are_known_by_any_usual_name(tmp_path: Path, folders: tuple[str, ...]) -> None:
    data = build(spread(tmp_path, *(f"{folder}/x" for folder in folders)))
    for split, folder in zip(("train", "validation", "test"), folders, strict=True):
        clips = data.load(split)
        assert set(clips.groups) == {f"{folder}/x/a", f"{folder}/x/b"}
        assert clips.classes == ("x",)


def test_without_a_validation_folder_its_share_of_the_training_groups_is_drawn(tmp_path: Path) -> None:
    for number in range(40):
        tone(tmp_path / "train" / f"{number}.wav", seconds=0.2)
    tone(tmp_path / "test" / "a.wav", seconds=0.2)
    sets = {
        split: set(build(tmp_path, validation=0.25).load(split).groups) for split in ("train", "validation", "test")
    }
    assert sets["test"] == {"test/a"}
    assert 3 <= len(sets["validation"]) <= 20  # a share of 0.25 of 40, three standard deviations
    assert not sets["train"] & sets["validation"]
    assert len(sets["train"] | sets["validation"]) == 40


@pytest.mark.parametrize("folders", [("train", "car"), ("cat", "dog"), ("train-x", "train-y"), ("testimony", "trains")])
def test_labels_may_be_called_like_a_split(tmp_path: Path, folders: tuple[str, ...]) -> None:
    assert build(spread(tmp_path, *folders), validation=0, test=0).load("train").classes == tuple(sorted(folders))


def test_a_table_says_that_names_of_splits_are_labels(tmp_path: Path) -> None:
    spread(tmp_path, "x/train", "x/dev")
    rows = "".join(f"x/{label}/{name}.wav,{label}\n" for label in ("train", "dev") for name in "ab")
    table(tmp_path, "file,label\n" + rows)
    assert build(tmp_path, validation=0, test=0).load("train").classes == ("dev", "train")


def test_files_of_other_endings_are_counted_and_told(tmp_path: Path) -> None:
    spread(tmp_path, ".")
    for name in ("c.m4a", "d.m4a", "cover.jpg", "README", "e.mid"):
        (tmp_path / name).write_bytes(b"")
    with pytest.warns(
        UserWarning, match=r"5 of 7 files are left out \(2 \.m4a, 1 no ending, 1 \.jpg, 1 \.mid\); expected \.aif"
    ):
        build(tmp_path, validation=0, test=0).load("train")
    (tmp_path / "a.wav").unlink()
    (tmp_path / "b.wav").unlink()
    with pytest.raises(DataError, match=r"no files of this domain.*1 files of midi are there: set domain=midi"):
        build(tmp_path).load("train")


def test_names_that_are_not_utf8_are_shown_and_not_in_the_way(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"s\xffng.mid")
    song(tmp_path / "a.mid").rename(odd)
    data = build(tmp_path, domain="midi", validation=0, test=0)
    rolls = data.load("train").check()
    assert set(rolls.groups) == {r"s\xffng"}
    json.dumps(rolls.ids, ensure_ascii=False).encode()
    assert len(data.fingerprint()) == 16
    song(tmp_path / r"s\xffng.mid")
    with pytest.raises(DataError, match=r"two files are called 's\\xffng\.mid', rename one"):
        data.load("train")
    odd.write_bytes(b"no music")
    (tmp_path / r"s\xffng.mid").unlink()
    with pytest.raises(DataError, match=r"s\\xffng\.mid: not a MIDI file"):
        data.load("train")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav")
    os.mkfifo(tmp_path / "b.wav")
    data = build(tmp_path)
    for ask in (partial(data.load, "train"), data.fingerprint):
        with pytest.raises(DataError, match=r"b\.wav is no regular file"):
            ask()


def test_parameters_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give its path"):
        build(Path("")).__class__().load("train")
    for given in (
        {"channels": 3}, {"seconds": 0.0}, {"seconds": math.nan}, {"seconds": 1e9}, {"rate": 0}, {"bars": 0},
        {"bars": 1 << 20}, {"validation": 0.6, "test": 0.6}, {"validation": -0.1}, {"test": math.nan}, {"limit": -1},
    ):  # fmt: skip
        with pytest.raises(UsageError):
            build(tmp_path, **given)
    with pytest.raises(DataError, match="unknown split"):
        build(tmp_path).load("dev")


def test_changed_files_are_not_taken_for_the_old_ones(split_folders: Path) -> None:
    before = build(split_folders).fingerprint()
    assert build(split_folders).fingerprint() == before
    file = split_folders / "train" / "low" / "0.wav"
    tone(file, 301)  # of the same size
    assert build(split_folders).fingerprint() != before


def test_real_files_load(bench_data: Path) -> None:
    if not ((bench_data / "pop909").is_dir() and (bench_data / "music").is_dir()):
        pytest.skip(f"no pop909 and music in {bench_data}")
    rolls = build(bench_data / "pop909", domain="midi", limit=40).load("train").check()
    assert len(rolls) == 40
    assert len(set(rolls.groups)) < 10
    assert (rolls.onset.flatten(1).sum(1) > 20).all()
    music = build(bench_data / "music", limit=20, validation=0, test=0, seconds=2.0).load("train").check()
    assert isinstance(music, Clips)
    assert len(music) == 20


def test_a_song_whose_header_does_not_tell_its_length_is_cut_to_its_end(tmp_path: Path) -> None:
    """An MP3 of variable bit rate without a Xing header, of which libsndfile alone reads less than half."""
    noise = torch.rand(1, 6 * RATE, generator=torch.Generator().manual_seed(0)) - 0.5
    noise[:, : RATE // 2] = 0.01 * torch.sin(torch.arange(RATE // 2) / 9)
    path = tmp_path / "a.mp3"
    soundfile.write(path, noise.T.numpy(), RATE, bitrate_mode="VARIABLE", compression_level=0.2)
    data = path.read_bytes()
    stream = mpeg.scan(data, 0, len(data))
    assert stream is not None
    path.write_bytes(data[stream.audio :])
    (tmp_path / "labels.csv").write_text("file,label\na.mp3,x\n")
    dataset = build(tmp_path, validation=0.0, test=0.0)
    clips = dataset.load("train")
    assert len(clips) in (6, 7)  # coder and decoder add less than half a second
    assert int(clips.lengths.sum()) >= 6 * RATE
