"""Audio files: read, written, measured and resampled. Whatever is wrong with a file is said in one line.

Conventions: audio is float32 [channel, sample] within -1..1, rates are samples a second. Reading believes no header:
what a file claims is compared with what it holds, and memory follows what it holds. libsndfile (through `soundfile`)
knows the formats; its MP3 decoder may print remarks of its own on a damaged file.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch
from torch import Tensor

from bench.errors import DataError

__all__ = ["AUDIO_SUFFIXES", "Info", "blocks", "info", "read", "require_audible", "resample", "write"]

# suffix -> libsndfile's format and the subtype in which we write: the one that loses least.
_FORMATS = {
    ".aif": ("AIFF", "FLOAT"),
    ".aiff": ("AIFF", "FLOAT"),
    ".flac": ("FLAC", "PCM_24"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".ogg": ("OGG", "VORBIS"),
    ".wav": ("WAV", "FLOAT"),
}
# Opus is read, not written: libsndfile 1.2 leaves out the last milliseconds that the encoder still holds.
AUDIO_SUFFIXES = (*_FORMATS, ".opus")

_LOSSY = {"MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III", "VORBIS", "OPUS"}
_BLOCK = 1 << 18  # samples a channel in one read
_LOUDEST = 1.0 + 1e-4
_AUDIBLE = 1e-5  # peak; a third of a step of 16 bits
# How libsndfile's log says that a chunk of WAV or AIFF outruns the file; a stream of unknown length claims ~2^32.
_SHORT_CHUNK = re.compile(r"^\s*(?:data|SSND) : (\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_LENGTH = 0xFFFFFF00


class Forward(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read from its beginning to its end.

    soundfile seeks after every `read`. The MP3 decoder then loses what it carried over, and some 70 samples after each
    seam are wrong.
    """

    def seekable(self) -> bool:
        return False


class Info(NamedTuple):
    """What the header of a file says."""

    rate: int
    channels: int
    samples: int
    format: str  # libsndfile's names: "WAV", "FLAC", "MP3", "OGG", "AIFF", ...
    subtype: str  # "PCM_16", "FLOAT", "VORBIS", ...

    @property
    def seconds(self) -> float:
        return self.samples / self.rate


def info(path: str | os.PathLike[str]) -> Info:
    """What the file's header says, sound unread. Raises `DataError` where there is no audio file."""
    with _opened(path) as sound:
        return _info(sound)


def read(path: str | os.PathLike[str], *, min_seconds: float = 0.0, audible: bool = False) -> tuple[Tensor, int]:
    """The whole file: float32 [channel, sample] and its rate.

    Raises `DataError` if it is missing, a folder, empty, no audio, truncated, holds NaN or values outside -1..1, is
    shorter than `min_seconds`, or, where `audible` is asked for, is silent. Lossy formats overshoot full scale by
    nature and are clipped to it, as any player does.
    """
    with _opened(path) as sound:
        rate = int(sound.samplerate)
        audio = torch.cat([torch.empty(int(sound.channels), 0), *_blocks(sound, path, _BLOCK)], dim=1)
    seconds = audio.shape[1] / rate
    if audio.shape[1] == 0 or seconds < min_seconds:
        wanted = f"at least {min_seconds:g} s" if min_seconds > 0 else "some sound"
        raise DataError(f"'{path}' holds {1000 * seconds:.4g} ms ({audio.shape[1]} samples), expected {wanted}")
    if audible:
        require_audible(audio, f"'{path}'")
    return audio, rate


def blocks(path: str | os.PathLike[str], samples: int = _BLOCK) -> Iterator[Tensor]:
    """The file in pieces of `samples`, [channel, samples], the last one shorter: for files larger than memory.

    Raises `DataError` like `read`, but at the place where the damage is reached.
    """
    if samples < 1:
        raise DataError(f"blocks of {samples} samples, expected at least 1")
    with _opened(path) as sound:
        yield from _blocks(sound, path, samples)


def write(path: str | os.PathLike[str], audio: Tensor, rate: int, subtype: str | None = None) -> None:
    """Write audio [channel, sample] or [sample]; the suffix names the format, `subtype` the coding ("PCM_16", ...).

    Without a subtype the most exact one is taken: float for WAV and AIFF, 24 bits for FLAC. All or nothing: the file is
    written aside, flushed to the disk and renamed. Raises `DataError` for NaN, values outside -1..1, an unknown suffix,
    or what the format cannot hold.
    """
    target = Path(path)
    if target.suffix.lower() not in _FORMATS:
        raise DataError(f"cannot write '{path}': suffix '{target.suffix}', expected one of {' '.join(_FORMATS)}")
    kind, exact = _FORMATS[target.suffix.lower()]
    flat = audio.detach().to("cpu", torch.float32)
    flat = flat[None] if flat.dim() == 1 else flat
    if flat.dim() != 2 or flat.numel() == 0:
        raise DataError(f"cannot write '{path}': shape {tuple(audio.shape)}, expected [channel, sample]")
    _require_range(flat, f"cannot write '{path}': the audio")
    aside = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        _write_aside(aside, flat, rate, kind, subtype or exact)
        os.replace(aside, target)
    except OSError as error:
        raise DataError(f"cannot write '{path}': {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)


def require_audible(audio: Tensor, what: str = "the audio") -> None:
    """Raises `DataError` where audio of any shape is silent: no sample reaches 1e-5, a third of a step of 16 bits."""
    peak = float(audio.detach().abs().max()) if audio.numel() else 0.0
    if peak < _AUDIBLE:
        raise DataError(f"{what} is silent (peak {peak:.1e}), expected a peak of at least {_AUDIBLE:g}")


def resample(audio: Tensor, rate_from: int, rate_to: int) -> Tensor:
    """Audio [..., sample] at another rate: `round(samples * rate_to / rate_from)` samples, in place in time.

    A zero-phase polyphase filter (scipy's `resample_poly`, Kaiser window with beta 5). It is linear, so that it may
    overshoot full scale, and carries no gradient. Raises `DataError` for a rate below 1.
    """
    if rate_from < 1 or rate_to < 1:
        raise DataError(f"cannot resample from {rate_from} to {rate_to} samples a second, expected at least 1")
    if rate_from == rate_to or audio.shape[-1] == 0:
        return audio
    from scipy.signal import resample_poly

    shared = math.gcd(rate_from, rate_to)
    samples = round(audio.shape[-1] * rate_to / rate_from)
    there = resample_poly(audio.detach().cpu().numpy(), rate_to // shared, rate_from // shared, axis=-1)
    exact = np.ascontiguousarray(there[..., :samples])  # never too short: resample_poly rounds up
    return torch.from_numpy(exact).to(audio.device, audio.dtype)


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """The open `soundfile.SoundFile`; its failures, while it is open too, become `DataError`."""
    file = Path(path)
    if not file.exists():
        raise DataError(_missing(file))
    if not file.is_file():
        raise DataError(f"'{path}' is a folder, expected an audio file ({' '.join(AUDIO_SUFFIXES)})")
    if file.stat().st_size == 0:
        raise DataError(f"'{path}' is empty (0 bytes), expected an audio file")
    try:
        with Forward(file) as sound:
            if sound.samplerate < 1 or sound.channels < 1:
                raise DataError(f"'{path}' claims {sound.samplerate} samples a second and {sound.channels} channels")
            yield sound
    except soundfile.LibsndfileError as error:
        raise DataError(_unreadable(file, error)) from error
    except OSError as error:
        raise DataError(f"cannot read '{path}': {error.strerror or error}") from error


def _missing(file: Path) -> str:
    try:
        beside = [entry.name for entry in file.parent.iterdir()]
    except OSError:
        return f"no file '{file}': there is no folder '{file.parent}'"
    near = difflib.get_close_matches(file.name, beside, n=1, cutoff=0.6)
    return f"no file '{file}'" + (f": did you mean '{near[0]}'?" if near else f" in the folder '{file.parent}'")


def _unreadable(file: Path, error: Exception) -> str:
    with file.open("rb") as raw:
        first = raw.read(8)
    reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
    return f"'{file}' cannot be read as audio ({reason}; it begins with {first!r}): damaged, truncated or no audio file"


def _info(sound: Any) -> Info:
    return Info(int(sound.samplerate), int(sound.channels), int(sound.frames), str(sound.format), str(sound.subtype))


def _blocks(sound: Any, path: str | os.PathLike[str], samples: int) -> Iterator[Tensor]:
    """Pieces [channel, sample] until the file ends; then its claim is compared with what came."""
    _require_whole_chunks(sound, path)
    total = 0
    # `read` and not `blocks`: soundfile's `blocks` repeats stale samples where a truncated MP3 ends.
    while len(piece := sound.read(samples, dtype="float32", always_2d=True)):
        total += len(piece)
        audio = torch.from_numpy(np.ascontiguousarray(piece.T))
        if sound.subtype in _LOSSY and not audio.isnan().any():
            audio = audio.clamp(-1.0, 1.0)
        _require_range(audio, f"'{path}'")
        yield audio
    if total < sound.frames:
        raise DataError(f"'{path}' is truncated: its header claims {sound.frames} samples, {total} can be read")


def _require_whole_chunks(sound: Any, path: str | os.PathLike[str]) -> None:
    """libsndfile shortens its count to what a WAV, AIFF or OGG still holds; only its log tells."""
    log = str(sound.extra_info)
    short = _SHORT_CHUNK.search(log)
    if short and int(short[2]) < int(short[1]) < _UNKNOWN_LENGTH:
        raise DataError(f"'{path}' is truncated: its header claims {short[1]} bytes of sound, it holds {short[2]}")
    if "lacks an end-of-stream bit" in log or "Junk after the last page" in log:
        raise DataError(f"'{path}' is truncated: its Ogg stream has no proper end")


def _require_range(audio: Tensor, what: str) -> None:
    if audio.numel() == 0:
        return
    low, high = (float(value) for value in torch.aminmax(audio))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise DataError(f"{what} holds NaN or infinity, expected -1..1")
    if max(-low, high) > _LOUDEST:
        raise DataError(f"{what} peaks at {max(-low, high):.3f}, expected -1..1: turn it down")


def _write_aside(aside: Path, audio: Tensor, rate: int, kind: str, subtype: str) -> None:
    if not soundfile.check_format(kind, subtype):
        known = ", ".join(sorted(soundfile.available_subtypes(kind)))
        raise DataError(f"{kind} files have no subtype '{subtype}', expected one of {known}")
    with aside.open("xb+") as file:
        try:
            soundfile.write(file, audio.T.numpy(), rate, format=kind, subtype=subtype)
        except (soundfile.LibsndfileError, TypeError, ValueError) as error:
            reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
            what = f"{audio.shape[0]} channels at {rate} samples a second"
            raise DataError(f"{kind} ({subtype}) cannot hold {what}: {reason}") from error
        file.flush()
        os.fsync(file.fileno())
