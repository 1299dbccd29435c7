"""POP909: performed piano arrangements of pop songs, in three tracks: melody, bridge, piano.

Looked for in `$BENCH_DATA/pop909` (or the parameter `path`), as `NNN.mid`, or as the original repository has them,
`POP909/NNN/NNN.mid`. Its archive has no stable checksum, so nothing is downloaded.

* The ticks of a file follow the tempo, but beats do not begin at tick 0: the sixteenths of a song lie at an offset of
  its own, its bars begin anywhere, and its time signatures (1/4, 2/4, 4/4) do not help. The offset of the sixteenths is
  estimated as the mean direction of all onsets on the circle of one sixteenth; the bar then begins at that of its 16
  sixteenths where the piano's notes that begin there last longest in total (a note counts for a bar at most). The
  estimate may take the middle of a bar for its beginning.
* Songs in 3/4 and 6/8 are left out, and songs of which more than a tenth of the onsets lie more than a quarter of a
  sixteenth off that grid: their tempo drifts.
* A roll is `bars` whole bars of 4/4. The velocities are those of the performance. Notes outside C1..B7 are folded into
  it by octaves; songs 001-300 have none. The tempo is the song's, the one that keeps its duration.
* A stable hash of the song's number gives the split. Songs take turns: a window of each, then a second one, the windows
  of a song in the order of their hashes.

Wang et al., "POP909: A Pop-song Dataset for Music Arrangement Generation", ISMIR 2020.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from bench.api import Dataset, Needs, Rolls
from bench.errors import DataError, unknown
from bench.files import printable
from bench.notes.midi import Score
from bench.notes.rolls import quantised
from bench.notes.windows import BEATS, Window, cut, in_split, read_piece, require_sizes, rolls_in_turn, windows_of

TRACKS = ("melody", "bridge", "piano")
SHARES = {"train": 0.7, "validation": 0.85, "test": 1.0}  # upper ends of the hash, 0..1
OTHER_METRES = ((3, 4), (6, 8))
MOST_OFF = 0.1  # share of onsets off the grid
SOURCE = "https://github.com/music-x-lab/POP909-Dataset"


@dataclass(frozen=True)
class Pop909(Dataset[Rolls]):
    """Windows of performed pop songs; groups are songs.

    Attributes:
        path: the folder of songs; "" looks in `$BENCH_DATA`.
        bars: of one roll.
        steps_per_beat: steps a quarter note.
        rolls, validation_rolls, test_rolls: sizes of the splits, 0 for all windows.

    Raises:
        UsageError: a parameter is out of range.
        DataError: on loading; songs are missing or cannot be used, or a split has too few windows.
    """

    version = 1
    domains = ("midi",)
    needs = Needs(memory_gb=4.0)
    paper = "Wang et al., POP909, ISMIR 2020"
    presets = {
        "smoke": {"rolls": 80, "validation_rolls": 24, "test_rolls": 32},
        "full": {"rolls": 0, "validation_rolls": 0, "test_rolls": 0},
    }

    path: str = ""
    bars: int = 4
    steps_per_beat: int = 4
    rolls: int = 320
    validation_rolls: int = 64
    test_rolls: int = 128

    def __post_init__(self) -> None:
        require_sizes(self.bars, self.steps_per_beat, self.rolls, self.validation_rolls, self.test_rolls)

    def load(self, split: str) -> Rolls:
        """Load one split.

        Args:
            split: "train", "validation" or "test".

        Returns:
            Rolls [roll, 3 tracks, bars * 4 * steps_per_beat, 84 pitches from C1].
        """
        if split not in SHARES:
            raise DataError(unknown("split of POP909", split, SHARES))
        size = {"train": self.rolls, "validation": self.validation_rolls, "test": self.test_rolls}[split]
        songs: list[list[Window]] = []
        for file in self._files(split):
            if windows := self._windows(file):
                songs.append(windows)
            if size and len(songs) == size:  # no more songs are read than that takes
                break
        return rolls_in_turn(
            songs, size, self.bars, self.steps_per_beat, TRACKS, (0,) * len(TRACKS),
            split=split, source="POP909", unit="songs",
        )  # fmt: skip

    def inventory(self) -> dict[str, str]:
        """Say whether the songs are here."""
        try:
            songs = len(self._songs())
        except DataError as error:
            return {"songs": str(error)}
        return {f"{songs} songs in {self._folder()}": ""}

    def fingerprint(self) -> str:
        """Digest the songs' names and sizes; "" where there are none."""
        try:
            lines = [f"{printable(file.name)} {file.stat().st_size}" for file in self._songs()]
        except (DataError, OSError):
            return ""
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def _files(self, split: str) -> list[Path]:
        """List the songs of a split, in the order of their hashes."""
        return in_split(self._songs(), lambda file: file.stem, SHARES, split)

    def _songs(self) -> list[Path]:
        """List all songs. Raises `DataError` where there are none."""
        folder = self._folder()
        files = list(folder.glob("*.mid")) or [file for file in folder.rglob("*.mid") if file.stem == file.parent.name]
        if not files:
            setting = "path" if self.path else "BENCH_DATA"
            raise DataError(f"POP909: no songs in {folder} (from {setting}); download them from {SOURCE}")
        return sorted(files, key=lambda file: file.stem)

    def _folder(self) -> Path:
        """Return the folder of songs. Raises `DataError` where none is named."""
        root = os.environ.get("BENCH_DATA", "")
        if not (self.path or root):
            raise DataError(
                f"POP909: BENCH_DATA is not set; download the songs from {SOURCE}, then set it or give path"
            )
        return Path(self.path).expanduser() if self.path else Path(root) / "pop909"

    def _windows(self, file: Path) -> list[Window]:
        """Cut the whole windows of a song in which something sounds, in the order of their hashes."""
        score = read_piece(file)
        track = _tracks(score)
        if _metre(score) in OTHER_METRES:
            return []
        origin, off_share = bar_line(score, track)
        if off_share > MOST_OFF:
            return []
        notes = quantised(score, self.steps_per_beat, origin)
        bar = BEATS * self.steps_per_beat
        window_count = -(-int(notes.end.max()) // bar) // self.bars
        notes = cut(replace(notes, track=track[notes.track]), self.bars * bar)
        return windows_of(notes[notes.roll < window_count], printable(file.stem), score.tempo, 3)


def bar_line(score: Score, track: Tensor) -> tuple[int, float]:
    """Estimate where bars begin.

    Args:
        score: a song.
        track: int64 [part], an index into `TRACKS`.

    Returns:
        The tick of a bar line before the first note, perhaps below 0, and the share of onsets that are off the grid.
    """
    part, begin, end = score.notes[:, :3].unbind(1)
    onset, step = begin.double(), score.ticks_per_beat / 4
    turn = onset * (2 * math.pi / step)
    phase = float(torch.atan2(turn.sin().mean(), turn.cos().mean())) * step / (2 * math.pi)
    position = (onset - phase) / step
    off_share = float(((position - position.round()).abs() > 0.25).double().mean())
    length = (end - begin).clamp(max=16 * round(step)).double()
    weight = length * (track[part] == TRACKS.index("piano"))
    first = int(torch.bincount(position.round().long() % 16, weight, minlength=16).argmax())
    line = phase + first * step
    bar = 16 * step
    return round(line - bar * math.ceil((line - float(onset.min())) / bar)), off_share


def _tracks(score: Score) -> Tensor:
    """Match parts to `TRACKS`: int64 [part]. Raises `DataError` where a part is none of them."""
    names = [name.strip().lower() for name in score.names]
    if unknown_names := [name for name in names if name not in TRACKS]:
        raise DataError(
            f"{printable(score.path)}: a track is called '{unknown_names[0]}', expected {', '.join(TRACKS)}"
        )
    return torch.tensor([TRACKS.index(name) for name in names])


def _metre(score: Score) -> tuple[int, int]:
    """Return numerator and denominator of the first time signature, 4/4 where there is none."""
    return score.metres[0] if score.metres else (4, 4)
