"""The procedural band: its statistics are music's, its songs repeat, its splits share nothing."""

from __future__ import annotations

import hashlib
import tomllib
from typing import Any

import pytest
import torch

from bench import plugins
from bench.api import Clips, Rolls
from bench.errors import DataError, UsageError
from bench.notes.rolls import DRUMS, notes_of


def build(preset: str = "small", **given: Any) -> Any:
    return plugins.build("datasets", "band", given, preset)


@pytest.fixture(scope="module")
def train() -> Rolls:
    rolls = build().load("train").check()
    assert isinstance(rolls, Rolls)
    return rolls


@pytest.fixture(scope="module")
def clips() -> Clips:
    sound = build("smoke", domain="audio").load("train").check()
    assert isinstance(sound, Clips)
    return sound


def test_shapes_are_those_of_musegan(train: Rolls) -> None:
    assert train.velocity.shape == (1024, 5, 32, 84)
    assert train.tracks == ("drums", "piano", "guitar", "bass", "strings")
    assert train.programs[0] == DRUMS
    assert train.lowest == 24
    assert (train.steps_per_beat, train.beats_per_bar) == (4, 4)


def test_statistics_are_those_of_the_reference_set(train: Rolls) -> None:
    """Empty bars .13-.15, used pitch classes 2.1, qualified notes (3 steps) .765, drum patterns .96."""
    onset = train.onset.unflatten(2, (2, 16))  # [roll, track, bar, step, pitch]
    sounds = (train.velocity > 0).unflatten(2, (2, 16))
    empty = ~sounds.any(-1).any(-1)
    assert 0.12 < float(empty.float().mean()) < 0.16
    classes = sounds.any(3).unflatten(-1, (7, 12)).any(-2).sum(-1).float()  # the lowest pitch is a C
    assert 1.9 < float(classes[:, 1:][~empty[:, 1:]].mean()) < 2.3
    notes = notes_of(train)
    assert 0.72 < float((notes.duration[notes.track > 0] >= 3).float().mean()) < 0.81
    assert 3.0 < float(onset[:, 1:].sum((3, 4)).float().mean()) < 4.5
    drums = onset[:, 0].sum((0, 1, 3)).float()
    assert 0.94 < float((drums[::2].sum() + 0.1 * drums[1::2].sum()) / drums.sum()) < 0.985


def test_pitches_fit_the_instruments_and_the_key(train: Rolls) -> None:
    notes = notes_of(train)
    ranges = {track: notes.pitch[notes.track == track] for track in range(5)}
    assert set(ranges[0].tolist()) <= {36, 38, 42, 46, 49}
    assert float(ranges[3].float().mean()) + 12 < float(ranges[2].float().mean())  # the bass is lowest
    assert 28 <= int(ranges[3].min()) <= int(ranges[3].max()) <= 67
    for roll in range(20):
        used = set((notes.pitch[(notes.roll == roll) & (notes.track > 0)] % 12).tolist())
        assert any(used <= {(key + tone) % 12 for tone in (0, 2, 4, 5, 7, 9, 11)} for key in range(12))


def test_no_roll_is_empty_and_no_note_crosses_a_bar(train: Rolls) -> None:
    assert (train.velocity > 0).flatten(1).any(1).all()
    notes = notes_of(train)
    assert ((notes.start // 16) == ((notes.end - 1) // 16)).all()
    assert 29.99 < 127 * float(notes.velocity.min()) < 127 * float(notes.velocity.max()) < 120.01


def test_songs_of_a_style_are_alike_and_songs_differ(train: Rolls) -> None:
    assert train.labels is not None
    assert train.labels.bincount(minlength=4).tolist() == [256] * 4
    tempo = [train.tempo[train.labels == style] for style in range(4)]
    assert float(tempo[0].max()) < float(tempo[1].min())  # a ballad is slower than pop
    assert len({train.velocity[i].gt(0).numpy().tobytes() for i in range(0, 1024, 2)}) > 490
    # A nearest neighbour on drum hits finds the style far above chance: there is something to learn.
    drums, labels = train.onset[::2, 0].float().flatten(1), train.labels[::2]
    near = torch.cdist(drums[256:], drums[:256]).argmin(1)
    assert float((labels[:256][near] == labels[256:]).float().mean()) > 0.5
    assert all(train.classes[label] in text for label, text in zip(train.labels.tolist(), train.texts, strict=True))


def test_the_two_items_of_a_song_share_its_motif(train: Rolls) -> None:
    assert train.groups[0] == train.groups[1] != train.groups[2]
    rhythm = train.onset[:, 2].any(-1).float()
    played = (rhythm.sum(1) > 0)[::2] & (rhythm.sum(1) > 0)[1::2]
    assert torch.equal(rhythm[::2][played], rhythm[1::2][played])


def test_splits_share_no_song() -> None:
    sets = {split: build("smoke").load(split) for split in ("train", "validation", "test")}
    assert [len(some) for some in sets.values()] == [256, 64, 64]
    groups = [set(some.groups) for some in sets.values()]
    assert len(set().union(*groups)) == sum(map(len, groups)) == 192
    songs = [roll.numpy().tobytes() for some in sets.values() for roll in some.onset]
    assert len(set(songs)) > 0.97 * len(songs)


def test_a_larger_set_begins_with_the_smaller() -> None:
    few, more, other = (
        build(rolls=10).load("train"),
        build(rolls=15).load("train"),
        build(rolls=10, seed=1).load("train"),
    )
    assert torch.equal(few.velocity, more.velocity[:10])
    assert (few.ids, few.texts) == (more.ids[:10], more.texts[:10])
    assert len(more) == 15
    assert not torch.equal(few.velocity, other.velocity)


def test_audio_has_five_stems(clips: Clips) -> None:
    assert clips.audio.shape == (12, 1, 64000)
    assert clips.stem_names == ("drums", "piano", "guitar", "bass", "strings")
    assert clips.stems is not None
    assert torch.equal(clips.stems.sum(1), clips.audio)
    assert (clips.stems.abs().amax((0, 2, 3)) > 0.05).all()
    assert clips.lengths.eq(64000).all()
    assert float(clips.audio[..., :3200].abs().amax((1, 2)).min()) > 0.02  # music from the start
    stereo = build("smoke", domain="audio", channels=2, clips=1).load("train")
    assert stereo.audio.shape == (1, 2, 64000)


def test_parameters_are_checked() -> None:
    with pytest.raises(DataError, match="did you mean 'validation'"):
        build().load("validate")
    with pytest.raises(UsageError, match="rolls = 0"):
        build(rolls=0).load("train")
    with pytest.raises(UsageError, match="bars = 0"):
        build(bars=0)


def test_the_card_states_the_checksum_and_the_statistics(train: Rolls) -> None:
    path = plugins.find("datasets", "band").path
    assert path is not None
    card = tomllib.loads(path.with_suffix(".toml").read_text(encoding="utf-8"))
    assert hashlib.sha256(train.onset[:64].numpy().tobytes()).hexdigest() == card["checksums"]["onsets"]
    empty = ~train.onset.unflatten(2, (2, 16)).any(-1).any(-1)
    assert float(empty.float().mean()) == pytest.approx(card["statistics"]["empty_bars"], abs=1e-3)
    notes = notes_of(train)
    long = (notes.duration[notes.track > 0] >= 3).float().mean()
    assert float(long) == pytest.approx(card["statistics"]["qualified_notes"], abs=1e-3)
