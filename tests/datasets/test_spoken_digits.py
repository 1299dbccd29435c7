"""Spoken digits: the official split, padding, levels, and what is said when the recordings are not there."""

from __future__ import annotations

import io
import sys
import tarfile
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from bench import plugins
from bench.errors import DataError, UsageError
from bench.sound.files import write


def build(**given: Any) -> Any:
    return plugins.build("datasets", "spoken_digits", given, "smoke")


@pytest.fixture(scope="module")
def module() -> ModuleType:
    return sys.modules[plugins.load("datasets", "spoken_digits").__module__]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, module: ModuleType) -> Path:
    """A small stand-in with the same names: a tone of its digit's pitch, takes 0, 5 and 10 alone."""
    folder = tmp_path_factory.mktemp("fsdd")
    time = torch.arange(12000) / 8000
    for take in (0, 5, 10):
        for number, speaker in enumerate(module.SPEAKERS):
            for digit in range(10):
                tone = 0.05 * (1 + number) * torch.sin(2 * torch.pi * (200 + 100 * digit) * time)
                samples = 3000 + 100 * digit if take else 12000  # takes of the test are longer than a second
                write(folder / f"{digit}_{speaker}_{take}.wav", tone[:samples], 8000, "PCM_16")
    return folder


@pytest.fixture
def dataset(recordings: Path) -> Any:
    return build(path=str(recordings), takes=1, validation_takes=1, test_takes=1)


def test_labels_speakers_and_padding_are_right(dataset: Any) -> None:
    clips = dataset.load("train").check()
    assert clips.audio.shape == (60, 1, 8000)
    assert clips.labels.bincount().tolist() == [6] * 10
    assert len(set(clips.groups)) == 6
    assert clips.lengths.tolist() == [3000 + 100 * digit for digit in clips.labels.tolist()]
    for number, name in enumerate(clips.ids):
        digit, speaker, take = name.split("_")
        assert take == "10"
        assert speaker in clips.groups[number]
        assert clips.classes[int(digit)] == clips.classes[clips.labels[number]] in clips.texts[number]
        tone = torch.fft.rfft(clips.audio[number, 0, :3000]).abs().argmax() * 8000 / 3000
        assert float(tone) == pytest.approx(200 + 100 * int(digit), abs=4)


def test_long_recordings_are_cut(dataset: Any) -> None:
    assert dataset.load("test").lengths.eq(8000).all()


def test_peaks_are_normalised_or_left(recordings: Path) -> None:
    given = {"path": str(recordings), "takes": 1}
    levelled = build(**given).load("train").audio.abs().amax((1, 2))
    assert torch.allclose(levelled, torch.tensor(0.5), atol=1e-6)
    left = build(**given, peak=0).load("train").audio.abs().amax((1, 2))
    assert float(left[0]) == pytest.approx(0.05, abs=1e-3)
    assert float(left[59]) == pytest.approx(0.3, abs=1e-3)


def test_small_holds_every_recording_and_smoke_a_balanced_part() -> None:
    """No recordings are needed to know which would be read."""
    wanted = {"smoke": [600, 120, 180], "small": [2400, 300, 300], "full": [2400, 300, 300]}
    for preset, counts in wanted.items():
        dataset = plugins.build("datasets", "spoken_digits", {}, preset)
        assert dataset.content == "speech"  # so that PESQ and STOI are measured
        assert [len(list(dataset._names(split))) for split in ("train", "validation", "test")] == counts


def test_another_rate_is_resampled(recordings: Path) -> None:
    clips = build(path=str(recordings), takes=1, rate=16000).load("train").check()
    assert clips.audio.shape == (60, 1, 16000)
    assert clips.lengths[3] == 2 * 3300
    tone = torch.fft.rfft(clips.audio[3, 0, :6600]).abs().argmax() * 16000 / 6600
    assert float(tone) == pytest.approx(500, abs=4)


def test_the_two_ways_of_splitting(module: ModuleType) -> None:
    names = {
        by: {
            split: list(build(split_by=by, takes=0, validation_takes=0, test_takes=0)._names(split))
            for split in module.TAKES
        }
        for by in ("take", "speaker")
    }
    for by, splits in names.items():
        together = [name for split in splits.values() for name in split]
        assert len(together) == len(set(together)) == 3000, by
    assert {name.split("_")[2] for name in names["take"]["test"]} == {"0", "1", "2", "3", "4"}  # the official one
    assert {name.split("_")[2] for name in names["take"]["validation"]} == {"5", "6", "7", "8", "9"}
    speakers = [{name.split("_")[1] for name in split} for split in names["speaker"].values()]
    assert sum(map(len, speakers)) == len(set().union(*speakers)) == 6


def test_the_folds_test_every_speaker_once_and_train_on_none_that_is_held_out(module: ModuleType) -> None:
    tested: list[str] = []
    for fold in range(len(module.FOLDS)):
        digits = build(split_by="speaker", fold=fold)
        speakers = {split: {name.split("_")[1] for name in digits._names(split)} for split in module.TAKES}
        assert sum(map(len, speakers.values())) == len(set().union(*speakers.values())) == 6
        assert len(speakers["train"]) == 3  # whom published and granted clips are drawn from
        tested += speakers["test"]
    assert sorted(tested) == sorted(module.SPEAKERS)
    with pytest.raises(UsageError, match="fold = 3, expected 0 to 2"):
        build(split_by="speaker", fold=3)


def test_no_group_is_in_two_splits(dataset: Any) -> None:
    groups = [set(dataset.load(split).groups) for split in ("train", "validation", "test")]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 18


def test_what_is_missing_is_said(recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_DATA", raising=False)
    with pytest.raises(DataError, match="BENCH_DATA is not set"):
        build().load("train")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"no folder .*fsdd.recordings \(from BENCH_DATA\); unpack https"):
        build().load("train")
    with pytest.raises(DataError, match=r"60 of 120 recordings are missing, first 0_george_11\.wav"):
        build(path=str(recordings), takes=2).load("train")
    with pytest.raises(DataError, match="unknown split"):
        build(path=str(recordings)).load("dev")
    with pytest.raises(UsageError, match=r"50 takes of test, expected 0 \(all\) to 5"):
        build(path=str(recordings), test_takes=50).load("test")


def test_a_bad_recording_is_named(recordings: Path, tmp_path: Path) -> None:
    for file in recordings.glob("*_5.wav"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    dataset = build(path=str(tmp_path), validation_takes=1)
    assert len(dataset.load("validation")) == 60
    bad = tmp_path / "4_theo_5.wav"
    for damage in (b"", b"RIFF", bytes(2000), bad.read_bytes()[:900]):
        bad.write_bytes(damage)
        with pytest.raises(DataError, match=r"4_theo_5\.wav"):
            dataset.load("validation")
    write(bad, torch.full((2, 4000), 0.1), 8000)
    with pytest.raises(DataError, match="2 channels at 8000 Hz, expected 1 at 8000"):
        dataset.load("validation")


def archive(path: Path, files: dict[str, bytes]) -> str:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path.as_uri()


def test_a_download_is_checked_before_it_is_kept(
    tmp_path: Path, recordings: Path, module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file's address: tests never use the network."""
    files = {f"x/recordings/{file.name}": file.read_bytes() for file in recordings.glob("*_5.wav")}
    others = {"x/README.md": b"no", "../../recordings/../0_theo_5.wav": b"no", "recordings/0_nobody_1.wav": b"no"}
    address = archive(tmp_path / "a.tar.gz", files | others)
    target = tmp_path / "data" / "fsdd" / "recordings"
    monkeypatch.setattr(module, "ARCHIVE", address)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    dataset = build(validation_takes=1, download=True)
    with pytest.raises(DataError, match=r"expected 1801eae0.*nothing was kept"):
        dataset.load("validation")
    assert not target.exists()
    assert not list(target.parent.iterdir())

    expected = tmp_path / "expected"
    expected.mkdir()
    for name, data in files.items():
        (expected / Path(name).name).write_bytes(data)
    monkeypatch.setattr(module, "RECORDINGS", module.digest(expected))
    assert len(dataset.load("validation")) == 60
    assert sorted(file.name for file in target.iterdir()) == sorted(file.name for file in expected.iterdir())


@pytest.mark.parametrize("content", [b"", b"not an archive", None])
def test_a_failed_download_is_one_line(
    tmp_path: Path, module: ModuleType, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    source = tmp_path / "a.tar.gz"
    if content is not None:
        source.write_bytes(content)
    monkeypatch.setattr(module, "ARCHIVE", source.as_uri())
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    with pytest.raises(DataError, match="could not be fetched") as raised:
        build(download=True).load("test")
    assert "\n" not in str(raised.value)


def test_the_real_recordings_are_the_ones_described(bench_data: Path, module: ModuleType) -> None:
    folder = bench_data / "fsdd" / "recordings"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    assert len(list(folder.glob("*.wav"))) == 3000
    assert module.digest(folder) == module.RECORDINGS
    path = plugins.find("datasets", "spoken_digits").path
    assert path is not None
    assert tomllib.loads(path.with_suffix(".toml").read_text())["checksums"]["recordings"] == module.RECORDINGS
