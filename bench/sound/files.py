"""Read and write audio files. Every error of a file is one line.

Conventions: audio is float32 [channel, sample] within -1..1, rates are samples a second. Headers are not trusted when
reading: a file's claims are compared with its content, and memory is allocated for the content only. libsndfile
(through `soundfile`) decodes; its MP3 decoder may print its own remarks on a damaged file.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from torch import Tensor

from bench.errors import DataError, UsageError
from bench.files import check_source, io_errors, printable, replacing
from bench.sound.decoding import Decoder, opened_decoder
from bench.sound.encoding import LOSSY, WRITABLE, Encoder, coding_for

__all__ = ["AUDIO_SUFFIXES", "Info", "blocks", "info", "read", "require_audible", "survey", "write"]

# Opus is read, not written: libsndfile 1.2 drops the last milliseconds, which the encoder has not output yet.
AUDIO_SUFFIXES = (*WRITABLE, ".opus")

_BLOCK = 1 << 18  # samples a channel in one read
_LOUDEST = 1.0 + 1e-4
_AUDIBLE = 1e-5  # peak; a third of a step of 16 bits
# How libsndfile's log says that a chunk of WAV or AIFF outruns the file; a stream of unknown length claims ~2^32.
_SHORT_CHUNK = re.compile(r"^\s*(?:data|SSND) : (\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_LENGTH = 0xFFFFFF00


class Info(NamedTuple):
    """What the header of a file says."""

    rate: int
    channels: int
    samples: int | None  # None: the header does not say
    format: str  # libsndfile's names: "WAV", "FLAC", "MP3", "OGG", "AIFF", ...
    subtype: str  # "PCM_16", "FLOAT", "VORBIS", ...

    @property
    def seconds(self) -> float | None:
        """Length by the header, s; None where it does not say."""
        return None if self.samples is None else self.samples / self.rate


def info(path: str | os.PathLike[str]) -> Info:
    """Read the header of a sound file.

    Args:
        path: the file.

    Returns:
        What the header says; the sound is not read.

    Raises:
        DataError: there is no audio file. One line.
    """
    with _opened(path) as sound:
        return Info(sound.rate, sound.channels, sound.samples, sound.format, sound.subtype)


def read(path: str | os.PathLike[str], *, min_seconds: float = 0.0, audible: bool = False) -> tuple[Tensor, int]:
    """Read a whole sound file.

    Lossy formats overshoot full scale by nature and are clipped to it, as any player does.

    Args:
        path: the file.
        min_seconds: shortest length that is accepted, s.
        audible: refuse silence.

    Returns:
        float32 [channel, sample] within -1..1, and the rate, samples a second.

    Raises:
        DataError: the file is missing, a folder, empty, no audio or truncated, holds NaN or values outside -1..1, is
            shorter than `min_seconds`, or silent where `audible` is set. One line.
    """
    with _opened(path) as sound:
        rate = sound.rate
        audio = torch.cat([torch.empty(sound.channels, 0), *_blocks(sound, path, _BLOCK)], dim=1)
    seconds = audio.shape[1] / rate
    if audio.shape[1] == 0 or seconds < min_seconds:
        expected = f"at least {min_seconds:g} s" if min_seconds > 0 else "some sound"
        raise DataError(f"'{path}' holds {1000 * seconds:.4g} ms ({audio.shape[1]} samples), expected {expected}")
    if audible:
        require_audible(audio, f"'{path}'")
    return audio, rate


def blocks(path: str | os.PathLike[str], samples: int = _BLOCK) -> Iterator[Tensor]:
    """Read a sound file in pieces, for files larger than memory.

    Args:
        path: the file.
        samples: samples a channel of a piece.

    Yields:
        float32 [channel, samples]; the last one is shorter.

    Raises:
        DataError: as `read` does, but where the damage is reached.
    """
    if samples < 1:
        raise DataError(f"blocks of {samples} samples, expected at least 1")
    with _opened(path) as sound:
        yield from _blocks(sound, path, samples)


def survey(path: str | os.PathLike[str]) -> tuple[int, float]:
    """Decode a whole file in bounded memory, to find every fault before the work begins.

    Args:
        path: The file.

    Returns:
        Samples a channel, and the largest absolute value.

    Raises:
        DataError: As `read` does.
    """
    samples, peak = 0, 0.0
    for block in blocks(path):
        samples += block.shape[1]
        peak = max(peak, float(block.abs().max()))
    if samples == 0:
        raise DataError(f"'{printable(path)}' holds 0 ms (0 samples), expected some sound")
    return samples, peak


def write(path: str | os.PathLike[str], audio: Tensor, rate: int, subtype: str | None = None) -> None:
    """Write a sound file, whole or not at all: it is read again and compared before it replaces anything.

    Args:
        path: the file; its suffix names the format.
        audio: [channel, sample] or [sample] within -1..1.
        rate: samples a second.
        subtype: libsndfile's sample type ("PCM_16", ...); None: float for WAV and AIFF, 24 bits for FLAC.

    Raises:
        DataError: NaN, values outside -1..1, an unknown suffix, what the format cannot hold, or a file that cannot be
            written. One line; what was there is still there.
    """
    target, name = Path(path), f"cannot write '{printable(path)}'"
    flat = audio.detach().to("cpu", torch.float32)
    flat = flat[None] if flat.dim() == 1 else flat
    if flat.dim() != 2 or flat.numel() == 0:
        raise DataError(f"{name}: shape {tuple(audio.shape)}, expected [channel, sample]")
    _require_range(flat, f"{name}: the audio")
    try:
        coding = coding_for(target.suffix, rate, flat.shape[0], flat.shape[1], subtype=subtype)
        with replacing(target) as draft:
            with Encoder(draft, coding) as encoder:
                encoder.write(flat.T.numpy())
            encoder.verify()
    except UsageError as error:
        raise DataError(str(error)) from error
    except DataError as error:
        raise DataError(f"{name}: {error}") from error


def require_audible(audio: Tensor, name: str = "the audio") -> None:
    """Refuse silence.

    Args:
        audio: of any shape.
        name: what the error calls it.

    Raises:
        DataError: no sample reaches 1e-5, a third of a step of 16 bits.
    """
    peak = float(audio.detach().abs().max()) if audio.numel() else 0.0
    if peak < _AUDIBLE:
        raise DataError(f"{name} is silent (peak {peak:.1e}), expected a peak of at least {_AUDIBLE:g}")


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Decoder]:
    """Open a decoder; its failures, while it is open too, become `DataError`."""
    file, name = Path(path), f"'{printable(path)}'"
    with io_errors(path, "read"):
        check_source(file)
        if file.stat().st_size == 0:
            raise DataError(f"{name} is empty (0 bytes), expected an audio file")
        try:
            with opened_decoder(file, name) as sound:
                yield sound
        except soundfile.LibsndfileError as error:
            raise DataError(_unreadable(file, error)) from error


def _unreadable(file: Path, error: Exception) -> str:
    with file.open("rb") as raw:
        first = raw.read(8)
    reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
    return (
        f"'{printable(file)}' cannot be read as audio ({reason}; it begins with {first!r}): "
        "the file is damaged, truncated or not audio"
    )


def _blocks(sound: Decoder, path: str | os.PathLike[str], samples: int) -> Iterator[Tensor]:
    """Yield pieces [channel, sample] until the file ends."""
    name = f"'{printable(path)}'"
    _require_whole_chunks(sound, name)
    waiting: list[np.ndarray] = []  # blocks may be short where streams are joined
    count = 0
    for piece in sound.blocks(samples):
        waiting.append(piece)
        count += len(piece)
        while count >= samples:
            joined = np.concatenate(waiting) if len(waiting) > 1 else waiting[0]
            yield _checked(joined[:samples], sound, name)
            waiting, count = [joined[samples:]], count - samples
    if count:
        yield _checked(np.concatenate(waiting), sound, name)


def _checked(piece: np.ndarray, sound: Decoder, name: str) -> Tensor:
    audio = torch.from_numpy(np.ascontiguousarray(piece.T))
    if sound.subtype in LOSSY and not audio.isnan().any():
        audio = audio.clamp(-1.0, 1.0)
    _require_range(audio, name)
    return audio


def _require_whole_chunks(sound: Decoder, name: str) -> None:
    """Raise `DataError` for truncated files: libsndfile silently shortens WAV, AIFF and OGG, which only its log
    shows.
    """
    truncated = _SHORT_CHUNK.search(sound.log)
    if truncated and int(truncated[2]) < int(truncated[1]) < _UNKNOWN_LENGTH:
        raise DataError(
            f"{name} is truncated: its header claims {truncated[1]} bytes of sound, but it has {truncated[2]}"
        )
    if "lacks an end-of-stream bit" in sound.log or "Junk after the last page" in sound.log:
        raise DataError(f"{name} is truncated: its Ogg stream has no proper end")


def _require_range(audio: Tensor, name: str) -> None:
    if audio.numel() == 0:
        return
    low, high = (float(value) for value in torch.aminmax(audio))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise DataError(f"{name} holds NaN or infinity, expected -1..1")
    if max(-low, high) > _LOUDEST:
        raise DataError(f"{name} peaks at {max(-low, high):.4g}, expected -1..1: turn it down")
