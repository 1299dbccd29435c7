"""The Bach chorales: tunes stay in one split, clips begin with sound, everything repeats.

The whole corpus is read once for the tunes (6 CPU seconds, and 5 for the import of muspy).
"""

from __future__ import annotations

import hashlib
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from bench import plugins
from bench.api import Clips, Rolls
from bench.errors import DataError, PluginError, UsageError

pytest.importorskip("muspy")
CARD = Path(__file__).resolve().parents[2] / "datasets" / "chorales.toml"


def build(**given: Any) -> Any:
    return plugins.build("datasets", "chorales", given, "smoke")


@pytest.fixture(scope="module")
def module() -> ModuleType:
    return sys.modules[plugins.load("datasets", "chorales").__module__]


@pytest.fixture(scope="module")
def pieces(module: ModuleType) -> list[Any]:
    """Every piece of the data set as read from the corpus."""
    corpus = module._corpus()
    names = [
        (f"bwv{tune.split('=')[0]}", f"bwv{name}") for tune in module.CHORALE_TUNES.split() for name in tune.split("=")
    ]
    return [module._read(corpus, name, tune) for tune, name in names]


@pytest.fixture(scope="module")
def splits() -> dict[str, Clips]:
    return {name: build(pretrain_clips=12).load(name) for name in ("pretrain", "train", "validation", "test")}


def test_splits_are_disjoint_in_tunes_and_whole(module: ModuleType) -> None:
    tunes = {split: {tune[0] for tune in module._tunes(split)} for split in module.BOUNDS}
    listed = [tune.split("=") for tune in module.CHORALE_TUNES.split()]
    assert sum(map(len, tunes.values())) == len(set().union(*tunes.values())) == len(listed) == 189
    assert len({name for tune in listed for name in tune}) == 365
    assert 0.4 < len(tunes["pretrain"]) / len(listed) < 0.6
    # Placed by a hash of the name alone: these are where they are for ever.
    assert {split for split in tunes if "3.6" in tunes[split]} == {split_of(module, "3.6")}


def split_of(module: ModuleType, tune: str) -> str:
    place = int.from_bytes(hashlib.sha256(tune.encode()).digest()[:8], "big") / 2**64
    bounds: dict[str, float] = module.BOUNDS
    return next(split for split, bound in bounds.items() if place < bound)


def melody_figures(piece: Any) -> set[tuple[int, ...]]:
    """Runs of six intervals of the soprano, taken on the beat, repeated notes left out."""
    soprano = piece.notes[piece.notes[:, 0] == 0]
    soprano = soprano[soprano[:, 1].argsort()]
    start, duration = soprano[:, 1], soprano[:, 2]
    on_beat = (-(-start // 4) * 4 < start + duration) | (duration >= 4)
    intervals = soprano[on_beat, 3].diff()
    intervals = intervals[intervals != 0]
    return {tuple(run) for run in intervals.unfold(0, 6, 1).tolist()} if len(intervals) >= 6 else set()


def test_no_tune_is_in_two_splits(module: ModuleType, pieces: list[Any]) -> None:
    """The committed table against the music: no soprano shares 34 % of its figures with one of another tune."""
    figures = [melody_figures(piece) for piece in pieces]
    index = {figure: i for i, figure in enumerate(sorted(set().union(*figures)))}
    table = torch.zeros(len(pieces), len(index))
    for row, own in enumerate(figures):
        table[row, [index[figure] for figure in own]] = 1
    smaller = torch.minimum(table.sum(1)[:, None], table.sum(1)[None])
    share = table @ table.T / smaller.clamp(min=1)
    tune = torch.tensor([[a.group == b.group for b in pieces] for a in pieces])
    assert float(share[~tune].max()) < 0.34
    assert float(share[tune & ~torch.eye(len(pieces), dtype=torch.bool)].median()) > 0.6  # and tunes do share


def test_titles_stay_in_one_tune(pieces: list[Any]) -> None:
    from music21.corpus import chorales

    title = {str(bwv): entry["title"] for bwv, entry in chorales.ChoraleListRKBWV().byBWV.items()}
    known = [(title[piece.name[3:]], piece.group) for piece in pieces if piece.name[3:] in title]
    assert len(known) > 300
    assert len({tune for _, tune in known}) < len({title for title, _ in known})
    assert len(set(known)) == len({title for title, _ in known})


def test_the_corpus_is_the_one_described(module: ModuleType, pieces: list[Any]) -> None:
    card = tomllib.loads(CARD.read_text(encoding="utf-8"))
    assert (
        hashlib.sha256("\n".join(sorted(piece.name for piece in pieces)).encode()).hexdigest()
        == card["checksums"]["pieces"]
    )
    sha = hashlib.sha256()
    for piece in sorted(pieces, key=lambda piece: piece.name):
        sha.update(f"{piece.name} {sorted(map(tuple, piece.notes.tolist()))}\n".encode())
    assert sha.hexdigest() == card["checksums"]["notes"]
    assert sum(len(piece.notes) for piece in pieces) == card["notes"]
    pitches = torch.cat([piece.notes[:, 3] for piece in pieces])
    assert (int(pitches.min()), int(pitches.max())) == (36, 81)


def test_clips_are_sound_and_split_by_tune(splits: dict[str, Clips], module: ModuleType) -> None:
    for name, clips in splits.items():
        clips.check(name)
        assert {split_of(module, group[3:]) for group in clips.groups} == {name}
        assert len(set(clips.groups)) == min(len(clips), len(module._tunes(name)))  # tunes take turns
        assert clips.audio.shape[1:] == (1, 64000)
        assert not clips.audio.flatten(1).eq(0).all(1).any()
    groups = [set(clips.groups) for clips in splits.values()]
    assert sum(map(len, groups)) == len(set().union(*groups))


def test_no_clip_begins_in_silence(splits: dict[str, Clips]) -> None:
    for clips in splits.values():
        level = clips.audio[:, 0, :1600].pow(2).mean(1).sqrt()  # the first 100 ms
        assert float(level.min()) > 0.02


def test_labels_are_balanced_timbres_and_pretraining_has_others(splits: dict[str, Clips]) -> None:
    for name in ("train", "validation", "test"):
        clips = splits[name]
        assert clips.classes == ("choir", "brass", "harpsichord", "guitar")
        assert clips.labels is not None
        assert len(set(clips.labels.bincount().tolist())) == 1
        for text, label in zip(clips.texts, clips.labels.tolist(), strict=True):
            assert f"chorale for {clips.classes[label]}" in text
    assert set(splits["pretrain"].classes).isdisjoint(splits["train"].classes)


def test_stems_are_the_four_parts(splits: dict[str, Clips]) -> None:
    clips = splits["train"]
    assert clips.stem_names == ("soprano", "alto", "tenor", "bass")
    assert clips.stems is not None
    assert torch.equal(clips.stems.sum(1), clips.audio)
    assert (clips.stems.abs().amax((2, 3)) > 0.01).all()
    # Spectral centroids fall from soprano to bass, for all clips of one timbre taken together.
    guitars = clips.labels == 3
    spectrum = torch.fft.rfft(clips.stems[guitars][:, :, 0]).abs().square().mean(0)
    centroid = (spectrum * torch.arange(spectrum.shape[1])).sum(1) / spectrum.sum(1)
    assert centroid[0] > centroid[3]
    assert splits["pretrain"].stems is None
    assert build(stems=False).load("validation").stems is None


def test_loading_repeats_and_a_larger_set_begins_with_the_smaller() -> None:
    small, again, larger = (build(clips=clips).load("train") for clips in (4, 4, 6))
    assert torch.equal(small.audio, again.audio)
    assert (small.ids, small.texts) == (again.ids, again.texts)
    assert larger.ids[:4] == small.ids
    assert torch.equal(larger.audio[:4], small.audio)
    other = build(clips=4, seed=1).load("train")
    assert other.ids == small.ids
    assert not torch.equal(other.audio, small.audio)


def test_a_piece_that_ends_early_is_padded() -> None:
    clips = build(seconds=50.0, clips=3, stems=False).load("train").check()
    assert 400000 < int(clips.lengths.min()) < clips.audio.shape[-1] == 800000
    short = int(clips.lengths.argmin())
    assert not clips.audio[short, :, int(clips.lengths[short]) :].any()


def test_rolls_are_whole_bars(module: ModuleType) -> None:
    data = build(domain="midi", bars=4)
    rolls = {name: data.load(name).check() for name in ("train", "validation", "test")}
    for name, some in rolls.items():
        assert isinstance(some, Rolls)
        assert some.velocity.shape[1:] == (4, 64, 84)
        assert set(some.lengths.tolist()) == {64}
        assert some.tracks == ("soprano", "alto", "tenor", "bass")
        bounds = {"pretrain", "train"} if name == "train" else {name}
        assert {split_of(module, group[3:]) for group in some.groups} <= bounds
        sounding = (some.velocity > 0).any(-1)
        assert sounding.float().mean() > 0.9  # four parts that hardly rest
        # Down-beats are louder than off-beats: the excerpts begin where bars do.
        struck = some.velocity.where(some.onset, torch.nan)
        assert struck[:, :, ::16].nanmean() > struck[:, :, 8::16].nanmean() > struck[:, :, 2::4].nanmean()
    assert len(rolls["train"]) == 80
    with pytest.raises(DataError, match="split of the chorales as midi"):
        data.load("pretrain")


def test_velocities_follow_the_stated_model() -> None:
    rolls = build(domain="midi", rolls=0).load("train")
    assert isinstance(rolls, Rolls)
    velocity = 127 * rolls.velocity[rolls.onset]
    assert float(velocity.min()) >= 29.999
    assert float(velocity.max()) <= 110.001
    # Mean: U(60, 85) + the accents, which are between 2 and 8 on the beat and 0 off it.
    assert 74 < float(velocity.mean()) < 78
    assert 7 < float(velocity.std()) < 12


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"timbres": ["brass", "kazoo"]}, "unknown timbre 'kazoo'"),
        ({"timbres": ["organ"]}, "share organ"),
        ({"timbres": []}, "at least one"),
        ({"seconds": 0}, "more than 0"),
    ],
)
def test_parameters_are_checked(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        build(**given)


def test_what_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, module: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown split"):
        build().load("training")
    with pytest.raises(DataError, match="ask for at most that many"):
        build(validation_clips=4000, seconds=20).load("validation")
    with monkeypatch.context() as patch:
        patch.setattr(module, "_corpus", lambda: tmp_path)
        with pytest.raises(DataError, match="no such score"):
            build().load("train")
        for tune in module._tunes("train"):
            (tmp_path / f"bwv{tune[0]}.mxl").write_bytes(b"not a zip file")
        with pytest.raises(DataError, match="not a score"):
            build().load("train")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PluginError, match=r"cloakbench\[music\]"):
        build().load("train")
