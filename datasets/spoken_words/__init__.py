"""Thirteen spoken command words, synthesised by eSpeak NG in many voices: nothing to download.

eSpeak NG (GPLv3, from the wheel `espeakng-loader`) says each word; a room, background noise and a gain make a recording
of it, a second at most at 16 kHz.

* A voice is one of eight English accents with one of the synthesiser's timbres ("variants"). It is a group, and says
  every word `takes` times. No timbre is in two splits, under whatever accent; timbres that share a name stay together.
* Voices turn through timbres first, so that the first n of them, which is what a smaller preset takes, are diverse.
* The words are the first thirteen of Speech Commands in alphabetical order, a subset like that of "Dynamic Epsilon
  applied Masks in Unlearnable Audio", which does not name its thirteen.
* What eSpeak NG says depends on all that it said before: one process speaks one split in one order, from a fresh start.
  The same recipe therefore gives the same bits, and they are kept in the user's cache folder under its digest.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.api import Clips, Dataset, Needs
from bench.errors import DataError, UsageError, unknown
from bench.seeds import name_generator
from bench.sound.resampling import resample

from .room import RATE, record

PACKAGE = "espeakng-loader"
MISSING = f"the package {PACKAGE} is not installed: pip install 'cloakbench[espeak]'"
WORDS = (
    "backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go", "happy",
)  # fmt: skip
ACCENTS = (
    "en", "en-029", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-gb-x-rp", "en-us", "en-us-nyc",
)  # fmt: skip
# The timbres of eSpeak NG 1.52 without whispers, croaks and robots, and without those whose definition has "breath":
# f2, f3, f5, Alicia, sandro and victor give other samples in each process, so nothing with breath is relied upon.
TIMBRES = {
    "train": (
        "Alex", "Andrea", "Annie", "Denis", "Diogo", "Henrique", "Jacky", "Lee", "Marco", "Mario", "Mike", "Nguyen",
        "RicishayMax", "RicishayMax2", "RicishayMax3", "Tweaky", "anika", "announcer", "antonio", "belinda",
        "david", "ed", "f4", "grandpa", "gustave", "ian", "john", "kaukovalta", "klatt", "klatt2",
        "klatt3", "klatt4", "klatt5", "klatt6", "m3", "m4", "m5", "m6", "m7", "m8", "marcelo", "max", "michel",
        "miguel", "mike2", "paul", "pedro", "quincy", "rob", "robert", "shelby", "travis",
    ),
    "validation": (
        "Hugo", "adam", "edward", "edward2", "grandma", "iven", "iven2", "iven3", "iven4", "m2",
        "pablo", "zac",
    ),
    "test": (
        "Andy", "Gene", "Gene2", "Michael", "aunty", "benjamin", "boris", "f1", "linda", "m1", "norbert", "steph",
        "steph2", "steph3",
    ),
}  # fmt: skip
SPEED = (130, 190)  # words a minute
PITCH = (30, 70)  # of 100; 50 is the voice's own
INTONATION = (30, 70)


@dataclass(frozen=True)
class SpokenWords(Dataset[Clips]):
    """Spoken words; the class is the word.

    Attributes:
        words: two or more, of letters.
        voices, validation_voices, test_voices: speakers of each split, 0 for all.
        takes: recordings of each word by each voice, at different speeds and pitches.
        snr: lowest and highest signal-to-noise ratio of a recording, dB.
        peak: each recording is scaled to this peak; 0: its level is kept, which varies by 18 dB.

    Raises:
        UsageError: a parameter is out of range.
        DataError: on loading; eSpeak NG is not installed or does not work.
    """

    version = 1
    content = "speech"
    domains = ("audio",)
    needs = Needs()
    presets = {
        "smoke": {"voices": 20, "validation_voices": 5, "test_voices": 10},
        "full": {"voices": 0, "validation_voices": 0, "test_voices": 0},
    }
    threat = {
        "audio": {
            "smoke": {"published": 65, "granted": 26, "sizes": (32,)},
            "small": {"published": 520, "granted": 52, "sizes": (65, 130, 260)},
            "full": {"published": 520, "granted": 52},
        }
    }

    words: tuple[str, ...] = WORDS
    voices: int = 120
    validation_voices: int = 30
    test_voices: int = 30
    takes: int = 1
    snr: tuple[float, float] = (10.0, 30.0)
    peak: float = 0.5

    def __post_init__(self) -> None:
        if len(set(self.words)) < max(2, len(self.words)) or not all(word.isalpha() for word in self.words):
            raise UsageError(
                f"words = {', '.join(self.words) or 'none'}: expected two or more different ones, of letters"
            )
        if self.takes < 1:
            raise UsageError(f"takes = {self.takes}, expected at least 1")
        if not -20 <= self.snr[0] <= self.snr[1] <= 100:
            raise UsageError(
                f"snr = {self.snr[0]:g}, {self.snr[1]:g}: expected the lowest and the highest, -20..100 dB"
            )
        if not 0 <= self.peak <= 1:
            raise UsageError(f"peak = {self.peak}, expected 0..1, such as 0.5")
        for split in TIMBRES:
            self._voices(split)

    def load(self, split: str) -> Clips:
        """Load one split.

        Args:
            split: "train", "validation" or "test".

        Returns:
            Clips [clip, 1, 16000].
        """
        if split not in TIMBRES:
            raise DataError(unknown("split of the spoken words", split, TIMBRES))
        voices = self._voices(split)
        audio, lengths = self._recordings(voices)
        audio = audio.float().div(32768)[:, None]
        if self.peak > 0:
            audio *= self.peak / audio.abs().amax((1, 2), keepdim=True)
        utterances = [
            (voice, take, label) for voice in voices for take in range(self.takes) for label in range(len(self.words))
        ]
        return Clips(
            audio=audio,
            rate=RATE,
            ids=tuple(f"{self.words[label]}_{voice}_{take}" for voice, take, label in utterances),
            groups=tuple(voice for voice, _, _ in utterances),
            lengths=lengths,
            labels=torch.tensor([label for _, _, label in utterances]),
            classes=self.words,
            texts=tuple(f"the word {self.words[label]}, spoken by {voice}" for voice, _, label in utterances),
        )

    def inventory(self) -> dict[str, str]:
        """Say whether the synthesiser is installed."""
        version = _version()
        return {f"{PACKAGE} {version}": ""} if version else {PACKAGE: f"spoken words cannot be made: {MISSING}"}

    def fingerprint(self) -> str:
        """Return the release of the synthesiser."""
        return _version()

    def _voices(self, split: str) -> list[str]:
        """List the first voices of a split: timbres take turns, and the accent changes with each."""
        count = {"train": self.voices, "validation": self.validation_voices, "test": self.test_voices}[split]
        timbres = sorted(TIMBRES[split], key=lambda name: hashlib.sha256(name.encode()).digest())
        all_voices = [
            f"{ACCENTS[(index + turn) % len(ACCENTS)]}+{timbre}"
            for turn in range(len(ACCENTS))
            for index, timbre in enumerate(timbres)
        ]
        if not 0 <= count <= len(all_voices):
            raise UsageError(f"{count} voices of {split}, expected 0 (all) to {len(all_voices)}")
        return all_voices[: count or None]

    def _recordings(self, voices: list[str]) -> tuple[Tensor, Tensor]:
        """Return recordings, int16 [clip, 16000], and their lengths, from the cache or synthesised."""
        version = _version()
        if not version:
            raise DataError(f"spoken words: {MISSING}")
        recipe = json.dumps([version, _sources(), voices, self.words, self.takes, self.snr])
        cache = _cache() / f"{hashlib.sha256(recipe.encode()).hexdigest()[:32]}.safetensors"
        clips = len(voices) * self.takes * len(self.words)
        cached = _read_cache(cache, clips)
        if cached is None:
            cached = self._synthesised(voices)
            _write_cache(cache, *cached)
        sound, lengths = cached
        audio = torch.zeros(clips, RATE, dtype=torch.int16)
        audio[torch.arange(RATE) < lengths[:, None]] = sound
        return audio, lengths

    def _synthesised(self, voices: list[str]) -> tuple[Tensor, Tensor]:
        """Synthesise all recordings: int16 [sample], one after the other, and their lengths."""
        generators = [_generator(voice) for voice in voices]
        block = self.takes * len(self.words)
        words_spoken = _spoken(
            [
                [voice, word, _whole(SPEED, rng), _whole(PITCH, rng), _whole(INTONATION, rng)]
                for voice, rng in zip(voices, generators, strict=True)
                for word in self.words * self.takes
            ]
        )
        sounds, lengths = [], []
        for index, rng in enumerate(generators):
            voice_words = words_spoken[index * block : (index + 1) * block]
            words = torch.nn.utils.rnn.pad_sequence(voice_words, batch_first=True)
            recordings, ends = record(words, torch.tensor([len(word) for word in voice_words]), self.snr, rng)
            # Whole steps of 16 bits, as a recorder writes them: the last bits of a float differ between processors.
            samples = (recordings * 32767).round().to(torch.int16)
            sounds.append(samples[torch.arange(RATE) < ends[:, None]])
            lengths.append(ends)
        return torch.cat(sounds), torch.cat(lengths)


def _spoken(utterances: list[list[Any]]) -> list[Tensor]:
    """Speak utterances in a new process: float32 [sample] at 16 kHz each, without the silence around the word."""
    script = Path(__file__).with_name("speak.py")
    # -P: the script's folder must not come before the packages.
    process = subprocess.run(
        [sys.executable, "-P", str(script)], input=json.dumps(utterances).encode(), capture_output=True
    )
    if process.returncode:
        reason = (
            process.stderr.decode(errors="replace").strip().split("\n")[-1] or f"it ended with {process.returncode}"
        )
        raise DataError(f"spoken words: {reason}")
    head, _, data = process.stdout.partition(b"\n")
    header = json.loads(head)
    samples = torch.frombuffer(bytearray(data), dtype=torch.int16).float() / 32768
    words = [_trimmed(word) for word in torch.split(samples, header["lengths"])]
    return [resample(word, header["rate"], RATE) for word in words]


def _trimmed(word: Tensor) -> Tensor:
    """Remove what lies 40 dB below the peak at either end."""
    loud_samples = (word.abs() > word.abs().max() / 100).nonzero().flatten()
    return word[int(loud_samples[0]) : int(loud_samples[-1]) + 1] if len(loud_samples) else word


def _generator(voice: str) -> torch.Generator:
    """Seed a generator by the voice alone, so that a smaller preset holds the same recordings."""
    return name_generator(voice)


def _whole(bounds: tuple[int, int], rng: torch.Generator) -> int:
    """Draw an integer within bounds."""
    return int(torch.randint(bounds[0], bounds[1] + 1, (1,), generator=rng))


def _version() -> str:
    """Return the installed release of the synthesiser, or ""."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return ""


@functools.cache
def _sources() -> str:
    """Digest this folder's code: other code gives other recordings."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def _cache() -> Path:
    """Return the folder of the cache."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "cloakbench" / "spoken_words"


def _read_cache(file: Path, clips: int) -> tuple[Tensor, Tensor] | None:
    """Read recordings and lengths from the cache; None where it has none or they are damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as tensors:
            sound, lengths = tensors.get_tensor("sound"), tensors.get_tensor("lengths")
            expected_digest = (tensors.metadata() or {}).get("digest")
    except (OSError, SafetensorError):
        return None
    is_complete = expected_digest == _digest(sound, lengths) and len(lengths) == clips
    return (sound, lengths) if is_complete else None


def _write_cache(file: Path, sound: Tensor, lengths: Tensor) -> None:
    """Write the cache atomically. Raises `DataError` where the folder cannot be written."""
    from safetensors.torch import save

    partial = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    data = save({"sound": sound, "lengths": lengths}, metadata={"digest": _digest(sound, lengths)})
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(data)
            os.replace(partial, file)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        how = "set XDG_CACHE_HOME to a folder that can be written"
        raise DataError(f"spoken words cannot be kept in {file.parent}: {error.strerror or error}; {how}") from error


def _digest(sound: Tensor, lengths: Tensor) -> str:
    """Digest recordings and lengths."""
    return hashlib.sha256(sound.numpy().tobytes() + lengths.numpy().tobytes()).hexdigest()
