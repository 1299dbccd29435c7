"""The Lakh MIDI Dataset, from piano rolls (LPD-5) or MIDI files, in five tracks.

Looked for in `$BENCH_DATA/lpd_5`, `lpd_5_cleansed`, `lmd_matched` or `lmd_full`, the first that exists, or in the
parameter `path`: a folder of .npz files as pypianoroll saves them, or of MIDI files, at any depth.

* LPD-5 is read without pypianoroll and without unpickling: five sparse rolls of 128 pitches, `beat_resolution` steps a
  beat (24). It has no onsets: cells of one pitch that follow each other at one velocity are a note. Windows begin at
  the first down-beat that the file states. MIDI files are gathered into the same five by the families of General MIDI,
  and windows begin with the first bar that has notes; files whose first metre is not of four quarters are left out.
* A roll is `bars` bars of 4/4, 84 pitches from C1; notes outside are folded into them by octaves. With
  `steps_per_beat` 12 or 24 it is a roll of MuseGAN's (Dong et al., AAAI 2018): 4 x 48 or 4 x 96 steps.
* A piece is a track of the Million Song Dataset, the folder TR... that its files lie in, else the file. The first
  version of a piece by name is taken; a file that was matched to several pieces (one MD5, several folders) belongs to
  the first. A stable hash of the piece gives the split.
* Pieces take turns: a window of each, then a second one; there are `per_piece` of each, in the order of their hashes.
* Damaged files are passed over and counted in a warning, up to 5 % of those tried.

Raffel, "Learning-Based Methods for Comparing Sequences ...", PhD thesis, Columbia University, 2016.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

from bench.api import Dataset, Needs, Rolls
from bench.errors import DataError, UsageError, unknown
from bench.files import printable
from bench.notes.midi import MIDI_SUFFIXES
from bench.notes.pianorolls import read_pianorolls
from bench.notes.rolls import Notes, quantised
from bench.notes.windows import (
    BEATS,
    PROGRAMS,
    TRACKS,
    Window,
    cut,
    families,
    in_split,
    read_piece,
    require_sizes,
    rolls_in_turn,
    windows_of,
)

FOLDERS = ("lpd_5", "lpd_5_cleansed", "lmd_matched", "lmd_full")
SHARES = {"train": 0.8, "validation": 0.9, "test": 1.0}  # upper ends of the hash, 0..1
MOST_DAMAGED = 0.05  # of the files tried
SHOWN = 3  # damaged files that an error names
SOURCE = "https://salu133445.github.io/lakh-pianoroll-dataset or https://colinraffel.com/projects/lmd"
_PIECE = re.compile(r"TR[A-Z0-9]{16}")


@dataclass(frozen=True)
class Lakh(Dataset[Rolls]):
    """Windows of Lakh's pieces; groups are pieces.

    Attributes:
        path: the folder of files; "" looks in `$BENCH_DATA`.
        bars: of one roll.
        steps_per_beat: steps a quarter note.
        per_piece: the most windows of a piece.
        rolls, validation_rolls, test_rolls: sizes of the splits, 0 for all windows.

    Raises:
        UsageError: a parameter is out of range.
        DataError: on loading; files are missing, more than 5 % of them damaged, or a split has too few windows.
    """

    version = 1
    domains = ("midi",)
    needs = Needs(memory_gb=8.0)
    paper = "Raffel 2016; Dong et al., MuseGAN, AAAI 2018"
    presets = {
        "smoke": {"rolls": 80, "validation_rolls": 24, "test_rolls": 32},
        "full": {"steps_per_beat": 12, "rolls": 4096, "validation_rolls": 512, "test_rolls": 1024},
    }

    path: str = ""
    bars: int = 4
    steps_per_beat: int = 4
    per_piece: int = 2
    rolls: int = 320
    validation_rolls: int = 64
    test_rolls: int = 128

    def __post_init__(self) -> None:
        require_sizes(self.bars, self.steps_per_beat, self.rolls, self.validation_rolls, self.test_rolls)
        if self.per_piece < 1:
            raise UsageError(f"per_piece = {self.per_piece}, expected 1 or more")

    def load(self, split: str) -> Rolls:
        """Load one split.

        Args:
            split: "train", "validation" or "test".

        Returns:
            Rolls [roll, 5 tracks, bars * 4 * steps_per_beat, 84 pitches from C1].
        """
        if split not in SHARES:
            raise DataError(unknown("split of Lakh", split, SHARES))
        size = {"train": self.rolls, "validation": self.validation_rolls, "test": self.test_rolls}[split]
        root, files = self._files()
        pieces: list[list[Window]] = []
        damaged: list[str] = []
        file_count = 0
        for piece in in_split(files, str, SHARES, split):
            file_count += 1
            try:
                windows = self._windows(root / files[piece], piece)
            except DataError as error:
                damaged.append(str(error))
                continue
            if windows:
                pieces.append(windows)
            if size and len(pieces) == size:  # no more files are read than that takes
                break
        _report_damaged(root, damaged, file_count)
        return rolls_in_turn(
            pieces, size, self.bars, self.steps_per_beat, TRACKS, PROGRAMS,
            split=split, source=str(root), unit="files",
        )  # fmt: skip

    def inventory(self) -> dict[str, str]:
        """Say whether the files are here."""
        try:
            root = self._root()
        except DataError as error:
            return {"files": str(error)}
        return {f"files in {root}": ""}

    def fingerprint(self) -> str:
        """Digest the names of all files, most of which are MD5 sums of their content; "" where there are none."""
        try:
            return hashlib.sha256(os.fsencode("\n".join(self._files()[1].values()))).hexdigest()[:16]
        except DataError:
            return ""

    def _root(self) -> Path:
        """Find the folder of files. Raises `DataError` where there is none."""
        data = os.environ.get("BENCH_DATA", "")
        if not (self.path or data):
            raise DataError(f"Lakh: BENCH_DATA is not set; download files from {SOURCE}, then set it or give path")
        folders = [Path(self.path).expanduser()] if self.path else [Path(data) / name for name in FOLDERS]
        root = next((folder for folder in folders if folder.is_dir()), None)
        if root is None:
            expected = f"{folders[0]} (from path)" if self.path else f"{', '.join(FOLDERS)} in {data} (from BENCH_DATA)"
            raise DataError(f"Lakh: no folder {expected}; download files from {SOURCE}")
        return root

    def _files(self) -> tuple[Path, dict[str, str]]:
        """Return the root, and piece -> file in order of the paths: .npz files where there are any, else MIDI files."""
        root = self._root()
        names = sorted(
            (Path(folder) / name).relative_to(root).as_posix()
            for folder, _, file_names in os.walk(root, onerror=_refuse)
            for name in file_names
        )
        rolls = [name for name in names if name.endswith(".npz")]
        files: dict[str, str] = {}
        matched_stems: set[str] = set()
        for name in rolls or [name for name in names if name.lower().endswith(MIDI_SUFFIXES)]:
            path = Path(name)
            match = _PIECE.fullmatch(path.parent.name)
            if match is None or path.stem not in matched_stems:
                files.setdefault(path.parent.name if match else printable(path.with_suffix("").as_posix()), name)
            if match:
                matched_stems.add(path.stem)
        if not files:
            raise DataError(f"{root}: no .npz or MIDI files in it; download them from {SOURCE}")
        return root, files

    def _windows(self, file: Path, piece: str) -> list[Window]:
        """Cut the first `per_piece` windows of a file, by hash, in which something sounds."""
        notes, tempo = (_from_rolls if file.suffix == ".npz" else _from_midi)(file, self.steps_per_beat)
        notes = cut(notes, self.bars * BEATS * self.steps_per_beat)
        return windows_of(notes, piece, tempo, 4, self.per_piece)


def _refuse(error: OSError) -> None:
    """Raise a `DataError` for a folder that cannot be read, whose files would be left out silently."""
    raise DataError(f"{printable(error.filename)}: {error.strerror}") from error


def _report_damaged(root: Path, damaged: list[str], file_count: int) -> None:
    """Warn about a few damaged files, or raise a `DataError` for many."""
    if damaged:
        more = f"; and {len(damaged) - SHOWN} more" if len(damaged) > SHOWN else ""
        text = f"{root}: {len(damaged)} of {file_count} files cannot be used: {'; '.join(damaged[:SHOWN])}{more}"
        if len(damaged) > MOST_DAMAGED * file_count:
            raise DataError(f"{text} (more than {MOST_DAMAGED:.0%})")
        warnings.warn(text, stacklevel=3)


def _from_midi(file: Path, steps_per_beat: int) -> tuple[Notes, float]:
    """Read notes in the five tracks from the first bar with notes on, and the tempo; none unless in 4/4."""
    score = read_piece(file)
    notes = quantised(score, steps_per_beat)
    if score.beats_per_bar != BEATS:
        return notes[notes.roll < 0], score.tempo
    bar = BEATS * steps_per_beat
    first = int(notes.start.min()) // bar * bar
    track = families([part.program for part in score.parts])[notes.track]
    return replace(notes, track=track, start=notes.start - first), score.tempo


def _from_rolls(file: Path, steps_per_beat: int) -> tuple[Notes, float]:
    """Read notes in the five tracks from the bar of the first one on, and the tempo."""
    rolls = read_pianorolls(file)
    notes, bar = rolls.notes, BEATS * rolls.steps_per_beat
    origin = rolls.downbeat + (int(notes.start.min()) - rolls.downbeat) // bar * bar
    start, stop = (
        (2 * (steps - origin) * steps_per_beat + rolls.steps_per_beat).div(
            2 * rolls.steps_per_beat, rounding_mode="floor"
        )
        for steps in (notes.start, notes.end)
    )
    track = families(rolls.programs)[notes.track]
    return replace(notes, track=track, start=start, duration=(stop - start).clamp(min=1)), rolls.tempo
