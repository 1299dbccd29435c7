"""The Free Spoken Digit Dataset: ten digits by six speakers, 3,000 recordings at 8 kHz.

Found at `$BENCH_DATA/fsdd/recordings` (or the parameter `path`); files are named `{digit}_{speaker}_{take}.wav`.

* `split_by` "take" is the official test split, takes 0-4; validation is takes 5-9, train 10-49. The speakers are the
  same in all three: it measures words, not new voices. A group is a speaker within a split.
* `split_by` "speaker" holds speakers out: two for the test, one for validation; three folds test each of the six once.
  A group is a speaker. Under a threat model published and granted clips are of the three other speakers, whatever the
  seed draws. With so few speakers an interval takes clips as independent (see `bench.results.crossed`), so it says how
  sure a number is for these two voices, not for others: run the three folds side by side.
* A clip is the first `seconds` of a recording; 20 of the 3,000 are longer than a second, the rest is padded.
* Peaks differ thirtyfold from speaker to speaker (0.02-0.67), so that one bound on the noise would drown some and spare
  others; each clip is therefore scaled to one `peak`, half of full scale. 0 leaves it as it is.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from bench.api import Clips, Dataset, Needs, check_range
from bench.errors import DataError, UsageError, unknown
from bench.sound.files import read
from bench.sound.resampling import resample

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
TAKES = {"test": range(5), "validation": range(5, 10), "train": range(10, 50)}
# Of each fold: the speakers of the test and of the validation set; the other three are for training.
FOLDS = (
    {"test": ("nicolas", "theo"), "validation": ("lucas",)},
    {"test": ("george", "jackson"), "validation": ("yweweler",)},
    {"test": ("lucas", "yweweler"), "validation": ("george",)},
)
ARCHIVE = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.tar.gz"
LARGEST = 100 << 20  # bytes of the archive; it has 16 MB
# SHA-256 of the lines "SHA-256-of-the-file  name\n", sorted by name.
RECORDINGS = "1801eae019c063377d98f831d3f93574f259475df7332bb0e3d1b080fb5e6959"


@dataclass(frozen=True)
class SpokenDigits(Dataset[Clips]):
    """Spoken digits; the class is the digit.

    Attributes:
        path: the folder of recordings; "" looks in `$BENCH_DATA`.
        split_by: "take", the official test split with the same speakers everywhere, or "speaker".
        fold: 0, 1 or 2, which speakers are held out by "speaker".
        takes, validation_takes, test_takes: recordings of each digit by each speaker, 0 for all.
        rate: samples a second; the recordings have 8000.
        seconds: length of a clip.
        peak: each recording is scaled to this peak; 0: its level is kept.
        download: fetch missing recordings.

    Raises:
        UsageError: a parameter is out of range.
        DataError: on loading; recordings are missing. Says where they were looked for and how to get them.
    """

    version = 2  # 2: a peak of 0.5, all training takes
    content = "speech"
    domains = ("audio",)
    needs = Needs()
    presets = {
        "smoke": {"takes": 10, "validation_takes": 2, "test_takes": 3},
        "full": {},  # `small` already holds every recording
    }
    threat = {
        "audio": {
            "smoke": {"published": 60, "granted": 20, "sizes": (30,)},
            "small": {"published": 120, "granted": 50, "sizes": (15, 30, 60), "steps_as": 720},
            "full": {"published": 120, "granted": 50},
        }
    }

    path: str = ""
    split_by: Literal["take", "speaker"] = "take"
    fold: int = 0
    takes: int = 0
    validation_takes: int = 0
    test_takes: int = 0
    rate: int = 8000
    seconds: float = 1.0
    peak: float = 0.5
    download: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.peak <= 1:
            raise UsageError(f"peak = {self.peak}, expected 0..1, such as 0.5")
        if self.fold not in range(len(FOLDS)):
            raise UsageError(f"fold = {self.fold}, expected 0 to {len(FOLDS) - 1}")
        check_range(self, "seconds", above=0)
        check_range(self, "rate", least=1)
        check_range(self, "takes", "validation_takes", "test_takes", least=0)

    def load(self, split: str) -> Clips:
        """Load one split.

        Args:
            split: "train", "validation" or "test".

        Returns:
            Clips [clip, 1, sample].
        """
        if split not in TAKES:
            raise DataError(unknown("split of the spoken digits", split, TAKES))
        folder = self._folder()
        names = list(self._names(split))
        missing = [name for name in names if not (folder / f"{name}.wav").is_file()]
        if missing:
            raise DataError(f"{folder}: {len(missing)} of {len(names)} recordings are missing, first {missing[0]}.wav")
        samples = round(self.seconds * self.rate)
        audio = torch.zeros(len(names), 1, samples)
        lengths = torch.zeros(len(names), dtype=torch.int64)
        for row, name in enumerate(names):
            sound, rate = read(folder / f"{name}.wav", audible=True)
            if sound.shape[0] != 1 or rate != 8000:
                raise DataError(f"{folder / name}.wav: {sound.shape[0]} channels at {rate} Hz, expected 1 at 8000")
            sound = resample(sound, rate, self.rate)[:, :samples]
            lengths[row] = sound.shape[1]
            audio[row, :, : sound.shape[1]] = sound
        if self.peak > 0:
            audio *= self.peak / audio.abs().amax((1, 2), keepdim=True)
        parts = [name.split("_") for name in names]
        suffix = f"-{split}" if self.split_by == "take" else ""
        return Clips(
            audio=audio.clamp(-1, 1),  # resampling may overshoot
            rate=self.rate,
            ids=tuple(names),
            groups=tuple(f"{speaker}{suffix}" for _, speaker, _ in parts),
            lengths=lengths,
            labels=torch.tensor([int(digit) for digit, _, _ in parts]),
            classes=CLASSES,
            texts=tuple(f"the word {CLASSES[int(digit)]}, spoken by {speaker}" for digit, speaker, _ in parts),
        )

    def inventory(self) -> dict[str, str]:
        """Say whether the recordings are here."""
        try:
            folder = self._folder()
        except DataError as error:
            return {"recordings": str(error)}
        return {f"recordings in {folder}": ""}

    def _names(self, split: str) -> Iterator[str]:
        """Yield names take by take, so that a smaller set holds every digit and speaker evenly."""
        count = {"train": self.takes, "validation": self.validation_takes, "test": self.test_takes}[split]
        by_take = self.split_by == "take"
        takes = TAKES[split] if by_take else range(50)
        if count < 0 or count > len(takes):
            raise UsageError(f"{count} takes of {split}, expected 0 (all) to {len(takes)}")
        for take in takes[: count or None]:
            for speaker in SPEAKERS if by_take else self._speakers(split):
                for digit in range(10):
                    yield f"{digit}_{speaker}_{take}"

    def _speakers(self, split: str) -> tuple[str, ...]:
        """The speakers of a split that holds speakers out."""
        fold = FOLDS[self.fold]
        held_out = (*fold["test"], *fold["validation"])
        return fold[split] if split in fold else tuple(speaker for speaker in SPEAKERS if speaker not in held_out)

    def _folder(self) -> Path:
        """Find or fetch the folder of recordings. Raises `DataError` where there is none."""
        root = os.environ.get("BENCH_DATA", "")
        if not (self.path or root):
            how = "set it to a folder of data sets (download = true then fetches them), or give path"
            raise DataError(f"spoken digits: BENCH_DATA is not set; {how}")
        folder = Path(self.path).expanduser() if self.path else Path(root) / "fsdd" / "recordings"
        if not folder.is_dir() and self.download:
            _fetch(folder, ARCHIVE)
        if not folder.is_dir():
            how = f"unpack {ARCHIVE} there, or set download = true"
            raise DataError(f"spoken digits: no folder {folder} (from {'path' if self.path else 'BENCH_DATA'}); {how}")
        return folder


def digest(folder: Path) -> str:
    """Digest a folder of recordings, as `RECORDINGS` states it."""
    sums = ((file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in sorted(folder.glob("*.wav")))
    return hashlib.sha256("".join(f"{value}  {name}\n" for name, value in sums).encode()).hexdigest()


def _fetch(folder: Path, address: str) -> None:
    """Download the archive and put its recordings at `folder`, all or nothing. Raises `DataError`."""
    import http.client
    import tarfile
    import tempfile
    import urllib.request

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary, tempfile.TemporaryFile() as archive:
            with urllib.request.urlopen(address, timeout=30) as source:
                while block := source.read(1 << 16):
                    archive.write(block)
                    if archive.tell() > LARGEST:
                        raise DataError(f"{address}: more than {LARGEST} bytes, expected about 16 MB; nothing was kept")
            archive.seek(0)
            unpacked = Path(temporary) / "recordings"
            unpacked.mkdir()
            with tarfile.open(fileobj=archive, mode="r:gz") as members:
                _unpack(members, unpacked)
            if (value := digest(unpacked)) != RECORDINGS:
                raise DataError(
                    f"{address}: the recordings have digest {value}, expected {RECORDINGS}; nothing was kept"
                )
            unpacked.rename(folder)
    except (OSError, EOFError, http.client.HTTPException, tarfile.TarError) as error:
        reason = str(error).replace("\n", " ") or type(error).__name__
        raise DataError(f"spoken digits could not be fetched from {address} to {folder}: {reason}") from error


def _unpack(members: Any, folder: Path) -> None:
    """Write plain files named like recordings, and nothing else, whatever paths the archive states."""
    pattern = re.compile(rf"recordings/(\d_(?:{'|'.join(SPEAKERS)})_\d{{1,2}}\.wav)$")
    for member in members:
        name = pattern.search(member.name)
        if name and member.isfile() and member.size < 1 << 20:
            (folder / name.group(1)).write_bytes(members.extractfile(member).read())
