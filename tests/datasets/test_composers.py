"""Music by composers: works stay in one split, the artist is in no pretraining, others sound alike."""

from __future__ import annotations

import hashlib
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from bench import plugins
from bench.api import Clips, Rolls
from bench.errors import DataError, UsageError
from bench.notes.corpus import UnreadableError, corpus_folder, kern_work, read_kern, read_musicxml

pytest.importorskip("muspy")
CARD = Path(__file__).resolve().parents[2] / "datasets" / "composers.toml"


def build(**given: Any) -> Any:
    return plugins.build("datasets", "composers", given, "smoke")


@pytest.fixture(scope="module")
def module() -> ModuleType:
    return sys.modules[plugins.load("datasets", "composers").__module__]


@pytest.fixture(scope="module")
def splits() -> dict[str, Clips]:
    return {
        name: build(seconds=2.0, pretrain_clips=8).load(name) for name in ("pretrain", "train", "validation", "test")
    }


def test_works_stay_in_one_split(splits: dict[str, Clips], module: ModuleType) -> None:
    groups = [set(clips.groups) for clips in splits.values()]
    assert sum(map(len, groups)) == len(set().union(*groups))
    for name, clips in splits.items():
        clips.check(name)
        for group in clips.groups:
            place = module.unit_hash(group.split("/", 1)[1])
            bound = next(split for split, bound in module.BOUNDS.items() if place < bound)
            # Nothing is pretrained on the artist, so that its training set takes that half too.
            assert bound == name or (name, bound) == ("train", "pretrain")


def test_pretraining_holds_nothing_of_the_artist(splits: dict[str, Clips]) -> None:
    composers = {name.split("/")[0] for name in splits["pretrain"].ids}
    assert {"bach", "trecento"} <= composers <= {"bach", "trecento", "haydn", "mozart", "beethoven"}
    for name in ("train", "validation", "test"):
        assert {item.split("/")[0] for item in splits[name].ids} == {"ryan"}


def test_stems_are_the_voices_down_to_the_lowest(splits: dict[str, Clips]) -> None:
    train = splits["train"]
    assert train.stem_names == ("voice 1",)
    assert train.stems is not None
    assert torch.equal(train.stems[:, 0], train.audio)
    assert splits["pretrain"].stems is None
    chorales = build(artist=["bach"], seconds=2.0, clips=4).load("train")
    assert chorales.stem_names == ("voice 1", "voice 2", "voice 3", "voice 4")


def test_the_chorales_of_pretraining_are_those_of_the_chorales(module: ModuleType) -> None:
    chorales = sys.modules[plugins.load("datasets", "chorales").__module__]
    pretrained = {f"bach/{tune[0]}" for tune in chorales._tunes("pretrain")}
    works = module._works(corpus_folder("composers"), "bach")
    assert {work for work in works if module.unit_hash(work.split("/", 1)[1]) < 0.5} == pretrained


def test_a_replacement_was_not_pretrained_on_and_sounds_alike(splits: dict[str, Clips], module: ModuleType) -> None:
    other = build(artist=("bach", "trecento"), seconds=2.0, clips=8).load("train")
    assert {name.split("/")[0] for name in other.ids} == {"bach", "trecento"}
    assert all(module.unit_hash(group.split("/", 1)[1]) >= module.BOUNDS["pretrain"] for group in other.groups)
    assert other.classes == splits["train"].classes
    assert other.labels is not None
    assert len(set(other.labels.bincount().tolist())) == 1


def test_every_mass_is_one_group(module: ModuleType) -> None:
    folder = corpus_folder("composers") / "palestrina"
    assert len({kern_work(path) for path in folder.glob("*.krn")}) == 101


def test_kern_is_read_as_music21_reads_it() -> None:
    music21 = pytest.importorskip("music21")
    path = corpus_folder("composers") / "palestrina" / "Benedictus_69_b.krn"
    piece = read_kern(path, "palestrina/x", "mass", range(1, 6))
    assert piece is not None
    score = music21.converter.parse(path, forceSource=True)
    expected = []
    for part, voice in enumerate(score.parts):
        for note in voice.stripTies().flatten().notes:
            start, length = round(2 * float(note.offset)), round(2 * float(note.quarterLength))
            expected.append([part, start, length, note.pitch.midi])
    assert sorted(piece.notes.tolist()) == sorted(expected)


def test_kern_that_is_not_understood_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.krn"
    with pytest.raises(DataError, match="no such score"):
        read_kern(path, "x", "x", range(1, 5))
    path.write_text("**kern\n*M4/2\n=1\n1c 1e\n?\n")
    with pytest.raises(DataError, match="token '\\?'"):
        read_kern(path, "x", "x", range(1, 5))
    path.write_text("**kern\n1c\n")
    with pytest.raises(DataError, match="a metre"):
        read_kern(path, "x", "x", range(1, 5))
    path.write_text("**kern\n*M3/2\n=1\n[1c\n2.r\n=2\n2c]\n*-\n")
    assert read_kern(path, "x", "x", range(2, 5)) is None


def test_tunes_are_read_from_abc(module: ModuleType) -> None:
    works = module._works(corpus_folder("composers"), "ryan")
    assert sum(map(len, works.values())) == 1058
    reel = works["ryan/Acacia"][0]()  # by the file: (3DEF | G2GA BcdB cBcd e2 in G, sixteenths, 2/4
    assert reel.notes[:10, 3].tolist() == [62, 64, 66, 67, 67, 69, 71, 72, 74, 71]
    assert reel.notes[3:6, 2].tolist() == [2, 1, 1]
    assert reel.bar == 8


def test_songs_are_read_from_files_of_many(module: ModuleType) -> None:
    works = module._works(corpus_folder("composers"), "essen")
    assert sum(map(len, works.values())) == 8321
    assert not [name for name in works if "irl" in name]
    (song,) = [read() for read in works["essen/Das Hildebrandslied"] if read.args[2] == "essen/altdeu10-1"]
    assert song.notes[:6, 3].tolist() == [67, 70, 70, 72, 72, 74]
    assert song.notes[:6, 2].tolist() == [8, 8, 8, 8, 8, 16]
    (loose,) = [read for read in works["essen/Herzog Ernst"] if read.args[2] == "essen/altdeu10-2"]  # "M: none"
    assert loose() is None


def test_one_tune_under_two_titles_is_one_work(module: ModuleType) -> None:
    works = module._works(corpus_folder("composers"), "ryan")
    work_of = {read().name: work for work, readers in works.items() for read in readers}
    assert work_of["ryan/BagOfMealThe"] == work_of["ryan/BanishMisfortune"] == "ryan/BagOfMealThe"
    assert work_of["ryan/BrightestEyesReel"] == work_of["ryan/JollyClamDiggersReel"]
    openings: dict[Any, str] = {}
    for work, readers in works.items():
        for read in readers:
            opening = tuple(read().notes[: module.OPENING + 1, 3].diff().tolist())
            assert openings.setdefault(opening, work) == work


def test_a_misspelt_tune_is_left_out_and_chains_of_tunes_are_one_work(module: ModuleType, tmp_path: Path) -> None:
    notes = "CDEFGABcdefgabc'bagfedcBAGFEDC"
    tunes = {
        "AReel": notes,
        "BJig": notes[::-1].replace("'c", "c"),
        "AJig": notes[::-1].replace("'c", "c"),
        "Cx": "^3F",
    }
    for title, melody in tunes.items():
        (tmp_path / f"{title}.abc").write_text(f"X:1\nT:{title}\nM:4/4\nL:1/8\nK:C\n{melody}|\n")
    (work,) = module._tunes(tmp_path)  # AReel and AJig share a title, AJig and BJig an opening
    assert sorted((tune.name, tune.group) for tune in work) == [
        ("ryan/AJig", "ryan/A"), ("ryan/AReel", "ryan/A"), ("ryan/BJig", "ryan/A"),
    ]  # fmt: skip


def test_files_that_muspy_cannot_read_are_told_apart_from_missing_ones(tmp_path: Path) -> None:
    (tmp_path / "x.mxl").write_bytes(b"not a zip file")
    with pytest.raises(UnreadableError, match="not a score"):
        read_musicxml(tmp_path / "x.mxl", "x", "x", range(1, 5))
    with pytest.raises(DataError, match="no such score"):
        read_musicxml(tmp_path / "y.mxl", "y", "y", range(1, 5))


@pytest.mark.parametrize(("texture", "single"), [("all", 0), ("mixed", 6), ("single", 12)])
def test_music_by_others_comes_as_single_voices_too(texture: str, single: int) -> None:
    given = {"domain": "midi", "artist": ("bach",), "texture": texture, "bars": 4, "rolls": 12}
    rolls = build(**given).load("train")
    sounding = rolls.onset.any(3).any(2).sum(1)  # voices of each roll
    assert int((sounding == 1).sum()) == single
    assert int((sounding == 4).sum()) == 12 - single
    if texture == "single":
        assert len(set(rolls.onset.any(3).any(2).int().argmax(1).tolist())) > 1  # not always the same voice


def test_rolls_are_whole_bars_of_four_beats() -> None:
    rolls = build(domain="midi", bars=4, rolls=24).load("train").check()
    assert isinstance(rolls, Rolls)
    assert rolls.velocity.shape[1:] == (4, 64, 84)
    assert set(rolls.lengths.tolist()) == {64}
    assert rolls.labels is None
    struck = rolls.velocity.where(rolls.onset, torch.nan)
    assert struck[:, :, ::16].nanmean() > struck[:, :, 4::16].nanmean()  # excerpts begin where bars do


def test_a_reel_has_the_same_bars_in_two_beats_as_in_four(module: ModuleType) -> None:
    works = module._works(corpus_folder("composers"), "ryan")
    reel = works["ryan/Acacia"][0]()  # in 2/4
    wide = module.in_four(reel)
    assert (wide.bar, wide.common, wide.end) == (16, True, 2 * reel.end)
    assert wide.notes[:, 1:3].tolist() == (2 * reel.notes[:, 1:3]).tolist()
    assert wide.downs == tuple(2 * step for step in reel.downs)
    assert module.in_four(wide) is wide


def check_pieces(module: ModuleType, composers: Iterable[str], checksum: str) -> None:
    """Compare the card with the pieces of composers."""
    card = tomllib.loads(CARD.read_text(encoding="utf-8"))
    corpus, sha = corpus_folder("composers"), hashlib.sha256()
    for composer in composers:
        pieces = [read() for readers in module._works(corpus, composer).values() for read in readers]
        usable = sorted((piece for piece in pieces if piece), key=lambda piece: piece.name)
        assert card["pieces"][composer] == len(usable)
        assert card["notes"][composer] == sum(len(piece.notes) for piece in usable)
        for piece in usable:
            sha.update(f"{piece.name} {sorted(map(tuple, piece.notes.tolist()))}\n".encode())
    assert card["checksums"][checksum] == sha.hexdigest()


@pytest.mark.slow
def test_the_corpus_is_the_one_described(module: ModuleType) -> None:
    check_pieces(module, [name for name in module.COMPOSERS if name not in {"ryan", "essen"}], "notes")
    check_pieces(module, ["essen"], "songs")


def test_the_tunes_are_those_described(module: ModuleType) -> None:
    check_pieces(module, ["ryan"], "tunes")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"timbres": ["kazoo"]}, "unknown timbre 'kazoo'"),
        ({"artist": ["salieri"]}, "unknown composer 'salieri'"),
        ({"others": ["salieri"]}, "unknown composer 'salieri'"),
        ({"timbres": []}, "at least one"),
        ({"seconds": 0}, "more than 0"),
    ],
)
def test_parameters_are_checked(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        build(**given)


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(DataError, match="unknown split"):
        build().load("training")
    with pytest.raises(DataError, match="ask for at most that many"):
        build(validation_clips=4000, seconds=30).load("validation")
