"""Spoken words: the same bits from every process, voices that meet in no split, and a cache that mends itself."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from bench import plugins
from bench.errors import DataError, UsageError

SPLITS = ("train", "validation", "test")
needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None, reason="the package espeakng-loader is not installed"
)


def build(**given: Any) -> Any:
    few = {"words": ("cat", "dog", "happy"), "voices": 4, "validation_voices": 2, "test_voices": 2}
    return plugins.build("datasets", "spoken_words", few | given, "smoke")


@pytest.fixture(scope="module")
def module() -> ModuleType:
    return sys.modules[plugins.load("datasets", "spoken_words").__module__]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "cloakbench" / "spoken_words"


@needs_espeak
def test_two_processes_make_the_same_bits(tmp_path: Path) -> None:
    code = (
        "import hashlib; from bench.plugins import build\n"
        "d = build('datasets', 'spoken_words', {'voices': 12}).load('train')\n"
        "print(hashlib.sha256(d.audio.numpy().tobytes() + d.lengths.numpy().tobytes()).hexdigest())"
    )
    # With a cache of its own, which is empty; the environment moves what lies in memory.
    where = {"XDG_CACHE_HOME": str(tmp_path / "other"), "PADDING": "x" * 5000}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | where, capture_output=True, text=True, check=True
    )
    here = plugins.build("datasets", "spoken_words", {"voices": 12}).load("train")
    own = hashlib.sha256(here.audio.numpy().tobytes() + here.lengths.numpy().tobytes()).hexdigest()
    assert done.stdout == own + "\n"


@needs_espeak
def test_every_voice_says_every_word_at_one_peak() -> None:
    clips = build(takes=2).load("train").check()
    assert clips.audio.shape == (24, 1, 16000)
    assert clips.rate == 16000
    assert clips.labels.bincount().tolist() == [8, 8, 8]
    assert len(set(clips.groups)) == 4
    assert torch.allclose(clips.audio.abs().amax((1, 2)), torch.tensor(0.5), atol=1e-6)
    assert 3000 < int(clips.lengths.min()) <= int(clips.lengths.max()) <= 16000
    for number, name in enumerate(clips.ids):
        word, voice, _ = name.rsplit("_")
        assert (word, voice) == (clips.classes[clips.labels[number]], clips.groups[number])
    pairs = clips.audio.reshape(4, 2, 3, 16000)
    assert not torch.equal(pairs[:, 0], pairs[:, 1])  # another take is another recording


@needs_espeak
def test_levels_and_noise_are_as_they_are_asked_for() -> None:
    peaks = build(peak=0, voices=20).load("train").audio.abs().amax((1, 2))
    assert float(peaks.max()) <= 1
    assert float(peaks.min()) > 10 ** (-18.1 / 20)
    assert float(peaks.max() / peaks.min()) > 3  # recorded at different gains

    def quiet(clips: Any) -> float:
        """Mean power of the first 10 ms, where nobody speaks yet, relative to the recording's."""
        return float((clips.audio[..., :160].square().mean(-1) / clips.audio.square().mean(-1)).mean())

    noisy, clear = quiet(build(snr=(0, 0)).load("train")), quiet(build(snr=(60, 60)).load("train"))
    assert noisy > 0.2
    assert clear < 1e-4


@needs_espeak
def test_a_smaller_set_is_the_beginning_of_a_larger_one() -> None:
    small, large = build(voices=2).load("train"), build(voices=4).load("train")
    assert small.ids == large.ids[:6]
    assert torch.equal(small.audio, large.audio[:6])


@needs_espeak
def test_words_differ_more_than_voices() -> None:
    """The nearest spectrum, time left out, tells words apart above chance: labels belong to their sound."""
    given = {"words": ("cat", "dog", "happy"), "voices": 24, "test_voices": 24}
    train, test = (build(**given).load(split) for split in ("train", "test"))

    def spectrum(clips: Any) -> torch.Tensor:
        power = torch.stft(clips.audio[:, 0], 512, 160, window=torch.hann_window(512), return_complex=True).abs()
        bands = power.square().unfold(1, 16, 16).mean(-1).sum(-1).log()
        return bands - bands.mean(1, keepdim=True)

    means = torch.stack([spectrum(train)[train.labels == label].mean(0) for label in range(3)])
    right = torch.cdist(spectrum(test), means).argmin(1).eq(test.labels).float().mean()
    assert float(right) > 0.5  # a third by chance


def test_no_timbre_is_in_two_splits(module: ModuleType) -> None:
    names = [name for split in SPLITS for name in module.TIMBRES[split]]
    assert len(names) == len(set(names))
    dataset = build(voices=0, validation_voices=0, test_voices=0)
    voices = {split: dataset._voices(split) for split in SPLITS}
    for split in SPLITS:
        assert len(voices[split]) == len(set(voices[split])) == 8 * len(module.TIMBRES[split])
        assert {voice.split("+")[1] for voice in voices[split]} == set(module.TIMBRES[split])
        first = voices[split][: len(module.TIMBRES[split])]
        assert len({voice.split("+")[1] for voice in first}) == len(first)  # timbres turn first


@needs_espeak
def test_what_is_kept_is_read_again_and_damage_is_mended(
    cache: Path, module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build().load("test")
    [file] = cache.iterdir()
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[-1000] ^= 1
    for damage in (b"", whole[:-100], bytes(flipped)):
        file.write_bytes(damage)
        assert torch.equal(build().load("test").audio, first.audio)
        assert file.read_bytes() == whole
        assert list(cache.iterdir()) == [file]
    monkeypatch.setattr(module, "_spoken", lambda utterances: pytest.fail("it was made again"))
    assert torch.equal(build().load("test").audio, first.audio)


@needs_espeak
def test_what_goes_wrong_is_one_line(tmp_path: Path, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"eSpeak NG has no voice 'en-xx\+nobody'$"):
        module._spoken([["en-xx+nobody", "cat", 160, 50, 50]])
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be kept in .*; set XDG_CACHE_HOME"):
        build().load("test")


def test_without_the_package_it_says_how_to_get_it(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGE", "no-such-distribution")
    with pytest.raises(DataError, match=r"pip install 'cloakbench\[espeak\]'") as raised:
        build().load("train")
    assert "\n" not in str(raised.value)
    [(thing, loss)] = build().inventory().items()
    assert thing == "no-such-distribution"
    assert "cannot be made" in loss
    assert build().fingerprint() == ""


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"words": ("cat",)}, "two or more different ones"),
        ({"words": ("cat", "cat")}, "two or more different ones"),
        ({"words": ("cat", "<break/>")}, "of letters"),
        ({"takes": 0}, "takes = 0, expected at least 1"),
        ({"snr": (20.0, 10.0)}, "the lowest and the highest"),
        ({"peak": 2.0}, "expected 0..1"),
        ({"test_voices": 10000}, "10000 voices of test, expected 0"),
    ],
)
def test_bad_parameters_are_refused(given: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        build(**given)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(DataError, match="unknown split of the spoken words 'dev'"):
        build().load("dev")
