"""Find, copy and insert chunks of RIFF (WAV, RF64) and AIFF files; the samples are not changed.

Sources: Microsoft, "Multimedia Programming Interface and Data Specifications 1.0" (RIFF); EBU Tech 3306 (RF64); Apple,
"Audio Interchange File Format AIFF-C" (1991).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO, Literal, NamedTuple

__all__ = ["Chunk", "chunks", "form", "insert"]

_UNKNOWN_SIZE = 0xFFFFFFFF
_COPY_BYTES = 1 << 20  # bytes copied at once
_ORDER: dict[bytes, Literal["little", "big"]] = {b"RIFF": "little", b"RF64": "little", b"FORM": "big"}


class Chunk(NamedTuple):
    """One chunk.

    Attributes:
        name: four bytes.
        offset: of the body, from the beginning of the file.
        size: bytes of the body that lie in the file.
        claimed: bytes of the body by its header.
    """

    name: bytes
    offset: int
    size: int
    claimed: int


def form(file: BinaryIO) -> tuple[bytes, bytes]:
    """Return the kind of container and of content, such as (b"RIFF", b"WAVE") or (b"FORM", b"AIFF").

    Args:
        file: Seekable.

    Returns:
        The four bytes of the container and of the content.
    """
    file.seek(0)
    head = file.read(12)
    return head[:4], head[8:12]


def chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Walk through the chunks of a RIFF, RF64 or AIFF file.

    The walk ends at the end of the file or at the first header that is none (four printable characters).

    Args:
        file: seekable; anything but such a file has no chunks.

    Yields:
        Chunk after chunk. A chunk that outruns the file, or of unknown length, ends with the file.
    """
    kind, _ = form(file)
    if kind not in _ORDER:
        return
    order = _ORDER[kind]
    file.seek(0, 2)
    end, position, long_sizes = file.tell(), 12, {}
    while position + 8 <= end:
        file.seek(position)
        head = file.read(8)
        name, claimed = head[:4], int.from_bytes(head[4:], order)
        if not all(32 <= sign < 127 or sign == 0xA9 for sign in name):
            return
        if name == b"ds64":
            sizes = file.read(24)
            long_sizes = {b"data": int.from_bytes(sizes[8:16], "little")}
        if claimed == _UNKNOWN_SIZE:
            claimed = long_sizes.get(name, claimed)
        size = max(0, min(claimed, end - position - 8))
        yield Chunk(name, position + 8, size, claimed)
        position += 8 + size + size % 2


def insert(
    source: BinaryIO,
    target: BinaryIO,
    before: Sequence[tuple[bytes, bytes]],
    behind: Sequence[tuple[bytes, bytes]],
) -> None:
    """Copy a WAV, RF64 or AIFF file and put chunks before and behind its sound.

    Args:
        source: the file, seekable.
        target: the copy, seekable and empty.
        before: (name, body) of chunks in front of the sound.
        behind: (name, body) of chunks after everything else.
    """
    kind, _ = form(source)
    order = _ORDER[kind]

    def write_chunk(name: bytes, body: bytes) -> None:
        target.write(name + len(body).to_bytes(4, order) + body + bytes(len(body) % 2))

    source.seek(0)
    target.write(source.read(12))
    for chunk in list(chunks(source)):
        if chunk.name in (b"data", b"SSND"):
            for name, body in before:
                write_chunk(name, body)
        source.seek(chunk.offset - 8)
        target.write(source.read(8))
        _copy(source, target, chunk.size)
        target.write(bytes(chunk.size % 2))
    for name, body in behind:
        write_chunk(name, body)
    size = target.tell() - 8
    if kind == b"RF64":
        target.seek(20)
        target.write(size.to_bytes(8, "little"))  # ds64 is the first chunk
    else:
        target.seek(4)
        target.write(size.to_bytes(4, order))
    target.seek(0, 2)


def _copy(source: BinaryIO, target: BinaryIO, size: int) -> None:
    while size > 0:
        part = source.read(min(size, _COPY_BYTES))
        if not part:
            raise OSError(f"the draft ends {size} bytes before the end of a chunk")
        target.write(part)
        size -= len(part)
