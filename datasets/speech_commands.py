"""Google's Speech Commands v0.02: single words by thousands of speakers, a second at 16 kHz.

In torchaudio's layout, `SpeechCommands/speech_commands_v0.02/WORD/SPEAKER_nohash_TAKE.wav`, below `$BENCH_DATA` or the
parameter `path`, which may also be one of these two folders itself.

* Splits are the official lists in the archive, `validation_list.txt` and `testing_list.txt`; all else is training. The
  test set is thus the 11,005 recordings of `testing_list.txt`, not the separate archive
  `speech_commands_test_set_v0.02` of the challenge, 4,890 with "unknown" and "silence". Scores on the two differ.
* A group is a speaker, the hash before `_nohash_`. The lists keep speakers apart; this is checked at every load.
* `words` is 35 (all), 13, or their names. "Dynamic Epsilon applied Masks in Unlearnable Audio" takes thirteen without
  naming them; ours are the first thirteen in alphabetical order, so its counts are not those of this subset.
* A limit takes the recordings whose names have the smallest hashes, word by word: as good as drawn, and stable.
* Recording levels differ, so each clip is scaled to one `peak`; 0 leaves it as it is.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from bench.api import Clips, Dataset, Needs
from bench.errors import DataError, UsageError, unknown
from bench.sound.files import read

WORDS = (
    "backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go", "happy",
    "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven", "sheila", "six", "stop",
    "three", "tree", "two", "up", "visual", "wow", "yes", "zero",
)  # fmt: skip
RATE = 16000
FOLDER = Path("SpeechCommands") / "speech_commands_v0.02"
LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
SPLITS = ("train", "validation", "test")
ARCHIVE = "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz"
# As torchaudio publishes it.
SHA256 = "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
LARGEST = 3 << 30  # bytes of the archive; it has 2.4 GB
# The first 40 bytes of a WAV file of one channel, 16 bits, 16 kHz; bytes 4-7 hold a size.
_HEADER = b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16) + b"data"
_RECORDING = re.compile(r"([0-9a-f]+)_nohash_\d+\.wav")


@dataclass(frozen=True)
class SpeechCommands(Dataset[Clips]):
    """Spoken commands; the class is the word.

    Attributes:
        path: the folder of the words, or one above it; "" looks in `$BENCH_DATA`.
        words: 13 (the first in alphabetical order), 35 (all), or their names.
        limit, validation_limit, test_limit: recordings of each word, 0 for all.
        peak: each recording is scaled to this peak; 0: its level is kept.
        download: fetch missing recordings, 2.4 GB.

    Raises:
        UsageError: a parameter is out of range.
        DataError: on loading; recordings are missing or cannot be used. Names the file, or says how to get them.
    """

    version = 1
    content = "speech"
    domains = ("audio",)
    needs = Needs(memory_gb=4.0)  # thirteen words whole; all 35 take 6 GB
    presets = {
        "smoke": {"limit": 20, "validation_limit": 5, "test_limit": 10},
        "full": {"limit": 0, "validation_limit": 0, "test_limit": 0},
    }

    path: str = ""
    words: Literal[13, 35] | tuple[str, ...] = 13
    limit: int = 200
    validation_limit: int = 30
    test_limit: int = 30
    peak: float = 0.5
    download: bool = False

    def __post_init__(self) -> None:
        for word in self._words():
            if word not in WORDS:
                raise UsageError(unknown("word of Speech Commands", word, WORDS))
        if len(set(self._words())) < max(2, len(self._words())):
            raise UsageError(f"words = {', '.join(self._words()) or 'none'}: expected two or more different ones")
        for name in ("limit", "validation_limit", "test_limit"):
            if getattr(self, name) < 0:
                raise UsageError(
                    f"{name} = {getattr(self, name)}, expected 0 (all) or recordings of each word, such as 30"
                )
        if not 0 <= self.peak <= 1:
            raise UsageError(f"peak = {self.peak}, expected 0..1, such as 0.5")

    def load(self, split: str) -> Clips:
        """Load one split.

        Args:
            split: "train", "validation" or "test".

        Returns:
            Clips [clip, 1, 16000].
        """
        if split not in SPLITS:
            raise DataError(unknown("split of Speech Commands", split, SPLITS))
        folder = self._folder()
        names = self._chosen(folder, split)
        audio = torch.zeros(len(names), 1, RATE)
        lengths = torch.zeros(len(names), dtype=torch.int64)
        for row, name in enumerate(names):
            sound = _sound(folder / name)[:RATE]
            lengths[row] = len(sound)
            audio[row, 0, : len(sound)] = sound
        if self.peak > 0:
            low, high = audio.aminmax(dim=2, keepdim=True)  # `abs` would hold all recordings twice
            audio *= self.peak / torch.maximum(-low, high)
        words = self._words()
        parts = [name.removesuffix(".wav").split("/") for name in names]
        return Clips(
            audio=audio,
            rate=RATE,
            ids=tuple(f"{word}/{take}" for word, take in parts),
            groups=tuple(_speaker(name) for name in names),
            lengths=lengths,
            labels=torch.tensor([words.index(word) for word, _ in parts]),
            classes=words,
            texts=tuple(f"the word {word}" for word, _ in parts),
        )

    def inventory(self) -> dict[str, str]:
        """Say whether the recordings are here."""
        try:
            folder = self._words_folder()
        except DataError as error:
            return {"recordings": str(error)}
        return {f"recordings in {folder}": ""}

    def fingerprint(self) -> str:
        """Digest names, sizes and times of the lists and the words' folders; "" where there are none."""
        try:
            folder = self._words_folder()
            states = [(folder / name).stat() for name in (*LISTS.values(), *self._words())]
        except (DataError, OSError):
            return ""
        lines = [f"{state.st_size} {state.st_mtime_ns}" for state in states]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def _words(self) -> tuple[str, ...]:
        """Return the chosen words."""
        return WORDS[: self.words] if isinstance(self.words, int) else self.words

    def _chosen(self, folder: Path, split: str) -> list[str]:
        """Choose names relative to the folder, word by word in turn, so that the first n hold all words evenly."""
        limit = {"train": self.limit, "validation": self.validation_limit, "test": self.test_limit}[split]
        recordings = _recordings_by_split(folder, self._words())
        ranked_names = []
        for word in self._words():
            word_names = [name for name in recordings[split] if name.startswith(f"{word}/")]
            if not word_names:
                raise DataError(f"{folder}: no recording of '{word}' falls to {split}; expected the lists of v0.02")
            word_names.sort(key=lambda name: hashlib.sha256(name.encode()).digest())
            ranked_names += [(rank, name) for rank, name in enumerate(word_names[: limit or None])]
        return [name for _, name in sorted(ranked_names, key=lambda pair: pair[0])]

    def _words_folder(self) -> Path:
        """Find the folder of the words. Raises `DataError` where there is none."""
        root = self._root()
        for folder in (root, root / FOLDER.name, root / FOLDER):
            if (folder / LISTS["test"]).is_file():
                return folder
        setting = "path" if self.path else "BENCH_DATA"
        how = f"unpack {ARCHIVE} there, or set download = true"
        raise DataError(f"speech commands: no {LISTS['test']} in {root / FOLDER} (from {setting}); {how}")

    def _folder(self) -> Path:
        """Find or fetch the folder of the words. Raises `DataError` where there is none."""
        try:
            return self._words_folder()
        except DataError:
            root = self._root()
            if not self.download:
                raise
        _fetch(root / FOLDER, ARCHIVE)
        return self._words_folder()

    def _root(self) -> Path:
        """Return the folder to look in. Raises `DataError` where none is named."""
        root = self.path or os.environ.get("BENCH_DATA", "")
        if not root:
            how = "set it to a folder of data sets (download = true then fetches them), or give path"
            raise DataError(f"speech commands: BENCH_DATA is not set; {how}")
        return Path(root).expanduser()


def _sound(file: Path) -> Tensor:
    """Read a recording: float32 [sample]. Raises `DataError` if it is damaged, silent, or not mono at 16 kHz."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read '{file}': {error.strerror or error}") from error
    # The form that every file of the archive should have is read many times quicker than libsndfile can.
    size = len(data) - len(_HEADER) - 4
    is_plain = data[:4] == b"RIFF" and data[8:40] == _HEADER[8:] and data[40:44] == size.to_bytes(4, "little")
    if is_plain and size % 2 == 0 and size > 0:
        samples = torch.frombuffer(bytearray(data[44:]), dtype=torch.int16)
        if samples.any():
            return samples / 32768
    sound, rate = read(file, audible=True)
    if sound.shape[0] != 1 or rate != RATE:
        raise DataError(f"{file}: {sound.shape[0]} channels at {rate} Hz, expected 1 at {RATE}")
    return sound[0]


def _speaker(name: str) -> str:
    """Return the speaker that a recording's name states."""
    return name.rsplit("/", 1)[1].split("_nohash_")[0]


def _recordings_by_split(folder: Path, words: tuple[str, ...]) -> dict[str, list[str]]:
    """List the recordings of the words by split. Raises `DataError` where lists and files contradict each other."""
    recordings: dict[str, list[str]] = {"train": []}
    listed: set[str] = set()
    for split, file in LISTS.items():
        try:
            lines = (folder / file).read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{folder / file} cannot be read: {getattr(error, 'strerror', '') or error}") from error
        recordings[split] = []
        for line in lines:
            word, _, take = line.partition("/")
            if word not in WORDS or not _RECORDING.fullmatch(take):
                raise DataError(f"{folder / file}: '{line[:80]}', expected WORD/SPEAKER_nohash_TAKE.wav")
            if word in words:
                recordings[split].append(line)
        listed.update(recordings[split])
    present: set[str] = set()
    for word in words:
        if not (folder / word).is_dir():
            raise DataError(f"{folder}: no folder '{word}', expected the words of v0.02")
        takes = [name for name in os.listdir(folder / word) if name.endswith(".wav")]
        misnamed = [take for take in takes if not _RECORDING.fullmatch(take)]
        if misnamed:
            raise DataError(f"{folder / word / min(misnamed)}: expected a name like SPEAKER_nohash_TAKE.wav")
        present.update(f"{word}/{take}" for take in takes)
    if missing := sorted(listed - present):
        raise DataError(f"{folder}: {len(missing)} of {len(listed)} listed recordings are missing, first {missing[0]}")
    recordings["train"] = sorted(present - listed)
    split_of_speaker: dict[str, str] = {}
    for split, names in recordings.items():
        for name in names:
            if split_of_speaker.setdefault(_speaker(name), split) != split:
                splits = f"{split_of_speaker[_speaker(name)]} and in {split}"
                raise DataError(
                    f"{folder}: speaker {_speaker(name)} is in {splits}, such as {name}; expected one split"
                )
    return recordings


def _fetch(folder: Path, address: str) -> None:
    """Download the archive and unpack it at `folder`, all or nothing. Raises `DataError`."""
    import http.client
    import tarfile
    import tempfile
    import urllib.request

    if folder.exists():
        raise DataError(f"speech commands: {folder} is there without its lists; move it away before it is fetched")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=folder.parent) as temporary,
            tempfile.TemporaryFile(dir=folder.parent) as archive,
        ):
            sha = hashlib.sha256()
            with urllib.request.urlopen(address, timeout=30) as source:
                while block := source.read(1 << 20):
                    archive.write(block)
                    sha.update(block)
                    if archive.tell() > LARGEST:
                        raise DataError(f"{address}: more than {LARGEST} bytes, expected 2.4 GB; nothing was kept")
            if sha.hexdigest() != SHA256:
                raise DataError(f"{address}: SHA-256 is {sha.hexdigest()}, expected {SHA256}; nothing was kept")
            archive.seek(0)
            unpacked = Path(temporary) / folder.name
            unpacked.mkdir()
            with tarfile.open(fileobj=archive, mode="r:gz") as members:
                _unpack(members, unpacked, address)
            unpacked.rename(folder)
    except (OSError, EOFError, http.client.HTTPException, tarfile.TarError) as error:
        reason = str(error).replace("\n", " ") or type(error).__name__
        raise DataError(f"speech commands could not be fetched from {address} to {folder}: {reason}") from error


def _unpack(members: Any, folder: Path, address: str) -> None:
    """Write plain files, at most one folder deep. Raises `DataError` at a link or a path that could lead elsewhere."""
    import shutil

    for member in members:
        parts = member.name.removeprefix("./").split("/")
        if member.isdir():
            continue
        is_plain = all(re.fullmatch(r"\w[\w.-]*", part) for part in parts)
        if not (member.isfile() and is_plain and len(parts) <= 2):
            raise DataError(f"{address}: refused '{member.name}' in it, expected WORD/FILE; nothing was kept")
        target = folder.joinpath(*parts)
        target.parent.mkdir(exist_ok=True)
        with target.open("xb") as file:
            shutil.copyfileobj(members.extractfile(member), file)
