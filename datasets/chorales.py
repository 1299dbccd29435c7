"""Bach's four-part chorales from music21's corpus, as rolls or rendered in a timbre, the label.

The corpus may not be redistributed, so only the names of the pieces stand here: the scores are read from the installed
package with MusPy, repeats unrolled, on a grid of sixteenths.

* 365 of the 410 scores have four parts. They are 189 tunes (`TUNES`): chorales that set the same melody are one tune,
  the group of the splits. Two pieces count as one tune if music21 lists them under one title, or if the sopranos, taken
  on the beat without repeated notes, share 34 % of the shorter one's figures of six intervals.
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

import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Generator, Tensor

from bench.api import Clips, Data, Dataset, Needs, Rolls, check_range
from bench.errors import DataError, PluginError, UsageError, unknown
from bench.notes.pitches import LOWEST, PITCHES
from bench.notes.render import render
from bench.notes.rolls import Notes, grid
from bench.seeds import name_generator, unit_hash

PARTS = ("soprano", "alto", "tenor", "bass")
# General MIDI programs of the four parts, in one family.
TIMBRES = {
    "choir": (52, 53, 52, 53),
    "brass": (56, 60, 57, 58),
    "harpsichord": (6, 6, 6, 6),
    "guitar": (24, 24, 24, 24),
    "strings": (40, 40, 41, 42),
    "organ": (19, 19, 19, 19),
    "piano": (0, 0, 0, 0),
    "winds": (73, 68, 71, 70),
}
BOUNDS = {"pretrain": 0.5, "train": 0.7, "validation": 0.82, "test": 1.0}  # upper ends of the hash, 0..1
STEPS_PER_BEAT = 4
TEMPO = (66.0, 108.0)
# Names without "bwv"; "=" joins the pieces of one tune, whose first gives it its name.
TUNES = """
2.6=77.6=153.1 3.6=25.6=30.6=32.6=39.7=70.7=153.9=194.6=295=409 4.8=158.4=277=278=279 5.7=89.6=148.6=188.6
6.6=42.7=126.6 7.7=176.6=280=335 9.7=86.6=117.4=155.5=177.4 10.7=323=324 11.6=43.11=248.12-2
13.6=44.7=244.10=244.37=245.11=367=392=393=394=395 14.5=114.7=178.7=256=257=258 16.6=28.6=183.5=435 17.7=389=390
18.5-lz=18.5-w 20.7=20.11=397 24.6=45.7=64.4=94.8=197.7-a=398=399 26.6 33.6=261 36.4-2=436 36.8-2=62.6=274
37.6=347=348 38.6 40.3=110.7=248.35-3=286 40.6 40.8 46.6 47.5=420=421 48.3=255 48.7=113.8=168.6=334
55.5=146.8=154.3=244.40=359=360 56.5=301 57.8 60.5 64.2=248.28=314 64.8=81.7=87.7=227.1=227.7=227.11=358 65.2
65.7=72.6=92.9=103.6=111.6=144.6=244.25 66.6=276 67.4=145.5 67.7=116.6 69.6-a=99.6=144.3 73.5=417=418=419 74.8=108.6
78.7=245.15=245.37=283=352=353=354=404 80.8=302=303 83.5=125.6=382 84.5=88.7=93.7=166.6=179.6=197.10=434 85.6
90.5=101.7=102.7=245.5=416 96.6=164.6 104.6=112.5=260 115.6 119.9=120.6=328 121.6 122.6 123.6 127.5=336 133.6
135.6=153.5=244.15=244.17=244.44=244.54=244.62=248.5=248.64-s=270=271=272 139.6=245.22=377 140.7 145-a=365
151.5=375=376 154.8=157.5=244.29-a=380=427 156.6=339 159.5=245.14=245.28 162.6-lpz 165.6=194.12 169.7=197.5=385
174.5=245.40=340 177.5 180.7 184.5 187.7 190.7=362 226.2 229.2 244.3=244.46=245.3=245.17 244.32=248.46-5 245.26=415
248.23-s 248.33-3=422 248.42-s 248.53-5 253=414 254 259 262 263 264=378 265 266 267 268 269 273 275 281=282 284 285
287 288=289 290 291 292 293 294 296 297 298 299 300 304 305 306 307 308 309 310 311=312 313 315 316 317 318 319 320
321 322 325 326=327 329 330=331 332 333 337 338 341 342 343 344 345 346 349 350 351 355 356 357 361 363 364 366 368
369 370 371 372 373 374 379 381 383 384 386 387 388 391 396 400 401 402 403 405=406 407 408 410 411 412 413 423 424
425 426 428=429=430 431=432 433 437 438
"""


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
        for timbre in (*self.timbres, *self.pretrain_timbres):
            if timbre not in TIMBRES:
                raise UsageError(unknown("timbre", timbre, TIMBRES))
        if shared := sorted(set(self.timbres) & set(self.pretrain_timbres)):
            raise UsageError(f"timbres and pretrain_timbres share {', '.join(shared)}, expected different ones")
        if not (self.timbres and self.pretrain_timbres):
            raise UsageError(
                f"timbres = {self.timbres}, pretrain_timbres = {self.pretrain_timbres}: expected at least one each"
            )
        check_range(self, "seconds", above=0)
        check_range(self, "bars", "rate", least=1)
        check_range(self, "clips", "validation_clips", "test_clips", "pretrain_clips", least=0)
        check_range(self, "rolls", "validation_rolls", "test_rolls", least=0)

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
            lambda piece: _spans(piece, self.seconds * _tempo(piece, self.seed) / 60),
            _turns((split,)),
            sizes.get(split, self.pretrain_clips),
            f"{split} clips of {self.seconds:g} s",
        )
        timbres = self.pretrain_timbres if split == "pretrain" else self.timbres
        timbre = [timbres[number % len(timbres)] for number in range(len(excerpts))]
        labels = torch.arange(len(excerpts)) % len(timbres)
        texts = tuple(_text(excerpt.piece, self.seed, name) for excerpt, name in zip(excerpts, timbre, strict=True))
        rolls = _rolls(excerpts, self.seed, labels=labels, classes=timbres, texts=texts)
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
            lambda piece: _whole_bars(piece, self.bars),
            _turns(("pretrain", "train") if split == "train" else (split,)),
            sizes[split],
            f"{split} rolls of {self.bars} bars",
        )
        texts = tuple(_text(excerpt.piece, self.seed) for excerpt in excerpts)
        return _rolls(excerpts, self.seed, texts=texts, programs=TIMBRES[self.timbres[0]])


@dataclass(frozen=True)
class _Piece:
    """A score on the grid."""

    name: str  # with "bwv"
    tune: str
    notes: Tensor  # int64 [note, 4]: part, start, duration, pitch; in steps
    downs: tuple[int, ...]  # steps of the down-beats, ascending
    end: int  # steps
    beats: int  # quarter notes of a bar
    common: bool  # in 4/4 throughout
    tempo: float | None  # quarter notes a minute, where the score states them
    mode: str | None  # of the key signature, where the score has one


@dataclass(frozen=True)
class _Excerpt:
    """A part of a piece."""

    piece: _Piece
    number: int  # among the excerpts of the piece
    start: int  # steps
    steps: int


def _tunes(split: str) -> list[list[str]]:
    """List the tunes of a split, each a list of pieces, in the order of their hashes."""
    lower = max((bound for bound in BOUNDS.values() if bound < BOUNDS[split]), default=0.0)
    tunes = [entry.split("=") for entry in TUNES.split()]
    by_hash = sorted((unit_hash(tune[0]), tune) for tune in tunes)
    return [tune for share, tune in by_hash if lower <= share < BOUNDS[split]]


def _turns(splits: tuple[str, ...]) -> list[tuple[str, str]]:
    """List (tune, piece): the first piece of every tune, then the second of every tune that has one, and so on."""
    tunes = [tune for split in splits for tune in _tunes(split)]
    longest = max(map(len, tunes))
    return [(f"bwv{tune[0]}", f"bwv{tune[turn]}") for turn in range(longest) for tune in tunes if turn < len(tune)]


def _take(spans: Any, turns: list[tuple[str, str]], count: int, what: str) -> list[_Excerpt]:
    """Take the first `count` excerpts (0: all), reading no more pieces than that needs."""
    corpus = _corpus()
    by_piece: list[list[_Excerpt]] = []
    for tune, name in turns:
        if count and sum(bool(excerpts) for excerpts in by_piece) == count:
            break
        piece = _read(corpus, name, tune)
        excerpts = [_Excerpt(piece, number, *span) for number, span in enumerate(spans(piece))]
        by_piece.append(excerpts)
    longest = max(map(len, by_piece), default=0)
    order = [excerpts[turn] for turn in range(longest) for excerpts in by_piece if turn < len(excerpts)]
    if len(order) < max(count, 1):
        raise DataError(f"{count} {what}: the chorales hold {len(order)}; ask for at most that many, or 0 for all")
    return order[: count or None]


def _spans(piece: _Piece, beats: float) -> Iterator[tuple[int, int]]:
    """Yield (start, steps) of disjoint excerpts; the last one may end early, but not before half its length."""
    steps = math.ceil(beats * STEPS_PER_BEAT)
    earliest = 0
    for start in piece.downs:
        if start >= earliest and piece.end - start >= steps / 2 and _sounds(piece, start):
            yield start, min(steps, piece.end - start)
            earliest = start + steps


def _whole_bars(piece: _Piece, bars: int) -> Iterator[tuple[int, int]]:
    """Yield (start, steps) of excerpts of `bars` bars of 4/4 that no repeat's pick-up interrupts."""
    bar = piece.beats * STEPS_PER_BEAT
    earliest, downs = 0, set(piece.downs) | {piece.end}
    for start in piece.downs if piece.common else ():
        stop = start + bars * bar
        if start >= earliest and stop <= piece.end and all(step in downs for step in range(start, stop, bar)):
            yield start, stop - start
            earliest = stop


def _sounds(piece: _Piece, step: int) -> bool:
    """Tell whether a note sounds at a step."""
    start, duration = piece.notes[:, 1], piece.notes[:, 2]
    return bool(((start <= step) & (step < start + duration)).any())


def _corpus() -> Path:
    """Find the folder of scores. Raises `PluginError` or `DataError` where packages or scores are missing."""
    spec = importlib.util.find_spec("music21")  # found, not imported
    folder = Path(spec.origin).parent / "corpus" / "bach" if spec and spec.origin else None
    if folder is None or importlib.util.find_spec("muspy") is None:
        raise PluginError("the chorales need music21 and muspy: pip install 'cloakbench[music]'")
    if not folder.is_dir():
        raise DataError(
            f"{folder}: music21 is installed without its corpus; pip install --force-reinstall 'music21>=9,<10'"
        )
    return folder


def _read(corpus: Path, name: str, tune: str) -> _Piece:
    """Read a score onto the grid. Raises `DataError` where it is missing, damaged, or has other than four parts."""
    import muspy

    path = next((path for path in (corpus / f"{name}.mxl", corpus / f"{name}.xml") if path.is_file()), None)
    if path is None:
        raise DataError(f"{corpus / name}.mxl: no such score; expected the corpus of music21 9")
    try:
        music = muspy.read_musicxml(path)
    except Exception as error:  # whatever its XML and ZIP readers raise
        raise DataError(f"{path}: not a score that can be read ({type(error).__name__}: {error})") from error
    if len(music.tracks) != len(PARTS) or not all(track.notes for track in music.tracks):
        raise DataError(f"{path}: {len(music.tracks)} parts, expected {len(PARTS)} with notes")
    ticks = music.resolution
    rows = [(part, n.time, n.duration, n.pitch) for part, track in enumerate(music.tracks) for n in track.notes]
    notes = torch.tensor(rows, dtype=torch.int64)
    stop = _steps(notes[:, 1] + notes[:, 2], ticks)
    notes[:, 1] = _steps(notes[:, 1], ticks)
    notes[:, 2] = (stop - notes[:, 1]).clamp(min=1)
    metres = {(metre.numerator, metre.denominator) for metre in music.time_signatures}
    first = music.time_signatures[0]
    end = int((notes[:, 1] + notes[:, 2]).max())
    bar = first.numerator * 4 * STEPS_PER_BEAT // first.denominator
    bars = [round(line.time * STEPS_PER_BEAT / ticks) for line in music.barlines] + [end]
    # A bar of less than half its length is a pick-up, at the beginning or after a repeat.
    downs = tuple(step for step, next_bar in pairwise(bars) if 2 * (next_bar - step) >= bar)
    key = music.key_signatures[0] if music.key_signatures else None
    return _Piece(
        name=name,
        tune=tune,
        notes=notes,
        downs=downs,
        end=end,
        beats=bar // STEPS_PER_BEAT,
        common=metres == {(4, 4)},
        tempo=float(music.tempos[0].qpm) if music.tempos else None,
        mode=key.mode if key else None,
    )


def _steps(ticks: Tensor, resolution: int) -> Tensor:
    """Round ticks to steps."""
    return (2 * ticks * STEPS_PER_BEAT + resolution).div(2 * resolution, rounding_mode="floor")


def _generator(*names: object) -> Generator:
    """Seed a generator by names, so that a clip is the same whatever else is loaded with it."""
    return name_generator("/".join(map(str, names)))


def _tempo(piece: _Piece, seed: int) -> float:
    """Return the score's tempo, or draw one."""
    if piece.tempo is not None:
        return piece.tempo
    low, high = TEMPO
    return low + (high - low) * float(torch.rand((), generator=_generator(seed, piece.name, "tempo")))


def _text(piece: _Piece, seed: int, timbre: str = "") -> str:
    """Describe an excerpt: pace, timbre, mode, metre."""
    tempo = _tempo(piece, seed)
    pace = "slow" if tempo < 80 else "moderate" if tempo < 96 else "lively"
    instrument = f" for {timbre}" if timbre else ""
    mode = f" in a {piece.mode} key" if piece.mode else ""
    return f"{pace} four-part chorale{instrument}{mode}, {'triple' if piece.beats % 3 == 0 else 'common'} metre"


def _velocity(excerpt: _Excerpt, notes: Tensor, seed: int) -> Tensor:
    """Draw velocities by the model at the head of this module: float32 [note] in 0..1."""
    piece, start = excerpt.piece, notes[:, 1].contiguous()
    rng = _generator(seed, piece.name, excerpt.number, "velocity")
    base = 60 + 25 * torch.rand(len(PARTS), generator=rng)
    phase = 2 * math.pi * torch.rand((), generator=rng)
    jitter = 3 * torch.randn(len(notes), generator=rng)
    downs = torch.tensor(piece.downs)
    down_beat = downs[(torch.searchsorted(downs, start, right=True) - 1).clamp(min=0)]
    bar = piece.beats * STEPS_PER_BEAT
    position = (start - down_beat) % bar
    accent = torch.where(position % STEPS_PER_BEAT == 0, 2.0, 0.0)
    accent[2 * position == bar] = 4.0
    accent[position == 0] = 8.0
    phrase = 7 * torch.sin(2 * math.pi * start / (16 * STEPS_PER_BEAT) + phase)
    return (base[notes[:, 0]] + accent + phrase + jitter).clamp(30, 110) / 127


def _rolls(excerpts: list[_Excerpt], seed: int, programs: tuple[int, ...] = (0, 0, 0, 0), **more: Any) -> Rolls:
    """Assemble excerpts as a set, each starting at step 0."""
    columns = []
    for number, excerpt in enumerate(excerpts):
        notes = excerpt.piece.notes
        start, stop = notes[:, 1], notes[:, 1] + notes[:, 2]
        notes = notes[(stop > excerpt.start) & (start < excerpt.start + excerpt.steps)]
        positions = torch.stack([torch.full_like(notes[:, 0], number), notes[:, 0], notes[:, 1] - excerpt.start], 1)
        ends = (positions[:, 2] + notes[:, 2]).clamp(max=excerpt.steps)
        velocity = _velocity(excerpt, notes, seed)
        columns.append((*positions.unbind(1), ends - positions[:, 2], notes[:, 3], velocity))
    notes_of_all = Notes(*(torch.cat(column) for column in zip(*columns, strict=True)))
    lengths = torch.tensor([excerpt.steps for excerpt in excerpts])
    velocity, onset = grid(notes_of_all, len(excerpts), len(PARTS), int(lengths.max()), LOWEST, PITCHES)
    return Rolls(
        velocity=velocity,
        onset=onset,
        programs=programs,
        ids=tuple(f"{excerpt.piece.name}-{excerpt.number}" for excerpt in excerpts),
        groups=tuple(excerpt.piece.tune for excerpt in excerpts),
        lengths=lengths,
        tempo=torch.tensor([_tempo(excerpt.piece, seed) for excerpt in excerpts]),
        steps_per_beat=STEPS_PER_BEAT,
        lowest=LOWEST,
        tracks=PARTS,
        **more,
    )
