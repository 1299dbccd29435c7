"""Bach's four-part chorales from music21's corpus, as rolls or rendered in a timbre, the label.

The corpus may not be redistributed, so only the names of the pieces stand here: the scores are read from the installed
package with MusPy, repeats unrolled, on a grid of sixteenths.

* 365 of the 410 scores have four parts. They are 189 tunes (`CHORALE_TUNES`): chorales that set the same melody are one
  tune, the group of the splits. Two pieces count as one tune if music21 lists them under one title, or if the sopranos,
  taken on the beat without repeated notes, share 34 % of the shorter one's figures of six intervals.
* A stable hash of the tune gives the split: "pretrain" (half; only for the shipped base model), "train", "validation",
  "test". For rolls there is no base model, so "train" then holds the tunes of "pretrain" too.
* Excerpts begin on a down-beat where a voice sounds, so that a pick-up bar gives no silent start; notes held over it
  are struck there. Tunes take turns, then the pieces of a tune, then the excerpts of a piece.
* The scores have no dynamics. The velocity of a note is its part's base, U(60, 85), + 8 on the down-beat, 4 on the
  middle of the bar, 2 on other beats, + 7 sin of a phrase of 16 beats with a random phase, + N(0, 3), within 30..110.
* The tempo is the score's mark, else U(66, 108); onsets are not humanised.
* Texts state the timbre, the tempo, the mode of the key signature and the metre.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from bench.api import Clips, Data, Dataset, Needs, Rolls
from bench.errors import DataError, UsageError, unknown
from bench.notes.corpus import CHORALE_TUNES, corpus_folder, read_musicxml
from bench.notes.excerpts import TIMBRES, Excerpt, Piece, check_sizes, rolls_of, spans, take, tempo_of, whole_bars
from bench.notes.render import render
from bench.seeds import unit_hash

PARTS = ("soprano", "alto", "tenor", "bass")
BOUNDS = {"pretrain": 0.5, "train": 0.7, "validation": 0.82, "test": 1.0}  # upper ends of the hash, 0..1


@dataclass(frozen=True)
class Chorales(Dataset[Data]):
    """Four-part chorales as clips with a stem a part, or as rolls of whole bars in 4/4; groups are tunes.

    Attributes:
        domain: "audio" or "midi".
        rate: samples a second.
        seconds: length of a clip.
        clips, validation_clips, test_clips, pretrain_clips: sizes of the splits as audio, 0 for all excerpts.
        timbres: of the clips, in turn; the classes. Rolls have the programs of the first.
        pretrain_timbres: of the split "pretrain"; none of `timbres`.
        stems: keep the parts of clips; the split "pretrain" never does.
        bars: length of a roll.
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
            "seconds": 4.0, "clips": 12, "validation_clips": 8, "test_clips": 12,
            "rolls": 80, "validation_rolls": 20, "test_rolls": 24,
        },
        "full": {"seconds": 10.0, "clips": 0, "validation_clips": 0, "test_clips": 0},
    }  # fmt: skip

    domain: Literal["audio", "midi"] = "audio"
    rate: int = 16000
    seconds: float = 6.0
    clips: int = 24
    validation_clips: int = 12
    test_clips: int = 24
    pretrain_clips: int = 300
    timbres: tuple[str, ...] = ("choir", "brass", "harpsichord", "guitar")
    pretrain_timbres: tuple[str, ...] = ("strings", "organ", "piano", "winds")
    stems: bool = True
    bars: int = 8
    rolls: int = 0
    validation_rolls: int = 0
    test_rolls: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        check_sizes(self, *self.timbres, *self.pretrain_timbres)
        if shared := sorted(set(self.timbres) & set(self.pretrain_timbres)):
            raise UsageError(f"timbres and pretrain_timbres share {', '.join(shared)}, expected different ones")
        if not (self.timbres and self.pretrain_timbres):
            raise UsageError(
                f"timbres = {self.timbres}, pretrain_timbres = {self.pretrain_timbres}: expected at least one each"
            )

    def load(self, split: str) -> Clips | Rolls:
        """Load one split.

        Args:
            split: "train", "validation", "test", and as audio "pretrain".

        Returns:
            Clips [clip, 1, sample] with stems [clip, 4, 1, sample], or rolls [roll, 4, step, 84 pitches from C1].
        """
        if split not in BOUNDS or (self.domain == "midi" and split == "pretrain"):
            raise DataError(unknown(f"split of the chorales as {self.domain}", split, self._splits()))
        return self._audio(split) if self.domain == "audio" else self._midi(split)

    def _splits(self) -> list[str]:
        """List the splits of the domain."""
        return [split for split in BOUNDS if self.domain == "audio" or split != "pretrain"]

    def _audio(self, split: str) -> Clips:
        """Render a split."""
        sizes = {"train": self.clips, "validation": self.validation_clips, "test": self.test_clips}
        excerpts = _take(
            lambda piece: spans(piece, self.seconds, self.seed),
            _turns((split,)),
            sizes.get(split, self.pretrain_clips),
            f"{split} clips of {self.seconds:g} s",
        )
        timbres = self.pretrain_timbres if split == "pretrain" else self.timbres
        timbre = [timbres[number % len(timbres)] for number in range(len(excerpts))]
        labels = torch.arange(len(excerpts)) % len(timbres)
        texts = tuple(_text(excerpt.piece, self.seed, name) for excerpt, name in zip(excerpts, timbre, strict=True))
        rolls = rolls_of(excerpts, self.seed, PARTS, TIMBRES[timbres[0]], labels=labels, classes=timbres, texts=texts)
        return render(
            rolls,
            self.rate,
            programs=[TIMBRES[name] for name in timbre],
            seconds=self.seconds,
            keep_stems=self.stems and split != "pretrain",
        )

    def _midi(self, split: str) -> Rolls:
        """Assemble the rolls of a split."""
        sizes = {"train": self.rolls, "validation": self.validation_rolls, "test": self.test_rolls}
        excerpts = _take(
            lambda piece: whole_bars(piece, self.bars),
            _turns(("pretrain", "train") if split == "train" else (split,)),
            sizes[split],
            f"{split} rolls of {self.bars} bars",
        )
        texts = tuple(_text(excerpt.piece, self.seed) for excerpt in excerpts)
        return rolls_of(excerpts, self.seed, PARTS, TIMBRES[self.timbres[0]], texts=texts)


def _tunes(split: str) -> list[list[str]]:
    """List the tunes of a split, each a list of pieces, in the order of their hashes."""
    lower = max((bound for bound in BOUNDS.values() if bound < BOUNDS[split]), default=0.0)
    tunes = [entry.split("=") for entry in CHORALE_TUNES.split()]
    by_hash = sorted((unit_hash(tune[0]), tune) for tune in tunes)
    return [tune for share, tune in by_hash if lower <= share < BOUNDS[split]]


def _turns(splits: tuple[str, ...]) -> list[tuple[str, str]]:
    """List (tune, piece): the first piece of every tune, then the second of every tune that has one, and so on."""
    tunes = [tune for split in splits for tune in _tunes(split)]
    longest = max(map(len, tunes))
    return [(f"bwv{tune[0]}", f"bwv{tune[turn]}") for turn in range(longest) for tune in tunes if turn < len(tune)]


def _take(cut: Any, turns: list[tuple[str, str]], count: int, what: str) -> list[Excerpt]:
    """Take the first `count` excerpts (0: all), reading no more pieces than that needs."""
    corpus = _corpus()
    return take((partial(_read, corpus, name, tune) for tune, name in turns), cut, count, f"{what} of the chorales")


def _corpus() -> Path:
    """Find the folder of scores. Raises `PluginError` or `DataError` where packages or scores are missing."""
    return corpus_folder("chorales") / "bach"


def _read(corpus: Path, name: str, tune: str) -> Piece:
    """Read a score onto the grid. Raises `DataError` where it is missing, damaged, or has other than four parts."""
    path = next((path for path in (corpus / f"{name}.mxl", corpus / f"{name}.xml") if path.is_file()), None)
    path = path or corpus / f"{name}.mxl"
    piece = read_musicxml(path, name, tune, range(len(PARTS), len(PARTS) + 1))
    if piece is None:
        raise DataError(f"{path}: expected {len(PARTS)} parts with notes")
    return piece


def _text(piece: Piece, seed: int, timbre: str = "") -> str:
    """Describe an excerpt: pace, timbre, mode, metre."""
    tempo = tempo_of(piece, seed)
    pace = "slow" if tempo < 80 else "moderate" if tempo < 96 else "lively"
    instrument = f" for {timbre}" if timbre else ""
    mode = f" in a {piece.mode} key" if piece.mode else ""
    return f"{pace} four-part chorale{instrument}{mode}, {'triple' if piece.beats % 3 == 0 else 'common'} metre"
