"""Open sound files so that all of their samples are decoded, at the right position in time.

libsndfile decodes the formats, but trusts estimates and headers for the length. Corrected here: MPEG streams whose
length is only estimated, joined MPEG and Ogg streams, Vorbis that begins before position 0, MP3 inside WAV, the
pre-skip of Opus, FLAC of unknown length, and the channel order of Vorbis and Opus.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import soundfile

from bench.errors import DataError
from bench.sound import chunks, mpeg, ogg

__all__ = ["Decoder", "NonSeekableSoundFile", "opened_decoder", "surround_order"]

_UNKNOWN_SAMPLES = 1 << 62  # libsndfile claims 2^63 - 1 samples where a header does not say
_MP3_IN_WAV = 0x55
_VORBIS = b"\x01vorbis"
_FAR = 1 << 40  # samples: a position behind whatever one page holds
_ENDLESS = 256  # factor by which a stream exaggerates its size: more than libmpg123 estimates from any first frame
_MOST_TRAILING = 4096  # bytes after the last chunk of a WAV that are ignored
_MISSING_FRAMES = 3  # frames of an MPEG stream that may be undecodable: after a cut, the first ones lack their bits
# Channels of Vorbis and Opus in the order of WAV (RFC 7845, section 5.1.1.2; libsndfile does not reorder them).
_SURROUND = {
    3: (0, 2, 1),
    5: (0, 2, 1, 3, 4),
    6: (0, 2, 1, 5, 3, 4),
    7: (0, 2, 1, 6, 5, 3, 4),
    8: (0, 2, 1, 7, 5, 6, 3, 4),
}


class NonSeekableSoundFile(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read sequentially.

    soundfile seeks after every `read`. The MP3 decoder then loses its internal state, and some 70 samples after each
    block are wrong.
    """

    def seekable(self) -> bool:
        """Return False, so that soundfile does not seek."""
        return False


class _Span(io.RawIOBase):
    """A part of a file as a file, which may claim to be longer than it is, and in which bytes may be replaced."""

    def __init__(
        self,
        file: BinaryIO,
        start: int,
        size: int,
        claimed: int | None = None,
        replaced: dict[int, bytes] | None = None,
    ):
        self._file, self._start, self._size = file, start, size
        self._replaced = replaced or {}
        self._claimed = size if claimed is None else claimed
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = max(0, offset + (0, self._position, self._claimed)[whence])
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self._position > self._size:  # libsndfile only looks for a tag at the claimed end
            buffer[:] = bytes(len(buffer))
            count = len(buffer)
        else:
            self._file.seek(self._start + self._position)
            part = bytearray(self._file.read(min(len(buffer), self._size - self._position)))
            for offset, new in self._replaced.items():
                for number, byte in enumerate(new, start=offset - self._position):
                    if 0 <= number < len(part):
                        part[number] = byte
            buffer[: len(part)] = part
            count = len(part)
        self._position += count
        return count


class _Part(NamedTuple):
    """One of the consecutive streams of a file."""

    stream: Any  # a descriptor or a _Span
    skip: int = 0  # samples to leave out at its beginning
    least: int = 0  # fewer decoded samples mean that the stream is damaged


class Decoder:
    """An open sound file.

    Attributes:
        rate: samples a second.
        channels: number of channels.
        samples: samples a channel by the header; None where no header tells.
        format: libsndfile's name: "WAV", "WAVEX", "FLAC", "MP3", "OGG", "AIFF", ...
        subtype: libsndfile's name: "PCM_16", "FLOAT", "VORBIS", ...
        log: what libsndfile noted while opening.
    """

    def __init__(self, file: BinaryIO, name: str):
        """Open a file.

        Args:
            file: seekable.
            name: what errors call it.

        Raises:
            DataError: joined streams of unequal rate or channels, or a second FLAC stream behind the first.
            soundfile.LibsndfileError: libsndfile cannot read it.
        """
        self._name = name
        self._parts, form = _parts(file, name)
        first = self._opened(self._parts[0])
        self.rate, self.channels = int(first.samplerate), int(first.channels)
        self.format, self.subtype = form or str(first.format), str(first.subtype)
        self.log = str(first.extra_info)
        counts = [int(first.frames) - self._parts[0].skip if self._parts[0].least == 0 else _UNKNOWN_SAMPLES]
        self._open = [first]
        for part in self._parts[1:]:
            sound = self._opened(part)
            self._open.append(sound)
            if (sound.samplerate, sound.channels) != (self.rate, self.channels):
                raise DataError(
                    f"{name} joins streams of {self.rate} Hz, {self.channels} channels and of {sound.samplerate} Hz, "
                    f"{sound.channels} channels: convert it to one rate first"
                )
            counts.append(int(sound.frames) - part.skip)
            self.log += str(sound.extra_info)
        self.samples = None if max(counts) >= _UNKNOWN_SAMPLES else sum(counts)
        self._order = surround_order(self.subtype, self.channels)

    def blocks(self, samples: int, dtype: str = "float32") -> Iterator[np.ndarray]:
        """Decode from the beginning to the end.

        Args:
            samples: samples a channel in one block.
            dtype: "float32" or "int32".

        Yields:
            Arrays [sample, channel]; only the last one of a stream is shorter than `samples`.

        Raises:
            DataError: less can be decoded than the file holds.
            soundfile.LibsndfileError: libsndfile cannot read on.
        """
        for part, sound in zip(self._parts, self._open, strict=True):
            total, skip = 0, part.skip
            # `read` and not `blocks`: soundfile's `blocks` repeats stale samples where a truncated MP3 ends.
            while len(piece := sound.read(samples + skip, dtype=dtype, always_2d=True)):
                total += len(piece)
                piece, skip = piece[skip:], max(0, skip - len(piece))
                if len(piece):
                    yield piece if self._order is None else piece[:, self._order]
            least = part.least or (0 if sound.frames >= _UNKNOWN_SAMPLES else int(sound.frames))
            if total < least:
                reason = "its frames hold" if part.least else "its header claims"
                raise DataError(f"{self._name} is truncated: {reason} {least} samples, but only {total} can be read")

    def close(self) -> None:
        """Close the file; again is allowed."""
        for sound in self._open:
            sound.close()
        for part in self._parts:
            if isinstance(part.stream, io.IOBase):
                part.stream.close()

    def _opened(self, part: _Part) -> Any:
        sound = NonSeekableSoundFile(part.stream, closefd=False)
        if sound.samplerate < 1 or sound.channels < 1:
            raise DataError(
                f"{self._name} claims {sound.samplerate} samples a second and {sound.channels} channels, "
                "expected at least 1 of each"
            )
        if sound.subtype == "OPUS":
            soundfile.SoundFile.seek(sound, 0)  # libsndfile applies the pre-skip when it seeks
        return sound


@contextlib.contextmanager
def opened_decoder(path: str | os.PathLike[str], name: str) -> Iterator[Decoder]:
    """Open a sound file for the block.

    Args:
        path: the file.
        name: what errors call it.

    Yields:
        The decoder.

    Raises:
        DataError: see `Decoder`.
        OSError: the file cannot be opened.
        soundfile.LibsndfileError: libsndfile cannot read it.
    """
    with open(path, "rb") as file:
        decoder = Decoder(file, name)
        try:
            yield decoder
        finally:
            decoder.close()


def surround_order(subtype: str, channels: int) -> list[int] | None:
    """Return the position of each channel of WAV's order in the order of a subtype.

    Args:
        subtype: Libsndfile's name.
        channels: Number of channels.

    Returns:
        Indices into the coded channels; None where both orders are the same.
    """
    order = _SURROUND.get(channels) if subtype in ("VORBIS", "OPUS") else None
    return None if order is None else list(order)


def _parts(file: BinaryIO, name: str) -> tuple[list[_Part], str | None]:
    """Return the streams of a file, and its format where libsndfile would name that of the stream."""
    size = os.fstat(file.fileno()).st_size
    head = file.read(12)
    if head[:4] == b"OggS":
        file.seek(0)
        starts = ogg.links(file)
        ends = [*starts[1:], size]
        if len(starts) > 1 or _samples_before_zero(file, 0, size):
            return [_ogg(file, start, end) for start, end in zip(starts, ends, strict=True)], None
    elif head[:4] in (b"RIFF", b"RF64"):
        _require_plausible_header(file, name, size)
        span = _mp3_in_wav(file)
        if span is not None:
            return [_mpeg(file, *span)], "WAV"
        if head[:4] == b"RF64" and (padded := _padded_sizes(file)):
            return [_Part(_Span(file, 0, size, replaced=padded))], None
    elif head[:4] in (b"fLaC", b"ID3\x03", b"ID3\x04", b"ID3\x02") or head[:1] == b"\xff":
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if head[:4] == b"fLaC":
                _require_one_flac(data, name)
            elif data.find(b"fLaC", 0, 1 << 25) < 0 or head[:1] == b"\xff":
                stream = mpeg.scan(data, 0, size)
                if stream is not None:
                    return [_mpeg(file, 0, size)], None
    file.seek(0)
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    return [_Part(file.fileno())], None


def _ogg(file: BinaryIO, start: int, end: int) -> _Part:
    """Return one stream of Ogg pages; one that begins before position 0 is stamped anew and its beginning left out.

    The Vorbis specification (appendix A.2) has the samples before 0 left out. libsndfile plays them and stops as many
    samples before the end.
    """
    early = _samples_before_zero(file, start, end)
    if not early:
        return _Part(_Span(file, start, end - start))
    shifted = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as its stream
    audio = False
    for page, body in _ogg_pages(file, start, end):
        audio = audio or page.granule not in (0, -1)
        granule = page.granule + early if audio and page.granule != -1 else page.granule
        shifted.write(ogg.page_bytes(page.flags, granule, page.serial, page.sequence, page.lacing, body))
    shifted.seek(0)
    return _Part(shifted, skip=early)


def _samples_before_zero(file: BinaryIO, start: int, end: int) -> int:
    """Return how many samples of a Vorbis stream lie before position 0, as in a piece that was cut from a recording."""
    head = b""
    for page, body in _ogg_pages(file, start, end):
        if not head and not body.startswith(_VORBIS):
            return 0
        if page.granule in (0, -1):
            head += ogg.page_bytes(page.flags, page.granule, page.serial, page.sequence, page.lacing, body)
            continue
        if page.flags & ogg.LAST:  # in the only page of sound, a small position means that its end is left out
            return 0
        head += ogg.page_bytes(ogg.LAST, _FAR, page.serial, page.sequence, page.lacing, body)
        with soundfile.SoundFile(io.BytesIO(head)) as sound:
            return max(0, int(sound.frames) - page.granule)
    return 0


def _ogg_pages(file: BinaryIO, start: int, end: int) -> Iterator[tuple[ogg.Page, bytes]]:
    """Yield the pages of one stream with what their segments hold."""
    file.seek(start)
    for page in ogg.pages(file):
        if page.offset >= end:
            return
        file.seek(page.offset + page.size - sum(page.lacing))
        yield page, file.read(sum(page.lacing))


def _mpeg(file: BinaryIO, start: int, size: int) -> _Part:
    """Return the stream of MPEG frames, so opened that libsndfile reads all of them."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        stream = mpeg.scan(data, start, start + size)
    if stream is None:
        return _Part(_Span(file, start, size))
    if stream.claimed is not None and stream.claimed >= stream.frames > 0:
        return _Part(_Span(file, stream.start, start + size - stream.start))
    length = stream.end - stream.audio
    least = max(1, (stream.frames - _MISSING_FRAMES) * stream.frame_samples)
    return _Part(_Span(file, stream.audio, length, length * _ENDLESS), stream.delay, least)


def _padded_sizes(file: BinaryIO) -> dict[int, bytes]:
    """Return sizes that count the padding of odd chunks in front of the sound, by offset.

    libsndfile 1.2 does not skip that padding in RF64 and then misses the sound.
    """
    sizes = {}
    for chunk in chunks.chunks(file):
        if chunk.name == b"data":
            break
        if chunk.size % 2:
            sizes[chunk.offset - 4] = (chunk.size + 1).to_bytes(4, "little")
    return sizes


def _require_plausible_header(file: BinaryIO, name: str, size: int) -> None:
    """Raise `DataError` for a WAV of rate 0, or with far more data than its header accounts for.

    Recorders leave such a file when they are interrupted, and writers when it exceeds the 32-bit sizes.
    """
    sound = end = 0
    for chunk in chunks.chunks(file):
        end = chunk.offset + chunk.size
        if chunk.name == b"fmt " and chunk.size >= 8:
            file.seek(chunk.offset + 4)
            if file.read(4) == bytes(4):
                raise DataError(f"{name} claims 0 samples a second, expected at least 1")
        elif chunk.name == b"data":
            sound = chunk.size
    file.seek(end)
    behind = file.read(_MOST_TRAILING)
    if end and size - end > max(_MOST_TRAILING, sound // 2) and any(behind) and behind[:3] not in (b"ID3", b"TAG"):
        raise DataError(
            f"{name}: its header claims {sound} bytes of sound, but {size - end} more bytes follow "
            "without a chunk header: repair the header first"
        )


def _mp3_in_wav(file: BinaryIO) -> tuple[int, int] | None:
    """Return offset and size of the MP3 stream that a WAV file wraps; None where it holds something else."""
    tag = 0
    for chunk in chunks.chunks(file):
        if chunk.name == b"fmt " and chunk.size >= 2:
            file.seek(chunk.offset)
            tag = int.from_bytes(file.read(2), "little")
        elif chunk.name == b"data":
            return (chunk.offset, chunk.size) if tag == _MP3_IN_WAV and chunk.size else None
    return None


def _require_one_flac(data: mmap.mmap, name: str) -> None:
    """Raise `DataError` where a second FLAC file was appended, because decoders stop at the end of the first."""
    for sign in (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22"):
        if data.find(sign, 4) > 0:
            raise DataError(
                f"{name} is two FLAC files joined, of which only the first would be read: split or convert it"
            )
