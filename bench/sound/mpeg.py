"""Count the frames of an MPEG audio stream (MP3, MP2) without decoding.

libsndfile reads as many samples as libmpg123 estimates: from the Xing header, else from the size of the first frame,
which is wrong for variable bit rates. Only counting the frames gives the exact length.

Sources: ISO/IEC 11172-3 and 13818-3 (frame header); the "MP3 Info Tag" of LAME, revision 1 (Xing header).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

__all__ = ["MpegStream", "scan"]

_V1_L1 = (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448)
_V1_L2 = (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
_V1_L3 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_V2_L1 = (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256)
_V2_L23 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # by version bits
_DECODER_DELAY = 529  # delay of every layer III decoder, samples
_APE_HEADER = 32
_ID3V1 = 128


class Buffer(Protocol):
    """The methods of `bytes` and memory maps that `scan` uses."""

    def __getitem__(self, index: slice) -> bytes: ...

    def find(self, sub: bytes, start: int, end: int) -> int:
        """Return the offset of some bytes; -1 where there are none."""


class MpegStream(NamedTuple):
    """Content of a stream, and the claims of its Xing header.

    Attributes:
        start: Byte offset of the first frame.
        audio: Byte offset of the first frame of sound: `start`, or that after the Xing or Info frame.
        end: Byte offset after the last whole frame.
        frames: Number of whole frames of sound.
        frame_samples: Samples a channel in each.
        claimed: Frames of sound by the Xing or Info header; None without one.
        delay: Samples at the beginning that encoder and decoder add, by LAME's tag; 0 without one.
    """

    start: int
    audio: int
    end: int
    frames: int
    frame_samples: int
    claimed: int | None
    delay: int


class _Header(NamedTuple):
    version: int
    layer: int  # 1, 2, 3
    rate: int
    length: int  # bytes of the frame
    samples: int
    mono: bool


def scan(data: Buffer, begin: int, end: int) -> MpegStream | None:
    """Count the frames of a stream.

    Tags (ID3v2, APE, ID3v1) and stretches without sync, at the beginning, between and behind frames, are skipped.

    Args:
        data: bytes that hold the stream.
        begin: offset where it may begin.
        end: offset where it ends.

    Returns:
        The stream; None where there is none, or one of free format.
    """
    position = _synchronised(data, begin, end, None)
    if position is None:
        return None
    first = _header(data[position : position + 4])
    assert first is not None
    claimed, delay = _xing(data[position : position + first.length], first)
    start, frames, last = position, 0, position
    audio = position + first.length if claimed is not None else position
    position = audio
    lengths: dict[bytes, int] = {}  # a stream has few different headers
    while position + 4 <= end:
        sign = bytes(data[position : position + 4])
        length = lengths.get(sign)
        if length is None:
            header = _header(sign)
            if header is None or not _alike(header, first):
                resumed = _synchronised(data, position, end, first)
                if resumed is None:
                    break
                position = resumed
                continue
            length = lengths[sign] = header.length
        if position + length > end:
            break
        frames += 1
        position += length
        last = position
    return MpegStream(start, audio, last, frames, first.samples, claimed, delay)


def _synchronised(data: Buffer, position: int, end: int, reference: _Header | None) -> int | None:
    """Return the offset of the next frame that another one or the end follows."""
    while position + 4 <= end:
        tag = _tag_length(data, position, end)
        if tag:
            position += tag
            continue
        position = data.find(b"\xff", position, end)
        if position < 0:
            return None
        header = _header(data[position : position + 4])
        if header is not None and (reference is None or _alike(header, reference)):
            following = position + header.length
            after = _header(data[following : following + 4])
            is_last = following == end or (following < end and bool(_tag_length(data, following, end)))
            if is_last or (after is not None and _alike(after, header)):
                return position
        position += 1
    return None


def _tag_length(data: Buffer, position: int, end: int) -> int:
    """Return the bytes of an ID3v2, APE or ID3v1 tag at an offset; 0 where there is none."""
    head = bytes(data[position : position + _APE_HEADER])
    if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 128:
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        return 10 + size + (10 if head[5] & 0x10 else 0)
    if head[:8] == b"APETAGEX" and len(head) == _APE_HEADER:
        flags = int.from_bytes(head[20:24], "little")
        size = int.from_bytes(head[12:16], "little")
        return _APE_HEADER if not flags & 1 << 29 else _APE_HEADER + size
    return _ID3V1 if head[:3] == b"TAG" and end - position == _ID3V1 else 0


def _header(sign: bytes) -> _Header | None:
    """Read the four bytes of a frame header; None where they are none, or of free format."""
    if len(sign) < 4 or sign[0] != 0xFF or sign[1] & 0xE0 != 0xE0:
        return None
    version, layer = sign[1] >> 3 & 3, 4 - (sign[1] >> 1 & 3)
    kbps, rate = sign[2] >> 4, sign[2] >> 2 & 3
    if version == 1 or layer == 4 or kbps in (0, 15) or rate == 3 or sign[3] & 3 == 2:
        return None
    table = (_V1_L1, _V1_L2, _V1_L3)[layer - 1] if version == 3 else _V2_L1 if layer == 1 else _V2_L23
    hz, padding = _RATES[version][rate], sign[2] >> 1 & 1
    samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
    slot = 4 if layer == 1 else 1
    length = (samples // 8 // slot * table[kbps - 1] * 1000 // hz + padding) * slot
    return _Header(version, layer, hz, length, samples, sign[3] >> 6 == 3)


def _alike(a: _Header, b: _Header) -> bool:
    """Return whether version, layer and rate are the same."""
    return a[:3] == b[:3]


def _xing(frame: bytes, header: _Header) -> tuple[int | None, int]:
    """Return the frames that a Xing or Info header claims (None: no such header) and the delay of LAME's tag."""
    if header.layer != 3:
        return None, 0
    side = (17 if header.mono else 32) if header.version == 3 else (9 if header.mono else 17)
    position = 4 + side
    if frame[position : position + 4] not in (b"Xing", b"Info"):
        return None, 0
    flags = int.from_bytes(frame[position + 4 : position + 8], "big")
    claimed = int.from_bytes(frame[position + 8 : position + 12], "big") if flags & 1 else 0
    lame = (
        position
        + 8
        + (4 if flags & 1 else 0)
        + (4 if flags & 2 else 0)
        + (100 if flags & 4 else 0)
        + (4 if flags & 8 else 0)
    )
    delays = frame[lame + 21 : lame + 24]
    delay = int.from_bytes(delays, "big") >> 12 if len(delays) == 3 and frame[lame : lame + 4].strip(b"\0") else 0
    return claimed, delay + _DECODER_DELAY if delay else 0
