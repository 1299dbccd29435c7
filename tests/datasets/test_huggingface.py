"""Data sets of the Hugging Face library: parquet, audiofolder and its cache, all built here by the library."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from bench import plugins
from bench.api import Clips
from bench.errors import DataError, PluginError, UsageError

datasets = pytest.importorskip("datasets")
if not hasattr(datasets, "load_dataset"):
    pytest.skip("the Hugging Face library `datasets` is not installed", allow_module_level=True)

RATE = 8000
SPLITS = ("train", "validation", "test")


def encoded(hertz: float, seconds: float = 0.5, kind: str = "WAV", channels: int = 1, rate: int = RATE) -> bytes:
    time = np.arange(round(seconds * rate)) / rate
    tone = 0.5 * np.sin(2 * np.pi * hertz * time)
    file = io.BytesIO()
    soundfile.write(file, np.repeat(tone[:, None], channels, 1), rate, format=kind)
    return file.getvalue()


def parquet(
    path: Path, sounds: Sequence[bytes], labels: Sequence[Any] | None = None, names: Any = None, **more: Any
) -> None:
    """Rows with an audio column as the library stores it: bytes and path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    rows = {"audio": [{"bytes": sound, "path": None} for sound in sounds], **more}
    features = {"audio": stored} | {name: datasets.Value("string") for name in more}
    if labels is not None:
        rows["label"] = list(labels)
        features["label"] = datasets.ClassLabel(names=names) if names else datasets.Value("string")
    made = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    made.cast_column("audio", datasets.Audio(decode=False)).to_parquet(str(path))


def build(source: Path | str, **given: Any) -> Any:
    return plugins.build("datasets", "huggingface", {"source": str(source), "rate": RATE, "seconds": 1.0, **given})


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The library's locks and caches stay out of the user's home, and nothing can ask the hub."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("hf")))
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        yield


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Three splits of a tone a row; the label says which: 300 Hz low, 1200 Hz high."""
    for split, count in zip(SPLITS, (12, 4, 6), strict=True):
        labels = [row % 2 for row in range(count)]
        sounds = [
            encoded(1200 if label else 300, kind=("WAV", "FLAC", "OGG", "MP3")[row % 4])
            for row, label in enumerate(labels)
        ]
        speakers = [f"{split} {row // 2}" for row in range(count)]
        texts = [f"tone {row}" for row in range(count)]
        parquet(tmp_path / f"{split}-00000.parquet", sounds, labels, ["low", "high"], speaker=speakers, text=texts)
    return tmp_path


def right(clips: Clips) -> bool:
    """Whether the sound is the tone that the label names."""
    assert clips.labels is not None
    peak = torch.fft.rfft(clips.audio[:, 0, :4000]).abs().argmax(1) * 2
    return bool(((peak - torch.where(clips.labels == clips.classes.index("high"), 1200, 300)).abs() <= 4).all())


def test_parquet_gives_labels_groups_and_texts(tiny: Path) -> None:
    data = build(tiny, group="speaker", text="text")
    for split, count in zip(SPLITS, (12, 4, 6), strict=True):
        clips = data.load(split).check()
        assert len(clips) == count
        assert clips.audio.shape[1:] == (1, 8000)
        assert clips.classes == ("low", "high")
        assert right(clips)
        assert clips.texts == tuple(f"tone {row}" for row in range(count))
        assert clips.groups == tuple(f"{split} {row // 2}" for row in range(count))
        assert ((clips.lengths - 4000).abs() < 1200).all()  # MP3 is padded to whole frames


def test_rate_channels_and_length_are_made_one(tmp_path: Path) -> None:
    sounds = [encoded(300, 3.0, rate=16000), encoded(1200, 0.25, channels=2, rate=44100)]
    parquet(tmp_path / "train.parquet", sounds, ["low", "high"])
    for channels in (1, 2):
        data = build(tmp_path / "train.parquet", validation="", test="", share=0.0, channels=channels)
        clips = data.load("train").check()
        assert clips.audio.shape == (2, channels, 8000)
        assert clips.lengths.tolist() == [8000, 2000]
        assert clips.classes == ("high", "low")
        assert right(clips)


def test_a_limit_spreads_over_sorted_labels(tmp_path: Path) -> None:
    sounds = [encoded(300, 0.1)] * 40 + [encoded(1200, 0.1)] * 40
    parquet(tmp_path / "train.parquet", sounds, ["low"] * 40 + ["high"] * 40)
    some = build(tmp_path / "train.parquet", validation="", test="", share=0.0, limit=20).load("train")
    assert len(some) == 20
    assert some.labels is not None
    assert 4 <= int(some.labels.sum()) <= 16
    fewer = build(tmp_path / "train.parquet", validation="", test="", share=0.0, limit=10).load("train")
    assert set(fewer.ids) < set(some.ids)


def test_no_more_than_the_limit_is_decoded(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules[plugins.load("datasets", "huggingface").__module__]
    read = module.read
    opened: list[tuple[Any, ...]] = []

    def counted(*args: Any, **more: Any) -> Any:
        opened.append(args)
        return read(*args, **more)

    monkeypatch.setattr(module, "read", counted)
    assert len(build(tiny, limit=3).load("train")) == 3
    assert len(opened) == 3


def test_missing_splits_are_taken_out_of_train_by_group(tmp_path: Path) -> None:
    speakers = [f"speaker {row // 3}" for row in range(90)]
    parquet(tmp_path / "train.parquet", [encoded(300, 0.05)] * 90, ["low"] * 90, speaker=speakers)
    data = build(tmp_path / "train.parquet", validation="", test="", share=0.25, group="speaker")
    sets = {split: data.load(split) for split in SPLITS}
    assert sum(map(len, sets.values())) == 90
    groups = [set(clips.groups) for clips in sets.values()]
    assert len(set().union(*groups)) == sum(map(len, groups)) == 30
    assert all(len(clips) >= 9 for clips in sets.values())
    assert len(sets["train"]) > len(sets["test"])


def test_an_audiofolder_needs_no_other_decoder(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("test", 2)):
        for label, hertz in (("low", 300), ("high", 1200)):
            for number in range(count):
                file = tmp_path / split / label / f"{number}.wav"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(encoded(hertz))
    data = build(tmp_path, validation="")
    train, test = data.load("train").check(), data.load("test").check()
    assert train.classes == test.classes == ("high", "low")
    assert len(test) == 4
    assert right(train)
    assert right(test)


def test_a_cached_data_set_of_the_hub_is_found_by_name(tiny: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (tmp_path / "tiny").mkdir()
    for file in tiny.glob("*.parquet"):
        file.rename(tmp_path / "tiny" / file.name)
    datasets.load_dataset(str(tmp_path / "tiny"), cache_dir=str(cache))
    (cache / "tiny").rename(cache / "someone___tiny")  # where the library puts what comes from the hub
    clips = build("someone/tiny", cache=str(cache)).load("train").check()
    assert len(clips) == 12
    assert right(clips)
    with pytest.raises(DataError, match="neither a path nor a data set in the cache"):
        build("someone/else", cache=str(cache)).load("train")


def test_data_without_labels_will_do(tmp_path: Path) -> None:
    parquet(tmp_path / "train.parquet", [encoded(300)] * 3)
    clips = build(tmp_path / "train.parquet", validation="", test="", share=0.0, label="").load("train")
    assert clips.labels is None
    assert clips.classes == ()
    assert len(set(clips.groups)) == 3


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"label": "lable"}, "unknown column 'lable': did you mean 'label'"),
        (
            {"validation": "valid"},
            "unknown split 'valid': did you mean 'validation'.*an empty name takes it out of train",
        ),
        (
            {"group": "text"},
            "group 'tone 0' is in train and in validation; validation = '' and test = '' split by group",
        ),
        ({"validation": "", "share": 0.0}, "no rows fall to validation"),
    ],
)
def test_what_does_not_fit_is_said(tiny: Path, given: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason) as raised:
        build(tiny, **given).load("validation")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("sound", "reason"),
    [
        (b"not audio at all", "row 1 of split 'train'"),
        (encoded(300)[:900], "row 1 of split 'train'"),
        (b"", "row 1 of split 'train'"),
        (encoded(0), "silent"),
    ],
)
def test_a_bad_recording_is_named_by_its_row(tmp_path: Path, sound: bytes, reason: str) -> None:
    parquet(tmp_path / "train.parquet", [encoded(300), sound])
    data = build(tmp_path / "train.parquet", validation="", test="", share=0.0, label="")
    with pytest.raises(DataError, match=reason) as raised:
        data.load("train")
    assert "\n" not in str(raised.value)


def test_sources_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "empty").mkdir()
    datasets.Dataset.from_dict({"audio": [1.5, 2.5]}).to_parquet(str(tmp_path / "numbers.parquet"))
    for name in ("bad.parquet", "empty", "numbers.parquet"):
        with pytest.raises(DataError, match=r"cannot be read|holds") as raised:
            build(tmp_path / name, validation="", test="", share=0.0, label="").load("train")
        assert "\n" not in str(raised.value)
    with pytest.raises(UsageError, match="give its source"):
        build("").load("train")
    with pytest.raises(DataError, match="unknown split"):
        build("").load("dev")


def test_parameters_are_checked(tiny: Path) -> None:
    for given in (
        {"channels": 3},
        {"seconds": 0.0},
        {"train": ""},
        {"test": "train"},
        {"validation": "", "share": 1.0},
    ):
        with pytest.raises(UsageError):
            build(tiny, **given)


def test_changed_files_are_not_taken_for_the_old_ones(tiny: Path) -> None:
    before = build(tiny).fingerprint()
    assert build(tiny).fingerprint() == before
    os.utime(tiny / "test-00000.parquet", ns=(1, 1))
    assert build(tiny).fingerprint() != before


def test_without_the_library_its_extra_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", ModuleType("datasets"))  # our own folder, as Python finds it
    with pytest.raises(PluginError, match=r"cloakbench\[huggingface\]"):
        build(tiny).load("train")
