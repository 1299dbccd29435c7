"""One composer's music beside that of others (music21's corpus), as rolls or rendered alike.

The corpus may not be redistributed: the scores are read from the installed package (`bench.notes.corpus`), and of them
those with one to four parts. What is protected is one composer's; other music is rendered alike (timbres, range of
tempi, velocities), so that what is learned of a composer is told from what any music of that sound teaches: let a
suite's `replacement` be this data set with `artist` set to others. Labels are timbres, which artist and others share.

* A piece's group is its work: of Palestrina the mass, of Bach's chorales the tune (pieces on one melody are one group),
  of string quartets the quartet, else the piece. A stable hash of the group gives the split.
* The split "pretrain" holds the first half by hash of the `others`, from which a base model may be trained: nothing of
  the artist's. Of an artist that is among `others`, the splits "train", "validation" and "test" hold the second half.
* "ryan" is no composer but Ryan's Mammoth Collection (1883) of fiddle tunes, of one voice, read by `bench.notes.abc`;
  one is misspelt and left out. Tunes of one title, whatever the dance, or of one opening (24 intervals) are one work.
* "essen" is the Essen Folksong Collection, European and Chinese songs of one voice. Songs of one title are one work;
  the Irish ones and Haydn's are left out, since dances of Ryan's may be among them, and so are those in no metre.
* The beat is the quarter note; in Palestrina, and where a metre counts halves, the half note. In rolls, bars of two
  beats are read with a beat of half the length, so that a reel has the same bars whether written in 2/4 or 4/4.
* Tempi that scores state are not used: all are drawn from one range. Excerpts, velocities: `bench.notes.excerpts`.
* Composers take turns, then works, then pieces of a work, then excerpts of a piece.
* Texts state pace, timbre and metre, and not the composer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import torch

from bench.api import Clips, Data, Dataset, Needs, Rolls
from bench.errors import DataError, UsageError, unknown
from bench.notes.abc import read_abc, tune_of, tunes_in
from bench.notes.corpus import (
    CHORALE_TUNES,
    UnreadableError,
    corpus_folder,
    kern_work,
    read_kern,
    read_musicxml,
)
from bench.notes.excerpts import (
    TIMBRES,
    Excerpt,
    Piece,
    check_sizes,
    in_four,
    rolls_of,
    spans,
    take,
    tempo_of,
    whole_bars,
)
from bench.notes.render import render
from bench.seeds import unit_hash

VOICES = ("voice 1", "voice 2", "voice 3", "voice 4")  # from the highest
PARTS = range(1, len(VOICES) + 1)
BOUNDS = {"pretrain": 0.5, "train": 0.7, "validation": 0.82, "test": 1.0}  # upper ends of the hash, 0..1
OTHERS = ("bach", "trecento", "haydn", "mozart", "beethoven")  # beside clips
SONGS = ("essen",)  # beside rolls
COMPOSERS = ("palestrina", *OTHERS, "ryan", *SONGS)
OPENING = 24  # intervals by which tunes are taken for the same
DEFAULT_ARTIST = ("ryan",)
_LEFT_OUT = ("irl", "folkHaydn", "test0", "test1", "testd", "teste", "variant0")  # of the folk songs' files
_DANCES = re.compile("(Reel|Hornpipe|Slipjig|Jig|Strathspey|Clog|Walkaround|Quickstep|Waltz)+$")
# Music by others in the same sound and of one voice as well, from works that no base model was trained on.
_SINGLE_VOICES = {"plugin": "composers", "artist": OTHERS, "texture": "single", "stems": False}
_FOLK_SONGS = {"plugin": "composers", "artist": SONGS}
Reader = Callable[[], Piece | None]


@dataclass(frozen=True)
class Composers(Dataset[Data]):
    """Excerpts of pieces by one composer or several, as clips with a stem a voice, or as rolls of whole bars.

    Attributes:
        domain: "audio" or "midi".
        artist: the composers of the splits "train", "validation" and "test"; by default "ryan", from whose tunes an
            attacker learns what it does not from as much music by others.
        others: the composers of the split "pretrain"; by default of clips Bach, the trecento, Haydn, Mozart and
            Beethoven, of rolls the folk songs.
        texture: "all": every voice of a piece; "single": one voice of each, drawn by the piece's name; "mixed": one of
            every second piece.
        rate: samples a second.
        seconds: length of a clip.
        clips, validation_clips, test_clips, pretrain_clips: sizes of the splits as audio, 0 for all excerpts.
        timbres: of the clips, in turn, whoever composed them; the classes. Rolls have the programs of the first.
        stems: keep the voices of clips, down to the lowest that any of them has; the split "pretrain" never does.
        bars: length of a roll, in bars of four beats.
        rolls, validation_rolls, test_rolls: sizes of the splits as rolls, 0 for all excerpts.
        seed: of velocities and tempi.

    Raises:
        UsageError: a parameter is out of range.
        DataError: on loading; a score cannot be read, or a split has too few excerpts.
    """

    version = 1
    domains = ("audio", "midi")
    needs = Needs(memory_gb=4.0)
    presets = {
        "smoke": {
            "seconds": 4.0, "clips": 32, "validation_clips": 8, "test_clips": 12,
            "rolls": 48, "validation_rolls": 12, "test_rolls": 24,
        },
        "full": {
            "seconds": 10.0, "clips": 480, "validation_clips": 64, "test_clips": 192,
            "rolls": 960, "validation_rolls": 96, "test_rolls": 192,
        },
    }  # fmt: skip
    threat = {
        "audio": {
            "smoke": {"published": 16, "granted": 4, "sizes": (4, 8), "replacement": _SINGLE_VOICES},
            "small": {"published": 24, "granted": 8, "sizes": (6, 12), "replacement": _SINGLE_VOICES},
            "full": {"published": 240, "granted": 16, "replacement": _SINGLE_VOICES},
        },
        "midi": {
            "smoke": {"published": 24, "granted": 4, "sizes": (6, 12), "replacement": _FOLK_SONGS},
            "small": {"published": 96, "granted": 16, "sizes": (12, 24, 48), "replacement": _FOLK_SONGS},
            "full": {"published": 480, "granted": 32, "replacement": _FOLK_SONGS},
        },
    }

    domain: Literal["audio", "midi"] = "audio"
    artist: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    texture: Literal["all", "single", "mixed"] = "all"
    rate: int = 16000
    seconds: float = 6.0
    clips: int = 96
    validation_clips: int = 12
    test_clips: int = 24
    pretrain_clips: int = 300
    timbres: tuple[str, ...] = ("strings", "organ", "piano", "winds")
    stems: bool = True
    bars: int = 8
    rolls: int = 192
    validation_rolls: int = 24
    test_rolls: int = 96
    seed: int = 0

    def __post_init__(self) -> None:
        check_sizes(self, *self.timbres)
        for composer in (*self.artist, *self.others):
            if composer not in COMPOSERS:
                raise UsageError(unknown("composer", composer, COMPOSERS))
        if not self.timbres:
            raise UsageError("timbres = (): expected at least one")

    def load(self, split: str) -> Clips | Rolls:
        """Load one split.

        Args:
            split: "train", "validation", "test" of the artist, "pretrain" of the others.

        Returns:
            Clips [clip, 1, sample] with stems [clip, voice, 1, sample], or rolls [roll, 4, step, 84 pitches from C1].
        """
        if split not in BOUNDS:
            raise DataError(unknown("split of the composers", split, BOUNDS))
        return self._audio(split) if self.domain == "audio" else self._midi(split)

    def _audio(self, split: str) -> Clips:
        """Render a split."""
        sizes = {"train": self.clips, "validation": self.validation_clips, "test": self.test_clips}
        excerpts = take(
            self._readers(split),
            lambda piece: spans(piece, self.seconds, self.seed),
            sizes.get(split, self.pretrain_clips),
            f"{split} clips of {self.seconds:g} s by {', '.join(self._composers(split))}",
        )
        labels = torch.arange(len(excerpts)) % len(self.timbres)
        timbre = [self.timbres[label] for label in labels.tolist()]
        texts = tuple(
            _text(excerpt.piece, self.seed, f" for {name}") for excerpt, name in zip(excerpts, timbre, strict=True)
        )
        voices = 1 + max(int(excerpt.piece.notes[:, 0].max()) for excerpt in excerpts)
        rolls = self._rolls(excerpts, voices, texts=texts, labels=labels, classes=self.timbres)
        programs = [TIMBRES[name][:voices] for name in timbre]
        stems = self.stems and split != "pretrain"
        return render(rolls, self.rate, programs=programs, seconds=self.seconds, keep_stems=stems)

    def _midi(self, split: str) -> Rolls:
        """Assemble the rolls of a split."""
        sizes = {"train": self.rolls, "validation": self.validation_rolls, "test": self.test_rolls}
        excerpts = take(
            [partial(_in_four, read) for read in self._readers(split)],
            lambda piece: whole_bars(piece, self.bars),
            sizes.get(split, 0),
            f"{split} rolls of {self.bars} bars by {', '.join(self._composers(split))}",
        )
        return self._rolls(excerpts, len(VOICES), texts=tuple(_text(excerpt.piece, self.seed) for excerpt in excerpts))

    def _rolls(self, excerpts: list[Excerpt], voices: int, **more: Any) -> Rolls:
        """Assemble excerpts of so many voices."""
        return rolls_of(excerpts, self.seed, VOICES[:voices], TIMBRES[self.timbres[0]][:voices], **more)

    def _composers(self, split: str) -> tuple[str, ...]:
        """Name the composers of a split."""
        return self._pretraining() if split == "pretrain" else self.artist or DEFAULT_ARTIST

    def _pretraining(self) -> tuple[str, ...]:
        """Name the composers whose first half by hash is the split "pretrain"."""
        return self.others or (OTHERS if self.domain == "audio" else SONGS)

    def _readers(self, split: str) -> list[Reader]:
        """List the readers of a split's pieces: composers in turn, of each the works in turn, by hash."""
        corpus = corpus_folder("composers")
        by_composer = []
        for composer in self._composers(split):
            lowest = 0.0
            if split != "pretrain" and (split != "train" or composer in self._pretraining()):
                lowest = max(bound for bound in BOUNDS.values() if bound < BOUNDS[split])
            works = _works(corpus, composer)
            # By the title alone, so that the chorales of "pretrain" are those of the data set `chorales`.
            placed = sorted((unit_hash(work.split("/", 1)[1]), work) for work in works)
            by_composer.append(_in_turn([works[work] for place, work in placed if lowest <= place < BOUNDS[split]]))
        readers = _in_turn(by_composer)
        every = {"all": 0, "single": 1, "mixed": 2}[self.texture]
        return [partial(_single, read) if every and at % every == 0 else read for at, read in enumerate(readers)]


def _in_turn(lists: list[list[Reader]]) -> list[Reader]:
    """The first of every list, then the second of every list that has one, and so on."""
    return [item for turn in zip_longest(*lists) for item in turn if item]


def _works(corpus: Path, composer: str) -> dict[str, list[Reader]]:
    """The readers of a composer's pieces by work."""
    works: dict[str, list[Reader]] = {}
    if composer == "bach":
        for tune in CHORALE_TUNES.split():
            names = tune.split("=")
            for name in names:
                path = _existing(corpus / "bach" / f"bwv{name}.mxl")
                works.setdefault(f"bach/{names[0]}", []).append(
                    partial(_read, path, f"bach/{name}", f"bach/{names[0]}")
                )
        return works
    if composer == "ryan":
        for pieces in _tunes(corpus / "ryansMammoth"):
            works[pieces[0].group] = [partial(_piece, piece) for piece in pieces]
        return works
    if composer == "essen":
        return _songs(corpus / "essenFolksong")
    for path in sorted((corpus / composer).rglob("*.*")):
        name = f"{composer}/{path.relative_to(corpus / composer).with_suffix('').as_posix()}"
        if path.suffix == ".krn" and composer == "palestrina":
            work = f"{composer}/{kern_work(path)}"
            works.setdefault(work, []).append(partial(read_kern, path, name, work, PARTS))
        elif path.suffix in {".mxl", ".xml"}:
            work = "/".join(name.split("/")[:2])
            works.setdefault(work, []).append(partial(_read, path, name, work))
    return works


def _existing(path: Path) -> Path:
    """A compressed score, or where there is none its plain form."""
    return path if path.is_file() else path.with_suffix(".xml")


def _read(path: Path, name: str, work: str) -> Piece | None:
    """Read a score without its tempo; None where MusPy cannot read it (the card counts those)."""
    try:
        piece = read_musicxml(path, name, work, PARTS, halves=True)
    except UnreadableError:
        return None
    return replace(piece, tempo=None) if piece else None


@cache
def _tunes(folder: Path) -> list[list[Piece]]:
    """Read all tunes but those that are misspelt, by work: tunes of one title or of one opening."""
    works: list[list[Piece]] = []
    work_of: dict[Any, list[Piece]] = {}
    for path in sorted(folder.glob("*.abc")):
        try:
            tune = read_abc(path, f"ryan/{path.stem}", path.stem)
        except UnreadableError:
            continue
        title = _DANCES.sub("", path.stem) or path.stem
        # The same tune stands under other titles too, so that a split by title alone would test on what was trained on.
        opening = tuple(tune.notes[: OPENING + 1, 3].diff().tolist())
        alike = {id(work): work for key in (title, opening) if (work := work_of.get(key)) is not None}
        joined = [piece for work in alike.values() for piece in work] + [replace(tune, group=title)]
        works = [work for work in works if id(work) not in alike] + [joined]
        work_of |= {key: joined for key, work in work_of.items() if id(work) in alike}
        work_of |= {title: joined, opening: joined}
    return [[replace(tune, group=f"ryan/{min(one.group for one in work)}") for tune in work] for work in works]


def _songs(folder: Path) -> dict[str, list[Reader]]:
    """The readers of the folk songs by title."""
    works: dict[str, list[Reader]] = {}
    for path in sorted(folder.glob("*.abc")):
        if path.stem in _LEFT_OUT:
            continue
        for number, text in tunes_in(path).items():
            title = re.search(r"^T: *(.+?) *$", text, re.MULTILINE)
            name = f"essen/{path.stem}-{number}"
            work = f"essen/{title[1]}" if title else name
            works.setdefault(work, []).append(partial(_song, text, f"{path}, tune {number}", name, work))
    return works


def _song(text: str, source: str, name: str, work: str) -> Piece | None:
    """Read a folk song; None where it has no metre (the card counts those)."""
    try:
        return tune_of(text, source, name, work)
    except UnreadableError:
        return None


def _in_four(read: Reader) -> Piece | None:
    """Read a piece with bars of two beats as bars of four."""
    piece = read()
    return in_four(piece) if piece else None


def _single(read: Reader) -> Piece | None:
    """Read one voice of a piece."""
    piece = read()
    if piece is None:
        return None
    parts = piece.notes[:, 0].unique()
    part = parts[int(unit_hash(piece.name) * len(parts))]
    return replace(piece, notes=piece.notes[piece.notes[:, 0] == part])


def _piece(piece: Piece) -> Piece:
    """Return a piece that has been read, in a reader's place."""
    return piece


def _text(piece: Piece, seed: int, instrument: str = "") -> str:
    """Describe an excerpt: pace, timbre, metre."""
    tempo = tempo_of(piece, seed)
    pace = "slow" if tempo < 80 else "moderate" if tempo < 96 else "lively"
    return f"{pace} music{instrument}, {'triple' if piece.beats % 3 == 0 else 'common'} metre"
