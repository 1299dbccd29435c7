"""ID3 tags: text and pictures out of versions 1 and 2.2 to 2.4, and into 2.4.

Sources: id3.org, "ID3 tag version 2.4.0: main structure" and "native frames", versions 2.3.0 and 2.2.0.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import BinaryIO

__all__ = ["length", "parse", "parse_v1", "surround", "tag", "tail"]

Fields = tuple[tuple[str, str], ...]
_ENCODINGS = ("latin-1", "utf-16", "utf-16-be", "utf-8")
_NAMES = {
    "TIT2": "TITLE", "TPE1": "ARTIST", "TALB": "ALBUM", "TDRC": "DATE", "TYER": "DATE", "TRCK": "TRACKNUMBER",
    "TPOS": "DISCNUMBER", "TCON": "GENRE", "TCOP": "COPYRIGHT", "TSRC": "ISRC", "TCOM": "COMPOSER", "TPUB": "PUBLISHER",
    "TPE2": "ALBUMARTIST", "TPE3": "CONDUCTOR", "TPE4": "REMIXER", "TEXT": "LYRICIST", "TENC": "ENCODED-BY",
    "TBPM": "BPM", "TKEY": "KEY", "TLAN": "LANGUAGE", "TIT1": "GROUPING", "TIT3": "SUBTITLE", "TMED": "MEDIA",
    "TOPE": "ORIGINAL ARTIST", "TOWN": "OWNER", "TSSE": "ENCODER", "TDRL": "RELEASE DATE", "TDOR": "ORIGINAL DATE",
}  # fmt: skip
_OLD = {
    "TT2": "TIT2", "TP1": "TPE1", "TAL": "TALB", "TYE": "TYER", "TRK": "TRCK", "TPA": "TPOS", "TCO": "TCON",
    "TCR": "TCOP", "TRC": "TSRC", "TCM": "TCOM", "TPB": "TPUB", "TP2": "TPE2", "TXT": "TEXT", "TEN": "TENC",
    "TBP": "TBPM", "TXX": "TXXX", "COM": "COMM", "ULT": "USLT", "PIC": "APIC", "TSS": "TSSE", "TT1": "TIT1",
}  # fmt: skip
_LINKS = {"WCOP": "COPYRIGHT URL", "WOAR": "ARTIST URL", "WOAF": "FILE URL", "WPUB": "PUBLISHER URL"}
_V1 = ((3, 33, "TITLE"), (33, 63, "ARTIST"), (63, 93, "ALBUM"), (93, 97, "DATE"), (97, 127, "COMMENT"))


def length(head: bytes) -> int:
    """Return the size of an ID3v2 tag.

    Args:
        head: The first 10 bytes of a file.

    Returns:
        Bytes; 0 where no tag begins.
    """
    if head[:3] != b"ID3" or len(head) < 10 or max(head[6:10]) > 127:
        return 0
    return 10 + _syncsafe(head[6:10]) + (10 if head[5] & 0x10 else 0)


def parse(data: bytes) -> tuple[Fields, tuple[bytes, ...], list[str]]:
    """Read a tag of version 2.2, 2.3 or 2.4.

    Args:
        data: the tag.

    Returns:
        Text as pairs of name (of Vorbis comments) and value; pictures as bodies of FLAC's PICTURE block; names of
        frames that are neither.
    """
    if not length(data[:10]):
        return (), (), []
    version, flags, body = data[3], data[5], data[10:]
    if flags & 0x80 and version < 4:
        body = body.replace(b"\xff\0", b"\xff")
    position = 0
    if flags & 0x40 and version > 2:
        position = _syncsafe(body[:4]) if version == 4 else 4 + int.from_bytes(body[:4], "big")
    fields: list[tuple[str, str]] = []
    pictures, unsupported = [], []
    width = 3 if version == 2 else 4
    while position + 2 * width <= len(body) and body[position] != 0:
        name = body[position : position + width].decode("latin-1")
        counted = body[position + width : position + 2 * width]
        size = _syncsafe(counted) if version == 4 else int.from_bytes(counted, "big")
        position += 6 if version == 2 else 10
        frame, name = body[position : position + size], _OLD.get(name, name)
        if version == 4 and body[position - 1] & 2:
            frame = frame.replace(b"\xff\0", b"\xff")
        if version == 4 and body[position - 1] & 1:
            frame = frame[4:]
        position += size
        if name == "APIC":
            pictures.append(_picture(frame, old=version == 2))
        elif not (pairs := _fields(name, frame)):
            unsupported.append(name)
        else:
            fields += pairs
    return tuple(fields), tuple(pictures), unsupported


def parse_v1(data: bytes) -> Fields:
    """Read an ID3v1 tag.

    Args:
        data: Bytes whose last 128 may be a tag.

    Returns:
        Pairs of name (of Vorbis comments) and value; none where there is no tag.
    """
    block = data[-128:]
    if block[:3] != b"TAG":
        return ()
    texts = [(name, block[start:end].split(b"\0")[0].decode("latin-1").strip()) for start, end, name in _V1]
    return tuple((name, text) for name, text in texts if text)


def tag(fields: Fields, pictures: Sequence[bytes]) -> bytes:
    """Build a tag of version 2.4.

    Args:
        fields: pairs of name (of Vorbis comments) and value.
        pictures: bodies of FLAC's PICTURE block.

    Returns:
        The tag.
    """
    names = {value: key for key, value in reversed(_NAMES.items())}
    texts: dict[str, list[str]] = {}
    body = b""
    for name, value in fields:
        if name in names:
            texts.setdefault(names[name], []).append(value)
        elif name in ("COMMENT", "LYRICS"):
            body += _frame("COMM" if name == "COMMENT" else "USLT", b"\x03XXX\0" + value.encode())
        else:
            body += _frame("TXXX", b"\x03" + name.encode() + b"\0" + value.encode())
    for frame, values in texts.items():
        body += _frame(frame, b"\x03" + "\0".join(values).encode())
    for picture in pictures:
        body += _frame("APIC", _attached(picture))
    return b"ID3\x04\0\0" + _safe(len(body)) + body


def tail(file: BinaryIO) -> bytes:
    """Return the bytes of an APE tag and of an ID3v1 tag at the end of a file.

    Args:
        file: Seekable.

    Returns:
        The bytes; empty where there is neither.
    """
    file.seek(0, 2)
    size = file.tell()
    file.seek(max(0, size - 128))
    end = size - 128 if file.read(3) == b"TAG" and size > 128 else size
    begin = end
    if end >= 32:
        file.seek(end - 32)
        footer = file.read(32)
        if footer[:8] == b"APETAGEX":
            begin = end - int.from_bytes(footer[12:16], "little")
            begin -= 32 if int.from_bytes(footer[20:24], "little") & 1 << 31 else 0
    file.seek(max(0, begin))
    return file.read(size - max(0, begin))


def surround(source: BinaryIO, target: BinaryIO, head: bytes, behind: bytes) -> None:
    """Copy an MP3 file with tags in front and behind.

    Args:
        source: the file, without tags.
        target: the copy, empty.
        head: an ID3v2 tag.
        behind: APE and ID3v1 tags.
    """
    target.write(head)
    source.seek(0)
    shutil.copyfileobj(source, target)
    target.write(behind)


def _fields(name: str, frame: bytes) -> list[tuple[str, str]]:
    """Return the pairs of a frame of text; none for any other frame."""
    if name in _LINKS:
        return [(_LINKS[name], frame.decode("latin-1").strip("\0"))]
    if not frame or frame[0] > 3:
        return []
    if name in ("COMM", "USLT"):
        _, text = _split(frame[0], frame[4:])
        return [("COMMENT" if name == "COMM" else "LYRICS", text)]
    if name == "TXXX":
        about, text = _split(frame[0], frame[1:])
        return [(about.upper() or "TXXX", text)]
    if not name.startswith("T"):
        return []
    text = _decoded(frame[0], frame[1:])
    return [(_NAMES.get(name, name), value) for value in text.strip("\0").split("\0") if value]


def _decoded(encoding: int, text: bytes) -> str:
    return text.decode(_ENCODINGS[encoding], "replace").replace("\ufeff", "")


def _split(encoding: int, text: bytes) -> tuple[str, str]:
    """Return description and text, separated by a zero."""
    about, _, text_part = _decoded(encoding, text).partition("\0")
    return about, text_part.strip("\0")


def _picture(frame: bytes, *, old: bool) -> bytes:
    """Return the body of FLAC's PICTURE block of an APIC or PIC frame."""
    encoding, remaining = frame[0] if frame else 0, frame[1:]
    if old:
        mime, remaining = b"image/" + remaining[:3].lower().replace(b"jpg", b"jpeg"), remaining[3:]
    else:
        mime, _, remaining = remaining.partition(b"\0")
    kind, remaining = remaining[0] if remaining else 0, remaining[1:]
    if encoding in (1, 2):
        end = next((i for i in range(0, len(remaining) - 1, 2) if remaining[i : i + 2] == b"\0\0"), len(remaining))
        about, data = remaining[:end], remaining[end + 2 :]
    else:
        about, _, data = remaining.partition(b"\0")
    text = _decoded(min(encoding, 3), about).encode()
    sizes = [kind, len(mime)], [len(text)], [0, 0, 0, 0, len(data)]
    packed = [b"".join(number.to_bytes(4, "big") for number in group) for group in sizes]
    return packed[0] + mime + packed[1] + text + packed[2] + data


def _attached(picture: bytes) -> bytes:
    """Return the body of an APIC frame of FLAC's PICTURE block."""
    kind, mime_size = (int.from_bytes(picture[start : start + 4], "big") for start in (0, 4))
    mime, position = picture[8 : 8 + mime_size], 8 + mime_size
    text_size = int.from_bytes(picture[position : position + 4], "big")
    text = picture[position + 4 : position + 4 + text_size]
    return b"\x03" + mime + b"\0" + bytes([min(kind, 255)]) + text + b"\0" + picture[position + 4 + text_size + 20 :]


def _frame(name: str, body: bytes) -> bytes:
    return name.encode() + _safe(len(body)) + b"\0\0" + body


def _syncsafe(four: bytes) -> int:
    return four[0] << 21 | four[1] << 14 | four[2] << 7 | four[3] if len(four) == 4 else 0


def _safe(number: int) -> bytes:
    """Return a number as four bytes of seven bits."""
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))
