"""Read and write pages of an Ogg file.

Source: RFC 3533, "The Ogg Encapsulation Format Version 0".
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

__all__ = ["LAST", "Page", "links", "page_bytes", "pages", "pages_of"]

_HEADER = 27
_CONTINUED, _FIRST, LAST = 1, 2, 4
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_SEGMENTS = 255


class Page(NamedTuple):
    """One page.

    Attributes:
        offset: bytes from the beginning of the file.
        size: bytes of the whole page.
        flags: 1: continues a packet, 2: first of a stream, 4: last.
        granule: position at the end of the page; -1: no packet ends in it.
        serial: number of the stream.
        sequence: number of the page in its stream.
        lacing: the segment table.
    """

    offset: int
    size: int
    flags: int
    granule: int
    serial: int
    sequence: int
    lacing: bytes


def pages(file: BinaryIO) -> Iterator[Page]:
    """Yield the pages of a file, until bytes that are not a page.

    Args:
        file: Seekable, at the beginning of a page.

    Returns:
        An iterator over pages.
    """
    offset = file.tell()
    while True:
        file.seek(offset)
        head = file.read(_HEADER)
        if len(head) < _HEADER or head[:4] != b"OggS":
            return
        lacing = file.read(head[26])
        if len(lacing) < head[26]:
            return
        size = _HEADER + len(lacing) + sum(lacing)
        granule = int.from_bytes(head[6:14], "little", signed=True)
        serial, sequence = int.from_bytes(head[14:18], "little"), int.from_bytes(head[18:22], "little")
        yield Page(offset, size, head[5], granule, serial, sequence, lacing)
        offset += size


def links(file: BinaryIO) -> list[int]:
    """Find the links of a chained file (RFC 3533, section 4): consecutive streams, as in joined files.

    Args:
        file: seekable, at the beginning of a page.

    Returns:
        The byte offset of each link; one offset for a file that is not chained.
    """
    starts: list[int] = []
    before = 0  # flags of the page before
    for page in pages(file):
        if page.flags & _FIRST and (not starts or not before & _FIRST):
            starts.append(page.offset)
        before = page.flags
    return starts


def pages_of(packets: list[bytes], serial: int, sequence: int, granule: int = 0) -> list[bytes]:
    """Divide header packets into pages, each page full before the next begins.

    Args:
        packets: In order; the last one ends its page.
        serial: Number of the stream.
        sequence: Number of the first page.
        granule: Position of every page in which a packet ends.

    Returns:
        The pages, with their checksums.
    """
    lacing, body = [], b"".join(packets)
    for packet in packets:
        lacing += [255] * (len(packet) // 255) + [len(packet) % 255]
    built: list[bytes] = []
    position, continued = 0, False
    for start in range(0, len(lacing), _SEGMENTS):
        part = lacing[start : start + _SEGMENTS]
        ends = any(length < 255 for length in part)
        size = sum(part)
        flags = _CONTINUED if continued else 0
        built.append(
            page_bytes(
                flags, granule if ends else -1, serial, sequence + len(built), part, body[position : position + size]
            )
        )
        position += size
        continued = part[-1] == 255
    return built


def page_bytes(flags: int, granule: int, serial: int, sequence: int, lacing: list[int] | bytes, body: bytes) -> bytes:
    """Build one page.

    Args:
        flags, granule, serial, sequence, lacing: as in `Page`.
        body: what the segments hold.

    Returns:
        The page with its checksum.
    """
    head = b"OggS\0" + bytes([flags]) + granule.to_bytes(8, "little", signed=True) + serial.to_bytes(4, "little")
    head += sequence.to_bytes(4, "little")
    behind = bytes([len(lacing)]) + bytes(lacing) + body
    return head + _checksum(head + bytes(4) + behind).to_bytes(4, "little") + behind


def _checksum(page: bytes) -> int:
    """Return Ogg's CRC-32 (polynomial 0x04c11db7, most significant bit first, no inversion) by way of zlib's."""
    reflected = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)
