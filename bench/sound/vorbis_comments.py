"""Read and write Vorbis comments and pictures, in FLAC and in Ogg.

Sources: Xiph.org, "Ogg Vorbis I format specification: comment field and header specification"; RFC 9639 (FLAC), section
8; RFC 7845 (Opus in Ogg), section 5.2.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Sequence
from typing import BinaryIO

from bench.sound import ogg

__all__ = ["COMMENT_BLOCK", "KEPT_BLOCKS", "PICTURE_BLOCK", "Fields", "flac_blocks", "into_flac", "into_ogg", "of_ogg"]

Fields = tuple[tuple[str, str], ...]
COMMENT_BLOCK, PICTURE_BLOCK = 4, 6
KEPT_BLOCKS = (2, 5)  # application data, cue sheet
_LARGEST_BLOCK = (1 << 24) - 1
_PICTURE = "METADATA_BLOCK_PICTURE"
_SIGNS = {b"\x03vorbis": 7, b"OpusTags": 8}
_LARGEST_HEADER = 1 << 27  # bytes of comments that are read


def parse(body: bytes) -> Fields:
    """Read a comment block.

    Args:
        body: vendor, count and fields, without the sign in front of them.

    Returns:
        Pairs of name (upper case) and value. What is damaged is left out.
    """
    position = 4 + int.from_bytes(body[:4], "little")
    count = int.from_bytes(body[position : position + 4], "little")
    position += 4
    fields = []
    for _ in range(min(count, len(body))):
        size = int.from_bytes(body[position : position + 4], "little")
        name, equals, value = body[position + 4 : position + 4 + size].decode("utf-8", "replace").partition("=")
        if equals and position + 4 + size <= len(body):
            fields.append((name.upper(), value))
        position += 4 + size
    return tuple(fields)


def build(vendor: bytes, fields: Sequence[tuple[str, str]]) -> bytes:
    """Build a comment block.

    Args:
        vendor: name of the encoder.
        fields: pairs of name and value.

    Returns:
        Its body, without sign and framing bit.
    """
    body = len(vendor).to_bytes(4, "little") + vendor + len(fields).to_bytes(4, "little")
    for name, value in fields:
        text = f"{name}={value}".encode()
        body += len(text).to_bytes(4, "little") + text
    return body


def flac_blocks(file: BinaryIO, start: int = 0) -> list[tuple[int, bytes]]:
    """Read the metadata blocks of a FLAC file.

    Args:
        file: seekable.
        start: offset of its sign.

    Returns:
        Pairs of type and body; the file is left at the first frame.
    """
    file.seek(start + 4)
    blocks = []
    while len(head := file.read(4)) == 4:
        size = int.from_bytes(head[1:], "big")
        blocks.append((head[0] & 0x7F, file.read(size)))
        if head[0] & 0x80:
            break
    return blocks


def into_flac(
    source: BinaryIO,
    target: BinaryIO,
    fields: Fields,
    pictures: Sequence[bytes],
    blocks: Sequence[tuple[int, bytes]],
) -> None:
    """Copy a FLAC file with other tags.

    Args:
        source: the file.
        target: the copy, empty.
        fields: its comments.
        pictures: its pictures.
        blocks: its further blocks, as (type, body).
    """
    source_blocks = flac_blocks(source)
    vendor = next(
        (body[4 : 4 + int.from_bytes(body[:4], "little")] for kind, body in source_blocks if kind == COMMENT_BLOCK), b""
    )
    target_blocks = [(kind, body) for kind, body in source_blocks if kind not in (1, COMMENT_BLOCK, PICTURE_BLOCK)]
    target_blocks += [(COMMENT_BLOCK, build(vendor, fields)), *((PICTURE_BLOCK, body) for body in pictures), *blocks]
    target_blocks = [(kind, body) for kind, body in target_blocks if len(body) <= _LARGEST_BLOCK]
    target.write(b"fLaC")
    for number, (kind, body) in enumerate(target_blocks):
        last = 0x80 if number == len(target_blocks) - 1 else 0
        target.write(bytes([kind | last]) + len(body).to_bytes(3, "big") + body)
    shutil.copyfileobj(source, target)


def of_ogg(file: BinaryIO) -> tuple[Fields, tuple[bytes, ...]]:
    """Read comments and pictures of the first stream of an Ogg file.

    Args:
        file: seekable.

    Returns:
        Fields without those of pictures, and bodies of FLAC's PICTURE block.
    """
    file.seek(0)
    first = next(ogg.pages(file), None)
    packet = b"" if first is None else _packets(file, first.serial, 2)[1]
    for sign, size in _SIGNS.items():
        if packet.startswith(sign):
            fields = parse(packet[size:])
            pictures = tuple(picture for name, value in fields if name == _PICTURE and (picture := _decoded(value)))
            return tuple(pair for pair in fields if pair[0] != _PICTURE), pictures
    return (), ()


def into_ogg(
    source: BinaryIO,
    target: BinaryIO,
    fields: Fields,
    pictures: Sequence[bytes],
    blocks: Sequence[tuple[int, bytes]] = (),
) -> None:
    """Copy an Ogg Vorbis file of one stream with other tags.

    Args:
        source: the file.
        target: the copy, empty.
        fields: its comments.
        pictures: bodies of FLAC's PICTURE block.
        blocks: not used: Ogg has none.
    """
    source.seek(0)
    pages = list(ogg.pages(source))
    serial = pages[0].serial
    _, comment, setup = _packets(source, serial, 3)
    vendor = comment[11 : 11 + int.from_bytes(comment[7:11], "little")]
    all_fields = [*fields, *((_PICTURE, base64.b64encode(body).decode()) for body in pictures)]
    headers = ogg.pages_of([b"\x03vorbis" + build(vendor, all_fields) + b"\x01", setup], serial, 1)
    source.seek(0)
    target.write(source.read(pages[0].size))
    target.write(b"".join(headers))
    first = _first_behind(pages, 3)
    for number, page in enumerate(pages[first:]):
        source.seek(page.offset + 27 + len(page.lacing))
        body = source.read(page.size - 27 - len(page.lacing))
        sequence = 1 + len(headers) + number
        target.write(ogg.page_bytes(page.flags, page.granule, serial, sequence, page.lacing, body))


def _packets(file: BinaryIO, serial: int, count: int) -> list[bytes]:
    """Return the first packets of a stream; empty ones where there are too few."""
    packets, open_ = [], b""
    file.seek(0)
    for page in list(_until(file, serial, count)):
        file.seek(page.offset + 27 + len(page.lacing))
        for size in page.lacing:
            open_ += file.read(size)
            if size < 255:
                packets.append(open_)
                open_ = b""
    return (packets + [b""] * count)[:count]


def _until(file: BinaryIO, serial: int, count: int) -> list[ogg.Page]:
    """Return the pages of a stream up to the end of a packet, by number."""
    pieces, complete, size = [], 0, 0
    for page in ogg.pages(file):
        if page.serial == serial:
            pieces.append(page)
            complete += sum(length < 255 for length in page.lacing)
            size += page.size
        if complete >= count or size > _LARGEST_HEADER:
            break
    return pieces


def _first_behind(pages: list[ogg.Page], packets: int) -> int:
    """Return the number of the first page after so many packets, the last of which ends its page."""
    complete = 0
    for number, page in enumerate(pages):
        complete += sum(length < 255 for length in page.lacing)
        if complete >= packets:
            return number + 1
    return len(pages)


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:  # not base64
        return b""
