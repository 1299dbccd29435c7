"""Metadata of sound files: title, copyright, ISRC, pictures, cue points, loops, production chunks.

libsndfile writes none of it. `read` takes it from the source, `write` puts it into a file that has been written. A file
of the same kind gets everything byte by byte; another kind gets text fields and pictures, and the names of what it
cannot hold are returned.

* WAV, RF64: every chunk but those of the sound: LIST (INFO, adtl), bext, iXML, cue, smpl, inst, id3, ...
* AIFF: every chunk but those of the sound: MARK, INST, COMT, NAME, AUTH, (c), ANNO, APPL, ID3, ...
* FLAC: Vorbis comments, pictures, cue sheets, application blocks.
* OGG: Vorbis comments, with pictures in METADATA_BLOCK_PICTURE.
* MP3: ID3v2, ID3v1 and APE tags.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import soundfile

from bench.errors import DataError
from bench.sound import chunks, id3, vorbis_comments
from bench.sound.decoding import opened_decoder
from bench.sound.vorbis_comments import Fields

__all__ = ["Tags", "read", "write"]

# Chunks of the sound itself, padding, and chunks computed from the source's sound.
_SOUND = {b"fmt ", b"data", b"fact", b"ds64", b"PEAK", b"COMM", b"SSND", b"FVER"}
_FILLING = {b"JUNK", b"junk", b"PAD ", b"FLLR", b"filr"}
_COMPUTED = {b"levl": "peak envelope (levl)"}
_ID3 = (b"id3 ", b"ID3 ")
# Names of RIFF's INFO and AIFF's text chunks in Vorbis comments.
_INFO = {
    b"INAM": "TITLE", b"IART": "ARTIST", b"ICOP": "COPYRIGHT", b"ICRD": "DATE", b"ICMT": "COMMENT", b"IGNR": "GENRE",
    b"IPRD": "ALBUM", b"ITRK": "TRACKNUMBER", b"IPRT": "TRACKNUMBER", b"ISRC": "SOURCE", b"IENG": "ENGINEER",
    b"ISFT": "ENCODER", b"IKEY": "KEYWORDS", b"ILNG": "LANGUAGE", b"ISBJ": "DESCRIPTION", b"ITCH": "ENCODED-BY",
}  # fmt: skip
_AIFF_TEXT = {b"NAME": "TITLE", b"AUTH": "ARTIST", b"(c) ": "COPYRIGHT", b"ANNO": "COMMENT"}
_CHUNK_NAMES = {
    b"bext": "broadcast extension (bext)", b"iXML": "iXML", b"cue ": "cue points (cue)", b"smpl": "loop points (smpl)",
    b"inst": "instrument (inst)", b"MARK": "markers (MARK)", b"INST": "instrument (INST)", b"axml": "axml",
    b"COMT": "comments with time (COMT)", b"APPL": "application data (APPL)", b"plst": "play list (plst)",
    b"CHAN": "channel layout (CHAN)", b"cart": "cart", b"_PMX": "XMP (_PMX)", b"acid": "loop info (acid)",
}  # fmt: skip
_WAVE_EXTENSIBLE = 0xFFFE


@dataclass(frozen=True)
class Tags:
    """The metadata of a sound file.

    Attributes:
        kind: of the file: "RIFF", "AIFF", "FLAC", "OGG", "MP3", or another format's name.
        fields: text, as (name of a Vorbis comment, value), in order.
        pictures: bodies of FLAC's PICTURE block.
        before: RIFF or AIFF chunks in front of the sound, as (name, body).
        behind: those behind it.
        blocks: FLAC's cue sheets and application blocks, as (type, body).
        head: bytes of an ID3v2 tag.
        tail: bytes of ID3v1 and APE tags.
        channel_mask: loudspeakers of the channels (WAVE_FORMAT_EXTENSIBLE); 0: unknown.
        kind_specific: names of what only a file of the same kind can hold, beside chunks and blocks.
        unread: names of what is not copied to any file.
    """

    kind: str = ""
    fields: Fields = ()
    pictures: tuple[bytes, ...] = ()
    before: tuple[tuple[bytes, bytes], ...] = ()
    behind: tuple[tuple[bytes, bytes], ...] = ()
    blocks: tuple[tuple[int, bytes], ...] = ()
    head: bytes = b""
    tail: bytes = b""
    channel_mask: int = 0
    kind_specific: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


def read(path: str | os.PathLike[str]) -> Tags:
    """Read the metadata of a sound file.

    Args:
        path: The file.

    Returns:
        The tags; empty ones for a file that has none.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] in (b"RIFF", b"RF64", b"FORM"):
            return _chunked(file, "AIFF" if head[:4] == b"FORM" else "RIFF")
        if head[:4] == b"OggS":
            return _with_comments(Tags("OGG"), *vorbis_comments.of_ogg(file))
        skipped = id3.length(head)
        file.seek(skipped)
        if file.read(4) == b"fLaC":
            blocks = vorbis_comments.flac_blocks(file, skipped)
            unread = ("ID3 tag in front of FLAC",) if skipped else ()
            return _flac(blocks, unread)
        if skipped or head[:1] == b"\xff":
            return _mp3(file)
    return _other_format(path)


def write(path: Path, tags: Tags) -> list[str]:
    """Put tags into a file that holds sound and no tags yet.

    Args:
        path: The file; its content determines its kind. A copy with tags is written and replaces it.
        tags: From `read`.

    Returns:
        Names of what such a file cannot hold.

    Raises:
        OSError: The file cannot be written.
    """
    with path.open("rb") as file:
        head = file.read(4)
        kind = {b"RIFF": "RIFF", b"RF64": "RIFF", b"FORM": "AIFF", b"OggS": "OGG", b"fLaC": "FLAC"}.get(head, "MP3")
        converted, unsupported = _converted(tags, kind)
        if head == b"RF64":  # libsndfile 1.2 does not find the sound after a chunk of odd size
            converted = replace(converted, before=(), behind=(*converted.before, *converted.behind))
        rewrite = _rewriter(converted, kind)
        aside = path.with_name(path.name + ".tagged")
        if rewrite is not None:
            with aside.open("xb+") as target:
                rewrite(file, target)
    if rewrite is not None:
        if _samples(aside) == _samples(path):
            os.replace(aside, path)
        else:
            aside.unlink()
            return ["all of them: the tags of the source are damaged"]
    if tags.channel_mask and kind == "RIFF":
        with path.open("r+b") as file:
            _set_mask(file, tags.channel_mask)
    return unsupported


def _samples(path: Path) -> int | None:
    """Return the samples of a file by its header; -1 where libsndfile, which is strict about tags, cannot open it."""
    try:
        with opened_decoder(path, "the draft") as sound:
            return sound.samples
    except (soundfile.LibsndfileError, DataError):
        return -1


def _rewriter(tags: Tags, kind: str) -> Callable[[BinaryIO, BinaryIO], None] | None:
    """Return a function that copies a file of that kind with these tags; None where there is nothing to add."""
    if kind in ("RIFF", "AIFF"):
        more = bool(tags.before or tags.behind)
        return (lambda source, target: chunks.insert(source, target, tags.before, tags.behind)) if more else None
    if kind == "MP3":
        more = bool(tags.head or tags.tail)
        return (lambda source, target: id3.surround(source, target, tags.head, tags.tail)) if more else None
    into = vorbis_comments.into_ogg if kind == "OGG" else vorbis_comments.into_flac
    if not (tags.fields or tags.pictures or tags.blocks):
        return None
    return lambda source, target: into(source, target, tags.fields, tags.pictures, tags.blocks)


def _converted(tags: Tags, kind: str) -> tuple[Tags, list[str]]:
    """Return the tags as a file of that kind holds them, and names of what it cannot hold."""
    unsupported = list(tags.unread)
    if tags.kind == kind:
        return tags, unsupported
    unsupported += tags.kind_specific
    chunked = (*tags.before, *tags.behind)
    texts = {*_AIFF_TEXT, *_ID3, b"LIST"}
    unsupported += [_CHUNK_NAMES.get(name, name.decode("latin-1").strip()) for name, _ in chunked if name not in texts]
    unsupported += [
        "labels of cue points (LIST adtl)" for name, body in chunked if name == b"LIST" and body[:4] == b"adtl"
    ]
    unsupported += [
        {2: "application data", 5: "cue sheet"}.get(block, "a block") for block, _ in tags.blocks if kind != "OGG"
    ]
    unsupported += ["cue sheet or application data" for _ in tags.blocks[:1] if kind == "OGG"]
    fields = tags.fields
    if kind == "FLAC" and tags.channel_mask:
        fields = (*fields, ("WAVEFORMATEXTENSIBLE_CHANNEL_MASK", f"0x{tags.channel_mask:04X}"))
    common = Tags(kind, fields, tags.pictures)
    if kind in ("OGG", "FLAC") or not (fields or tags.pictures):
        return common, list(dict.fromkeys(unsupported))
    id3_tag = id3.tag(fields, tags.pictures)
    if kind == "MP3":
        return replace(common, head=id3_tag), list(dict.fromkeys(unsupported))
    text_chunks = _info_list(fields) if kind == "RIFF" else _aiff_texts(fields)
    return replace(common, behind=(*text_chunks, (_ID3[kind == "AIFF"], id3_tag))), list(dict.fromkeys(unsupported))


def _chunked(file: BinaryIO, kind: str) -> Tags:
    """Read the chunks of WAV, RF64 or AIFF."""
    parts: tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]] = ([], [])
    specific: list[str] = []
    unread: list[str] = []
    after_sound = mask = 0
    fields: list[tuple[str, str]] = []
    pictures: tuple[bytes, ...] = ()
    for chunk in chunks.chunks(file):
        if chunk.name in (b"data", b"SSND"):
            after_sound = 1
        if chunk.name in _COMPUTED:
            unread.append(_COMPUTED[chunk.name])
        if (chunk.name in _SOUND and chunk.name != b"fmt ") or chunk.name in _FILLING or chunk.name in _COMPUTED:
            continue
        file.seek(chunk.offset)
        body = file.read(chunk.size)
        if chunk.name == b"fmt ":
            extensible = len(body) >= 24 and int.from_bytes(body[:2], "little") == _WAVE_EXTENSIBLE
            mask = int.from_bytes(body[20:24], "little") if extensible else 0
            continue
        parts[after_sound].append((chunk.name, body))
        if chunk.name == b"LIST" and body[:4] == b"INFO":
            fields += _info_fields(body)
        elif chunk.name in _AIFF_TEXT and kind == "AIFF":
            fields.append((_AIFF_TEXT[chunk.name], _text(body)))
        elif chunk.name in _ID3:
            more, pictures, unknown_frames = id3.parse(body)
            specific += [f"ID3 frame {name}" for name in unknown_frames]
            fields += [pair for pair in more if pair[0] not in {name for name, _ in fields}]
    before, behind = tuple(parts[0]), tuple(parts[1])
    return Tags(
        kind,
        tuple(fields),
        pictures,
        before,
        behind,
        channel_mask=mask,
        kind_specific=tuple(specific),
        unread=tuple(unread),
    )


def _info_fields(body: bytes) -> Fields:
    """Read the text of a LIST INFO chunk."""
    fields, position = [], 4
    while position + 8 <= len(body):
        name, size = body[position : position + 4], int.from_bytes(body[position + 4 : position + 8], "little")
        text = _text(body[position + 8 : position + 8 + size])
        if text:
            fields.append((_INFO.get(name, name.decode("latin-1")), text))
        position += 8 + size + size % 2
    return tuple(fields)


def _info_list(fields: Fields) -> tuple[tuple[bytes, bytes], ...]:
    """Return the LIST INFO chunk of the fields that have a name there."""
    names = {value: key for key, value in reversed(_INFO.items())}
    body = b""
    for name, value in fields:
        if name in names:
            text = value.encode("utf-8") + b"\0"
            body += names[name] + len(text).to_bytes(4, "little") + text + bytes(len(text) % 2)
    return ((b"LIST", b"INFO" + body),) if body else ()


def _aiff_texts(fields: Fields) -> tuple[tuple[bytes, bytes], ...]:
    """Return AIFF's text chunks of the fields that have one."""
    names = {value: key for key, value in _AIFF_TEXT.items()}
    return tuple((names[name], value.encode("utf-8")) for name, value in fields if name in names)


def _flac(blocks: list[tuple[int, bytes]], unread: tuple[str, ...]) -> Tags:
    """Read the metadata blocks of FLAC."""
    fields: Fields = ()
    for block, body in blocks:
        if block == vorbis_comments.COMMENT_BLOCK:
            fields += vorbis_comments.parse(body)
    pictures = tuple(body for block, body in blocks if block == vorbis_comments.PICTURE_BLOCK)
    further_blocks = tuple((block, body) for block, body in blocks if block in vorbis_comments.KEPT_BLOCKS)
    tags = Tags("FLAC", fields, pictures, blocks=further_blocks, unread=unread)
    return replace(tags, channel_mask=_mask_of(fields))


def _mask_of(fields: Fields) -> int:
    """Return the channel mask that FLAC stores in a comment; 0 without one."""
    for name, value in fields:
        if name.upper() == "WAVEFORMATEXTENSIBLE_CHANNEL_MASK":
            try:
                return int(value, 0)
            except ValueError:
                return 0
    return 0


def _with_comments(tags: Tags, fields: Fields, pictures: tuple[bytes, ...]) -> Tags:
    return replace(tags, fields=fields, pictures=pictures)


def _mp3(file: BinaryIO) -> Tags:
    """Read ID3v2 at the beginning, APE and ID3v1 at the end."""
    file.seek(0)
    size = id3.length(file.read(10))
    file.seek(0)
    head = file.read(size)
    fields, pictures, unknown_frames = id3.parse(head)
    tail = id3.tail(file)
    fields = fields or id3.parse_v1(tail)
    specific = [f"ID3 frame {name}" for name in unknown_frames] + (["APE tag"] if b"APETAGEX" in tail else [])
    return Tags("MP3", fields, pictures, head=head, tail=tail, kind_specific=tuple(specific))


def _other_format(path: str | os.PathLike[str]) -> Tags:
    """Read the strings that libsndfile knows of another format."""
    with open(path, "rb") as file:
        try:
            with soundfile.SoundFile(file) as sound:
                texts, kind = sound.copy_metadata(), str(sound.format)
        except soundfile.LibsndfileError:  # errors of the sound are reported when it is read
            return Tags()
    return Tags(kind, tuple((name.upper(), value) for name, value in texts.items()))


def _set_mask(file: BinaryIO, mask: int) -> None:
    """Write the channel mask into the fmt chunk of an extensible WAV."""
    for chunk in chunks.chunks(file):
        if chunk.name == b"fmt " and chunk.size >= 24:
            file.seek(chunk.offset)
            if int.from_bytes(file.read(2), "little") == _WAVE_EXTENSIBLE:
                file.seek(chunk.offset + 20)
                file.write(mask.to_bytes(4, "little"))
            return


def _text(body: bytes) -> str:
    """Decode text that is UTF-8, else Latin 1."""
    body = body.split(b"\0")[0]
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return body.decode("latin-1")
