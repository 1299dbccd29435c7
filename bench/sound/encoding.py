"""Write sound files block by block: unsupported formats are refused before, and the written file is read again.

Samples are quantised here and passed as integers, because libsndfile scales floats by 32767 and reads by 32768:
unchanged samples are thus restored bit by bit. Lossy formats are written at their highest quality.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from bench.errors import DataError
from bench.files import sync
from bench.sound.codecs import mp3_gain, mp3_kbps
from bench.sound.decoding import opened_decoder, surround_order

__all__ = ["LOSSY", "WRITABLE", "Coding", "Encoder", "coding_for"]

LOSSY = frozenset({"MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III", "VORBIS", "OPUS"})
# suffix -> libsndfile's format and the sample type that loses least.
WRITABLE = {
    ".aif": ("AIFF", "FLOAT"),
    ".aiff": ("AIFF", "FLOAT"),
    ".flac": ("FLAC", "PCM_24"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".ogg": ("OGG", "VORBIS"),
    ".wav": ("WAV", "FLOAT"),
}
# Sample types of the same or the next higher precision, for formats that lack the source's own.
_NEAREST = {
    "PCM_U8": ("PCM_S8", "PCM_16"),
    "PCM_S8": ("PCM_U8", "PCM_16"),
    "PCM_16": ("PCM_24",),
    "PCM_32": ("PCM_24",),
    "FLOAT": ("PCM_24",),
    "DOUBLE": ("FLOAT", "PCM_24"),
    "ALAC_16": ("PCM_16",),
    "DWVW_24": ("PCM_24",),
    "ALAC_20": ("PCM_24",),
    "ALAC_24": ("PCM_24",),
    "ALAC_32": ("PCM_32", "PCM_24"),
}
_DECODED_TO = ("PCM_24", "PCM_16")  # from a lossy format to one without loss
_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
_EXACT = {*_BITS, "FLOAT", "DOUBLE"}
_WIDTH = {**{name: bits // 8 for name, bits in _BITS.items()}, "FLOAT": 4, "DOUBLE": 8}
_MOST_BYTES = 0xFFFF0000 - (64 << 20)  # of a WAV or AIFF with 32-bit sizes; room for tags
_VORBIS_RATE, _VORBIS_CHANNELS = 200_000, 255  # above them libsndfile 1.2 crashes
_BLOCK = 1 << 15  # samples handed to libsndfile at once: its Vorbis encoder overflows the stack with millions
_PROBE = 1 << 16  # samples of the trial encoding


class Coding(NamedTuple):
    """How a file is to be written.

    Attributes:
        format: libsndfile's format.
        subtype: libsndfile's sample type.
        rate: samples a second.
        channels: number of channels.
        changed: why the sample type is not the source's; "" where it is, or where the format has only one.
    """

    format: str
    subtype: str
    rate: int
    channels: int
    changed: str = ""

    @property
    def lossless(self) -> bool:
        """Whether the samples come back as they were quantised."""
        return self.subtype in _EXACT


def coding_for(
    suffix: str,
    rate: int,
    channels: int,
    samples: int,
    source: tuple[str, str] = ("", ""),
    subtype: str | None = None,
) -> Coding:
    """Choose the coding of a file, and try it out on a short noise in memory.

    Args:
        suffix: Suffix of the file, with the dot: the format.
        rate: Samples a second.
        channels: Number of channels.
        samples: Samples a channel.
        source: Libsndfile's format and sample type of the file that the sound comes from. Its sample type is used where
            the format has it, else the nearest of no lower precision.
        subtype: A sample type that must be used; None: chosen.

    Returns:
        The coding. WAV and AIFF without a source get floats, FLAC 24 bits. A WAV over 4 GiB becomes RF64.

    Raises:
        DataError: The format cannot hold that rate, number of channels, sample type or length. One line, with what it
            can.
    """
    if suffix.lower() not in WRITABLE:
        raise DataError(f"suffix '{suffix}', expected one of {' '.join(WRITABLE)}")
    kind, best = WRITABLE[suffix.lower()]
    if subtype is not None and not soundfile.check_format(kind, subtype):
        subtypes = ", ".join(sorted(soundfile.available_subtypes(kind)))
        raise DataError(f"{kind} files have no subtype '{subtype}', expected one of {subtypes}")
    if kind == "MP3":
        mp3_kbps(rate)  # says which rates there are
        if channels > 2:
            raise DataError(f"MP3 cannot hold {channels} channels, expected 1 or 2: use .flac, .wav or .ogg")
    if kind == "OGG" and not (rate <= _VORBIS_RATE and channels <= _VORBIS_CHANNELS):
        limits = f"{_VORBIS_CHANNELS} channels and {_VORBIS_RATE} samples a second"
        raise DataError(f"OGG cannot hold {channels} channels at {rate} samples a second, expected at most {limits}")
    candidates = [subtype] if subtype else _sample_types(kind, best, *source)
    kind = "WAVEX" if kind == "WAV" and source[0] in ("WAVEX", "RF64") else kind
    failures: list[str] = []
    for name in candidates:
        coding = Coding(
            kind if soundfile.check_format(kind, name) else WRITABLE[suffix.lower()][0], name, rate, channels
        )
        if name in _WIDTH and samples * channels * _WIDTH[name] > _MOST_BYTES and kind != "FLAC":
            if kind == "AIFF":
                raise DataError(f"{samples} samples of {channels} channels exceed the 4 GiB of an AIFF file: use .wav")
            coding = coding._replace(format="RF64", subtype="PCM_16" if name == "PCM_S8" else name)
        failure = _failure(coding, samples)
        if not failure:
            same = not source[1] or name == source[1]
            equal = same or source[1] in LOSSY or kind in ("MP3", "OGG")
            return coding._replace(changed="" if equal else failures[0] if failures else f"{kind} has no {source[1]}")
        failures.append(failure)
    raise DataError(
        f"{kind} ({candidates[0]}) cannot hold {channels} channels at {rate} samples a second: {failures[0]}"
    )


class Encoder:
    """A sound file being written.

    Use as a context manager; then call `verify`, which reads it again.
    """

    def __init__(self, path: str | os.PathLike[str], coding: Coding, *, flush: bool = True):
        """Create the file.

        Args:
            path: the file, which must not exist.
            coding: from `coding_for`.
            flush: `close` flushes it to the disk.

        Raises:
            OSError: the file cannot be created.
            DataError: the format cannot hold it.
        """
        self.path, self.coding, self.samples = Path(path), coding, 0
        self._flush = flush
        self._digest = hashlib.blake2b(digest_size=16)
        self._gain = 1.0 / mp3_gain(mp3_kbps(coding.rate)[-1]) if coding.format == "MP3" else 1.0
        order = surround_order(coding.subtype, coding.channels)
        self._order = None if order is None else np.argsort(order)
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            self._file = _writer(self._descriptor, coding)
        except BaseException:
            os.close(self._descriptor)
            raise

    def write(self, block: np.ndarray) -> np.ndarray:
        """Append samples.

        Args:
            block: float32 [sample, channel] within -1..1.

        Returns:
            What a lossless file will hold, float32 [sample, channel]: the block after rounding.

        Raises:
            DataError: libsndfile refuses them, such as on a full disk.
        """
        samples, rounded = _quantised(block, self.coding.subtype)
        self._digest.update(samples.tobytes())
        self.samples += len(block)
        if samples.dtype == np.float32 and self._gain != 1.0:
            samples = samples * np.float32(self._gain)
        if self._order is not None:
            samples = samples[:, self._order]
        try:
            for start in range(0, len(samples), _BLOCK):
                self._file.write(np.ascontiguousarray(samples[start : start + _BLOCK]))
        except (soundfile.LibsndfileError, AssertionError) as error:  # soundfile asserts that all was written
            hint = " (is the disk full?)" if self._flush else ""
            raise DataError(f"cannot write sound: {_words(error)}{hint}") from error
        return rounded

    def close(self) -> None:
        """Finish the file and flush it to the disk.

        Raises:
            OSError: the disk is full or failed.
        """
        if self._descriptor < 0:
            return
        try:
            self._file.close()
            if self._flush:
                os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    def verify(self, path: str | os.PathLike[str] | None = None) -> None:
        """Read the file again and compare: the number of samples, and of lossless types every sample.

        Args:
            path: the file, where it was rewritten since (tags); None: as it was created.

        Raises:
            DataError: it is not what was written, such as on a full disk.
        """
        path = self.path if path is None else path
        digest, samples = hashlib.blake2b(digest_size=16), 0
        dtype = "float32" if self.coding.subtype not in _BITS else "int32"
        try:
            sync(Path(path))
            with opened_decoder(path, "the draft") as sound:
                for block in sound.blocks(_PROBE, dtype):
                    samples += len(block)
                    digest.update(np.ascontiguousarray(block).tobytes())
        except (soundfile.LibsndfileError, DataError) as error:
            raise DataError(f"what was written cannot be read again ({_words(error)}): is the disk full?") from error
        if samples != self.samples:
            raise DataError(f"{samples} of {self.samples} samples can be read again: is the disk full?")
        if self.coding.lossless and digest.digest() != self._digest.digest():
            raise DataError("the samples read again differ from those that were written: is the disk damaged?")

    def __enter__(self) -> Encoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _sample_types(kind: str, best: str, source_format: str, source_type: str) -> list[str]:
    """Return the sample types to try, the preferred one first."""
    if not source_type or kind in ("MP3", "OGG"):
        return [best]
    lossy = source_type in LOSSY
    same = [source_type] if not lossy or (kind == "WAV" and source_format in ("WAV", "WAVEX")) else []
    nearest = _DECODED_TO if lossy else _NEAREST.get(source_type, ("PCM_16",))
    return [name for name in (*same, *nearest) if soundfile.check_format(kind, name)] or [best]


@functools.lru_cache(maxsize=64)
def _failure(coding: Coding, samples: int) -> str:
    """Return why a coding does not restore so many samples; "" where it does."""
    noise = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="bench-probe-") as folder:
        for count in sorted({min(samples, 1), min(samples, _PROBE)}):
            try:
                with Encoder(Path(folder) / f"probe-{count}", coding, flush=False) as encoder:
                    encoder.write(noise.uniform(-0.1, 0.1, (count, coding.channels)).astype(np.float32))
                with opened_decoder(encoder.path, "a trial") as sound:
                    back = sum(len(block) for block in sound.blocks(_PROBE))
            except (soundfile.LibsndfileError, DataError, TypeError, ValueError) as error:
                return _words(error)
            # Codings in fixed blocks pad with silence; the length of a block is that of the coding of one sample.
            if count == 1 and samples % max(1, back):
                return f"{coding.subtype} is written in blocks of {back} samples"
            if count > 1 and back != count and samples == count:
                return f"{coding.subtype} gives back {back} of {count} samples"
    return ""


def _writer(descriptor: int, coding: Coding) -> soundfile.SoundFile:
    extra = {"compression_level": 0.0, "bitrate_mode": "CONSTANT"} if coding.format == "MP3" else {}
    if coding.format == "OGG":
        extra = {"compression_level": 0.1}  # 0 is some 500 kbit/s
    return soundfile.SoundFile(
        descriptor, "w", coding.rate, coding.channels, coding.subtype, format=coding.format, closefd=False, **extra
    )


def _quantised(block: np.ndarray, subtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return samples as libsndfile takes them (int32 at full scale, or float32), and as float32 within -1..1."""
    if subtype in ("FLOAT", "DOUBLE") or subtype in LOSSY:
        floats = np.ascontiguousarray(block, dtype=np.float32)
        return floats, floats
    bits = _BITS.get(subtype, 16)
    scale = 2.0 ** (bits - 1)
    steps = np.clip(np.rint(block.astype(np.float64) * scale), -scale, scale - 1)
    return (steps * 2.0 ** (32 - bits)).astype(np.int32), (steps / scale).astype(np.float32)


def _words(error: BaseException) -> str:
    return str(getattr(error, "error_string", error)).strip().rstrip(".") or type(error).__name__
