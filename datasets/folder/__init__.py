"""A folder of your own audio or MIDI files, cut into clips or rolls.

* Labels are the names of the sub-folders, or the column of a table `labels.csv`: file,label[,group][,text], paths
  relative to the folder. A folder without either has no labels, which a generator does not need.
* Splits are sub-folders `train`, `validation` and `test` in any case, also called `valid`, `val` or `dev`, and `eval`;
  labels lie below them. Without `validation`, its share of the training groups is chosen by hash. Without such
  sub-folders a stable hash of the group splits: new files never move old ones. The group is the file, or what the
  table says: give one group to whatever must stay together, such as the tracks of an album.
* Files of other types are left out, with a warning that counts them.
* A long file is cut into consecutive clips. The rest at its end is used if it is at least half a clip, or the whole
  file; digital silence is left out. Each clip is resampled by itself.
* MIDI is cut into rolls of `bars` times four quarter notes, from the first bar that has notes; empty ones are left out.
  Tracks are merged into five, as in MuseGAN: drums, piano, guitar, bass, strings (all others).
* Nothing outside the folder is read: links are refused, and so are paths in the table that leave it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch

from bench.api import Clips, Data, Dataset, Needs, Rolls
from bench.errors import DataError, UsageError, unknown
from bench.files import printable
from bench.notes.midi import MIDI_SUFFIXES
from bench.notes.rolls import grid, notes_of, read_midi
from bench.notes.windows import PROGRAMS, TRACKS, cut, families, stacked
from bench.seeds import unit_hash
from bench.sound.files import AUDIO_SUFFIXES, blocks, info
from bench.sound.resampling import resample

from .listing import SPLITS, digest, read_table, split_folders, usable_files

SUFFIXES = {"audio": tuple(AUDIO_SUFFIXES), "midi": MIDI_SUFFIXES}
SILENCE = 1e-5  # peak; a third of a step of 16 bits
STEPS_PER_BEAT = 4
LONGEST_CLIP = 1 << 28  # samples: 1 GiB a clip
LONGEST_ROLL = 1 << 12  # bars
SHOWN = 3  # unreadable files that an error names


@dataclass(frozen=True)
class Folder(Dataset[Data]):
    """The files under `path`, cut into items.

    Attributes:
        path: the folder.
        domain: which files are read.
        table: path of the table of labels in the folder; `labels.csv` is read where it is there.
        rate: samples a second of the clips.
        channels: 1, the mean of a file's channels, or 2, where mono is doubled.
        seconds: length of a clip.
        bars: length of a roll, in bars of four quarter notes.
        limit: the most items of a split, 0: all. Groups come in the order of their hashes.
        validation, test: shares of the groups where no sub-folders split them.

    Raises:
        UsageError: a parameter is out of range.
        DataError: on loading; names the first files that cannot be read, why, and how many there are.
    """

    version = 1
    domains = ("audio", "midi")
    needs = Needs(memory_gb=4.0)
    presets = {"smoke": {"seconds": 2.0, "limit": 32}, "full": {"limit": 0}}

    path: str = ""
    domain: Literal["audio", "midi"] = "audio"
    table: str = "labels.csv"
    rate: int = 16000
    channels: int = 1
    seconds: float = 4.0
    bars: int = 4
    limit: int = 500
    validation: float = 0.15
    test: float = 0.15

    def __post_init__(self) -> None:
        if self.channels not in (1, 2):
            raise UsageError(f"channels = {self.channels}, expected 1 or 2")
        if not (self.rate >= 1 and 1 <= self.seconds * self.rate <= LONGEST_CLIP and 1 <= self.bars <= LONGEST_ROLL):
            values = f"seconds = {self.seconds}, rate = {self.rate}, bars = {self.bars}"
            raise UsageError(
                f"{values}: expected clips of 1 to {LONGEST_CLIP} samples, rolls of 1 to {LONGEST_ROLL} bars"
            )
        if self.limit < 0:
            raise UsageError(f"limit = {self.limit}, expected 0 (all) or more")
        if not (self.validation >= 0 and self.test >= 0 and self.validation + self.test < 1):
            raise UsageError(
                f"validation = {self.validation}, test = {self.test}: expected shares, less than 1 together"
            )

    def fingerprint(self) -> str:
        """Digest names, sizes and samples of the local files."""
        root = Path(self.path).expanduser()
        return digest(root) if self.path and root.is_dir() else ""

    def load(self, split: str) -> Clips | Rolls:
        """Load one split.

        Args:
            split: "train", "validation" or "test".

        Returns:
            Clips [clip, channel, sample] at `rate`, or rolls [roll, 5 tracks, step, 128 pitches] at four steps a beat.
            Groups are files or the table's; classes are in alphabetic order.

        Raises:
            DataError: the folder, its table or a file cannot be used, or nothing falls to the split.
        """
        if split not in SPLITS:
            raise DataError(unknown("split of the folder", split, SPLITS))
        entries = self._entries()
        split_entries = sorted(
            (entry for entry in entries if entry.split == split), key=lambda entry: (unit_hash(entry.group), entry.file)
        )
        if not split_entries:
            groups = len({entry.group for entry in entries})
            how = "add files, raise the share, or make sub-folders train, validation and test"
            raise DataError(f"{printable(self.path)}: none of the {groups} groups falls to {split}; {how}")
        classes = tuple(sorted({entry.label for entry in entries if entry.label is not None}))
        return self._clips(split_entries, classes) if self.domain == "audio" else self._rolls(split_entries, classes)

    def _entries(self) -> list[_Entry]:
        """List every file with its label, group, text and split."""
        if not self.path:
            raise UsageError("folder: give its path, such as --set dataset.path=my-songs")
        root = Path(self.path).expanduser()
        if not root.is_dir():
            raise DataError(f"{printable(root)}: no such folder")
        other_suffixes = {domain: suffixes for domain, suffixes in SUFFIXES.items() if domain != self.domain}
        files = usable_files(root, SUFFIXES[self.domain], other_suffixes, self.table)
        rows = read_table(root, self.table, set(files), needed=self.table != "labels.csv")
        splits = split_folders(root, list(rows or files), table=rows is not None)
        entries = [self._entry(root, file, None if rows is None else rows[file], splits) for file in rows or files]
        labelled = [entry.label is not None for entry in entries]
        if any(labelled) and not all(labelled):
            unlabelled = entries[labelled.index(False)].file
            raise DataError(f"{printable(root)}: '{unlabelled}' has no label, but {sum(labelled)} other files have one")
        split_of_group: dict[str, str] = {}
        for entry in entries:
            if split_of_group.setdefault(entry.group, entry.split) != entry.split:
                raise DataError(
                    f"{printable(root)}: group '{entry.group}' is in {split_of_group[entry.group]} and in {entry.split}"
                )
        if splits and "validation" not in splits.values():
            is_validation = [entry.split == "train" and unit_hash(entry.group) < self.validation for entry in entries]
            entries = [
                replace(e, split="validation") if chosen else e
                for e, chosen in zip(entries, is_validation, strict=True)
            ]
        return entries

    def _entry(self, root: Path, file: str, row: dict[str, str] | None, splits: dict[str, str]) -> _Entry:
        """Describe one file. splits: sub-folder -> split, empty where the hash decides."""
        folders = PurePosixPath(file).parts[:-1]
        label_folders = folders[1:] if splits else folders
        group = (row or {}).get("group") or printable(PurePosixPath(file).with_suffix("").as_posix())
        label = row.get("label") if row is not None else printable("".join(label_folders[:1]))
        split = splits[folders[0]] if splits else self._drawn(group)
        return _Entry(root / file, printable(file), label or None, group, (row or {}).get("text", ""), split)

    def _drawn(self, group: str) -> str:
        """Return the split that a group's hash decides."""
        share = unit_hash(group)
        return "test" if share < self.test else "validation" if share < self.test + self.validation else "train"

    def _cut_audio(self, entry: _Entry) -> Iterator[_Piece]:
        """Cut one file into clips, at the file's own rate."""
        rate = info(entry.path).rate
        samples = max(1, round(self.seconds * rate))
        clip_count = 0
        for number, block in enumerate(blocks(entry.path, samples)):
            if block.shape[0] > 2 and self.channels == 2:
                raise DataError(f"'{printable(entry.path)}' has {block.shape[0]} channels, expected 1 or 2")
            sound = block.mean(0, keepdim=True) if self.channels == 1 else block.expand(2, -1)
            if (2 * sound.shape[1] >= samples or number == 0) and float(sound.abs().max()) >= SILENCE:
                clip_count += 1
                yield _Piece(entry, number, sound, rate)
        if not clip_count:
            raise DataError(f"'{printable(entry.path)}' is silent, expected some sound")

    def _cut_midi(self, entry: _Entry) -> Iterator[_Piece]:
        """Cut one file into windows of five tracks, their notes moved to step 0."""
        rolls = read_midi(entry.path, STEPS_PER_BEAT)
        notes = notes_of(rolls)
        window, bar = self.bars * 4 * STEPS_PER_BEAT, rolls.beats_per_bar * STEPS_PER_BEAT
        first = int(notes.start.min()) // bar * bar
        track = families(rolls.programs)[notes.track]
        windows = cut(replace(notes, track=track, start=notes.start - first), window)
        for number in sorted(set(windows.roll.tolist())):
            yield _Piece(entry, number, windows[windows.roll == number], rolls)

    def _taken(self, entries: list[_Entry], cut: Callable[[_Entry], Iterator[_Piece]]) -> list[_Piece]:
        """Cut up to `limit` pieces; files that cannot be read are reported together."""
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
            raise DataError(f"{printable(self.path)}: {share}: {'; '.join(failures[:SHOWN])}{more}")
        return pieces

    def _clips(self, entries: list[_Entry], classes: tuple[str, ...]) -> Clips:
        """Assemble clips."""
        pieces = self._taken(entries, self._cut_audio)
        samples = round(self.seconds * self.rate)
        audio = torch.zeros(len(pieces), self.channels, samples)
        lengths = torch.zeros(len(pieces), dtype=torch.int64)
        for rate in sorted({piece.source for piece in pieces}):  # all clips of one rate at once
            rows = [row for row, piece in enumerate(pieces) if piece.source == rate]
            native = torch.zeros(len(rows), self.channels, max(pieces[row].content.shape[1] for row in rows))
            for slot, row in enumerate(rows):
                native[slot, :, : pieces[row].content.shape[1]] = pieces[row].content
            resampled = resample(native, rate, self.rate)[..., :samples].clamp(-1, 1)  # resampling may overshoot
            audio[rows, :, : resampled.shape[-1]] = resampled
            sizes = [round(pieces[row].content.shape[1] * self.rate / rate) for row in rows]
            lengths[rows] = torch.tensor(sizes).clamp(1, samples)
        audio *= torch.arange(samples) < lengths[:, None, None]
        return Clips(audio=audio, rate=self.rate, lengths=lengths, **_common(pieces, classes))

    def _rolls(self, entries: list[_Entry], classes: tuple[str, ...]) -> Rolls:
        """Assemble rolls."""
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
    """A file of the folder.

    Attributes:
        path: of the file.
        file: printable, relative to the root, with slashes.
        label: None where there is none.
        group: decides the split.
        text: "" where there is none.
        split: "train", "validation" or "test".
    """

    path: Path
    file: str
    label: str | None
    group: str
    text: str
    split: str


@dataclass(frozen=True)
class _Piece:
    """An item that was cut from a file.

    Attributes:
        entry: the file.
        number: of the piece within the file.
        content: audio [channel, sample], or notes.
        source: the audio's rate, or the file's rolls.
    """

    entry: _Entry
    number: int
    content: Any
    source: Any


def _common(pieces: list[_Piece], classes: tuple[str, ...]) -> dict[str, Any]:
    """Collect what clips and rolls have in common: ids, groups, labels, texts."""
    entries = [piece.entry for piece in pieces]
    labels = [classes.index(entry.label) for entry in entries if entry.label is not None]
    return {
        "ids": tuple(f"{piece.entry.file}#{piece.number}" for piece in pieces),
        "groups": tuple(entry.group for entry in entries),
        "labels": torch.tensor(labels) if classes else None,
        "classes": classes,
        "texts": tuple(entry.text for entry in entries) if any(entry.text for entry in entries) else (),
    }
