"""A folder of your own audio or MIDI files, cut into clips or rolls.

* Labels are the names of the sub-folders, or the column of a table `labels.csv`: file,label[,group][,text], paths
  relative to the folder. A folder without either has no labels; that will do for a generator.
* Splits are sub-folders `train`, `validation` and `test` (labels lie below them), else a stable hash of the group: new
  files never move old ones. The group is the file, or what the table says: give one group to whatever must stay
  together, such as the tracks of an album.
* A long file is cut into clips one after the other. What remains at its end is kept from half a clip on, or if it is
  all there is; stretches of digital silence are left out. A clip is resampled by itself.
* MIDI is cut into rolls of `bars` times four quarter notes, from the first bar that has notes; empty ones are left out.
  Its tracks are gathered into five, as MuseGAN does: drums, piano, guitar, bass, strings (all others).
* Nothing outside the folder is read: links are refused, and so are paths in the table that leave it.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch

from bench.api import Clips, Data, Dataset, Needs, Rolls
from bench.errors import DataError, UsageError, unknown
from bench.notes.midi import MIDI_SUFFIXES
from bench.notes.rolls import grid, notes_of, read_midi
from bench.notes.windows import PROGRAMS, TRACKS, cut, families, stacked
from bench.sound.files import AUDIO_SUFFIXES, blocks, info, resample

SPLITS = ("train", "validation", "test")
COLUMNS = ("file", "label", "group", "text")
SILENCE = 1e-5  # peak; a third of a step of 16 bits
STEPS_PER_BEAT = 4
SHOWN = 3  # unreadable files that an error names


@dataclass(frozen=True)
class Folder(Dataset[Data]):
    """The files under `path`. `limit` bounds the items of a split, 0: all; groups come in the order of their hashes.

    Raises `DataError` that names the first files that cannot be read, why, and how many there are.
    """

    version = 1
    domains = ("audio", "midi")
    needs = Needs(memory_gb=4.0)
    presets = {"smoke": {"seconds": 2.0, "limit": 32}, "full": {"limit": 0}}

    path: str = ""
    domain: Literal["audio", "midi"] = "audio"
    table: str = "labels.csv"  # used where it is there
    rate: int = 16000  # samples a second
    channels: int = 1  # 1: the mean of a file's channels; 2: mono is doubled
    seconds: float = 4.0  # of one clip
    bars: int = 4  # of one roll
    limit: int = 500
    validation: float = 0.15  # shares of the groups, where no sub-folders split them
    test: float = 0.15

    def __post_init__(self) -> None:
        if self.channels not in (1, 2):
            raise UsageError(f"channels = {self.channels}, expected 1 or 2")
        if self.seconds <= 0 or self.rate < 1 or self.bars < 1 or self.limit < 0:
            raise UsageError("seconds, rate and bars must be more than 0, limit at least 0")
        if min(self.validation, self.test) < 0 or self.validation + self.test >= 1:
            raise UsageError(
                f"validation = {self.validation}, test = {self.test}: expected shares, less than 1 together"
            )

    def fingerprint(self) -> str:
        """A digest of the local files."""
        root = Path(self.path).expanduser()
        return _digest(root) if self.path and root.is_dir() else ""

    def load(self, split: str) -> Clips | Rolls:
        """split: "train", "validation" or "test". Groups are files or the table's; classes are in alphabetic order."""
        if split not in SPLITS:
            raise DataError(unknown("split of the folder", split, SPLITS))
        entries = self._entries()
        chosen = sorted(
            (entry for entry in entries if entry.split == split), key=lambda entry: (_hash(entry.group), entry.file)
        )
        if not chosen:
            groups = len({entry.group for entry in entries})
            how = "add files, raise the share, or make sub-folders train, validation and test"
            raise DataError(f"{self.path}: none of the {groups} groups falls to {split}; {how}")
        classes = tuple(sorted({entry.label for entry in entries if entry.label is not None}))
        return self._clips(chosen, classes) if self.domain == "audio" else self._rolls(chosen, classes)

    def _entries(self) -> list[_Entry]:
        """Every file with its label, group, text and split."""
        if not self.path:
            raise UsageError("folder: give its path, such as --set dataset.path=my-songs")
        root = Path(self.path).expanduser()
        if not root.is_dir():
            raise DataError(f"{root}: no such folder")
        suffixes = AUDIO_SUFFIXES if self.domain == "audio" else MIDI_SUFFIXES
        files = {file: None for file in sorted(_files(root)) if PurePosixPath(file).suffix.lower() in suffixes}
        if not files:
            raise DataError(f"{root}: no files of {self.domain} in it ({' '.join(suffixes)})")
        rows = self._table(root, files)
        by_folder = _split_by_folder(root, list(rows or files))
        entries = [self._entry(root, file, None if rows is None else rows[file], by_folder) for file in rows or files]
        labelled = [entry.label is not None for entry in entries]
        if any(labelled) and not all(labelled):
            odd = entries[labelled.index(False)].file
            raise DataError(f"{root}: '{odd}' has no label, but {sum(labelled)} other files have one")
        where: dict[str, str] = {}
        for entry in entries:
            if where.setdefault(entry.group, entry.split) != entry.split:
                raise DataError(f"{root}: group '{entry.group}' is in {where[entry.group]} and in {entry.split}")
        return entries

    def _entry(self, root: Path, file: str, row: dict[str, str] | None, by_folder: bool) -> _Entry:
        folders = PurePosixPath(file).parts[:-1]
        below = folders[1:] if by_folder else folders
        group = (row or {}).get("group") or PurePosixPath(file).with_suffix("").as_posix()
        label = row.get("label") if row is not None else "".join(below[:1])
        place = _hash(group)
        drawn = "test" if place < self.test else "validation" if place < self.test + self.validation else "train"
        return _Entry(
            root / file, file, label or None, group, (row or {}).get("text", ""), folders[0] if by_folder else drawn
        )

    def _table(self, root: Path, files: dict[str, None]) -> dict[str, dict[str, str]] | None:
        """file -> its row, or None where there is no table."""
        path = _inside(root, self.table, "the table")
        if not path.is_file():
            if self.table != "labels.csv":
                raise DataError(f"{path}: no such table")
            return None
        try:
            with path.open(newline="", encoding="utf-8-sig") as text:
                reader = csv.DictReader(text)
                header = tuple(reader.fieldnames or ())
                if "file" not in header or not set(header) <= set(COLUMNS):
                    raise DataError(f"{path}: columns {','.join(header)}, expected file,label[,group][,text]")
                rows = list(reader)
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path}: not a table in UTF-8 that can be read ({error})") from error
        table: dict[str, dict[str, str]] = {}
        for number, row in enumerate(rows, start=2):
            if None in row or None in row.values():
                raise DataError(f"{path}: line {number} has not {len(header)} columns, as the first line has")
            file = PurePosixPath(row["file"]).as_posix()
            _inside(root, row["file"], f"{path}: line {number}")
            if file not in files:
                raise DataError(f"{path}: line {number} names '{row['file']}', which is no file of {self.domain} there")
            if file in table:
                raise DataError(f"{path}: line {number} names '{row['file']}' a second time")
            table[file] = row
        if not table:
            raise DataError(f"{path}: no rows, expected one a file")
        return table

    def _cut_audio(self, entry: _Entry) -> Iterator[_Piece]:
        """One file's clips, at the file's own rate."""
        rate = info(entry.path).rate
        samples = max(1, round(self.seconds * rate))
        kept = 0
        for number, block in enumerate(blocks(entry.path, samples)):
            if block.shape[0] > 2 and self.channels == 2:
                raise DataError(f"'{entry.path}' has {block.shape[0]} channels, expected 1 or 2")
            sound = block.mean(0, keepdim=True) if self.channels == 1 else block.expand(2, -1)
            if (2 * sound.shape[1] >= samples or number == 0) and float(sound.abs().max()) >= SILENCE:
                kept += 1
                yield _Piece(entry, number, sound, rate)
        if not kept:
            raise DataError(f"'{entry.path}' is silent, expected some sound")

    def _cut_midi(self, entry: _Entry) -> Iterator[_Piece]:
        """One file's windows, their notes moved to step 0 and gathered into the five tracks."""
        rolls = read_midi(entry.path, STEPS_PER_BEAT)
        notes = notes_of(rolls)
        window, bar = self.bars * 4 * STEPS_PER_BEAT, rolls.beats_per_bar * STEPS_PER_BEAT
        first = int(notes.start.min()) // bar * bar
        track = families(rolls.programs)[notes.track]
        moved = cut(replace(notes, track=track, start=notes.start - first), window)
        for number in sorted(set(moved.roll.tolist())):
            yield _Piece(entry, number, moved[moved.roll == number], rolls)

    def _taken(self, entries: list[_Entry], cut: Callable[[_Entry], Iterator[_Piece]]) -> list[_Piece]:
        """Up to `limit` pieces; the files that cannot be read are told together."""
        pieces: list[_Piece] = []
        failures: list[str] = []
        for entry in entries:
            try:
                for piece in cut(entry):
                    pieces.append(piece)
                    if len(pieces) == self.limit:
                        break
            except DataError as error:
                failures.append(str(error))
            if self.limit and len(pieces) >= self.limit:
                break
        if failures:
            more = f"; and {len(failures) - SHOWN} more" if len(failures) > SHOWN else ""
            share = f"{len(failures)} of the split's {len(entries)} files cannot be used"
            raise DataError(f"{self.path}: {share}: {'; '.join(failures[:SHOWN])}{more}")
        return pieces

    def _clips(self, entries: list[_Entry], classes: tuple[str, ...]) -> Clips:
        pieces = self._taken(entries, self._cut_audio)
        samples = round(self.seconds * self.rate)
        audio = torch.zeros(len(pieces), self.channels, samples)
        lengths = torch.zeros(len(pieces), dtype=torch.int64)
        for rate in sorted({piece.source for piece in pieces}):  # all clips of one rate at once
            rows = [row for row, piece in enumerate(pieces) if piece.source == rate]
            native = torch.zeros(len(rows), self.channels, max(pieces[row].content.shape[1] for row in rows))
            for place, row in enumerate(rows):
                native[place, :, : pieces[row].content.shape[1]] = pieces[row].content
            there = resample(native, rate, self.rate)[..., :samples].clamp(-1, 1)  # resampling may overshoot
            audio[rows, :, : there.shape[-1]] = there
            own = [round(pieces[row].content.shape[1] * self.rate / rate) for row in rows]
            lengths[rows] = torch.tensor(own).clamp(1, samples)
        audio *= torch.arange(samples) < lengths[:, None, None]
        return Clips(audio=audio, rate=self.rate, lengths=lengths, **_common(pieces, classes))

    def _rolls(self, entries: list[_Entry], classes: tuple[str, ...]) -> Rolls:
        pieces = self._taken(entries, self._cut_midi)
        steps = self.bars * 4 * STEPS_PER_BEAT
        notes = stacked([piece.content for piece in pieces])
        velocity, onset = grid(notes, len(pieces), len(TRACKS), steps)
        metres = {piece.source.beats_per_bar for piece in pieces}
        return Rolls(
            velocity=velocity,
            onset=onset,
            programs=PROGRAMS,
            lengths=torch.full((len(pieces),), steps),
            tempo=torch.cat([piece.source.tempo for piece in pieces]),
            steps_per_beat=STEPS_PER_BEAT,
            beats_per_bar=metres.pop() if len(metres) == 1 else 4,
            tracks=TRACKS,
            **_common(pieces, classes),
        )


@dataclass(frozen=True)
class _Entry:
    path: Path
    file: str  # relative to the root, with slashes
    label: str | None
    group: str
    text: str
    split: str


@dataclass(frozen=True)
class _Piece:
    entry: _Entry
    number: int  # of the cut within the file
    content: Any  # sound [channel, sample], or Notes
    source: Any  # the sound's rate, or the file's Rolls


def _common(pieces: list[_Piece], classes: tuple[str, ...]) -> dict[str, Any]:
    """What clips and rolls state alike: ids, groups, labels, texts."""
    entries = [piece.entry for piece in pieces]
    labels = [classes.index(entry.label) for entry in entries if entry.label is not None]
    return {
        "ids": tuple(f"{piece.entry.file}#{piece.number}" for piece in pieces),
        "groups": tuple(entry.group for entry in entries),
        "labels": torch.tensor(labels) if classes else None,
        "classes": classes,
        "texts": tuple(entry.text for entry in entries) if any(entry.text for entry in entries) else (),
    }


def _hash(name: str) -> float:
    """0..1, the same on every machine and for ever."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def _digest(root: Path) -> str:
    """Of names, sizes, and the first, middle and last 4096 bytes of every file: reading all may take minutes."""
    sha = hashlib.sha256()
    for file in sorted(_files(root)):
        size = (root / file).stat().st_size
        sha.update(f"{file} {size}\n".encode())
        with (root / file).open("rb") as data:
            for place in (0, max(0, size // 2 - 2048), max(0, size - 4096)):
                data.seek(place)
                sha.update(data.read(4096))
    return sha.hexdigest()[:16]


def _files(root: Path) -> Iterator[str]:
    """The files below the root, relative, with slashes; hidden ones are left out. Raises `DataError` at a link."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: {error.strerror}") from error

    for folder, folders, files in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in (*folders, *files):
            if (Path(folder) / name).is_symlink():
                raise DataError(f"{Path(folder) / name} is a link; links are refused, since they may lead anywhere")
        yield from ((Path(folder) / name).relative_to(root).as_posix() for name in files if not name.startswith("."))


def _inside(root: Path, name: str, what: str) -> Path:
    """The path below the root that a name states, or a `DataError` if it leads out of it or through a link."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or ".." in parts or PurePosixPath(name).is_absolute() or Path(name).is_absolute():
        raise DataError(f"{what} names '{name}', expected a path below {root}")
    path = root
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise DataError(f"{path} is a link; links are refused, since they may lead anywhere")
    return path


def _split_by_folder(root: Path, files: list[str]) -> bool:
    """Whether the top folders are the splits. Raises `DataError` where some are and others are not."""
    tops = {PurePosixPath(file).parts[0] if "/" in file else "." for file in files}
    if tops <= set(SPLITS):
        return True
    if len(tops & set(SPLITS)) > 1:
        odd = sorted(tops - set(SPLITS))[0]
        raise DataError(
            f"{root}: '{odd}' lies beside {' and '.join(sorted(tops & set(SPLITS)))}; expected only splits there"
        )
    return False
