"""Tags: everything into a file of the same kind, text and pictures into any, and what is lost has a name."""

import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.sound import chunks, files, id3, ogg, tags, vorbis_comments

FIELDS = (
    ("TITLE", "Tïtle 音"), ("ARTIST", "One"), ("ARTIST", "Two"), ("COPYRIGHT", "© 2026 Me"), ("ISRC", "USABC1234567"),
    ("COMMENT", "hello"), ("MY OWN", "x=y"),
)  # fmt: skip
PICTURE = b"".join(
    (b"\0\0\0\x03", b"\0\0\0\x09image/png", b"\0\0\0\x05front", bytes(16), b"\0\0\x9c\x40", bytes(range(250)) * 160)
)
FORMATS = {".wav": "WAV", ".aiff": "AIFF", ".flac": "FLAC", ".ogg": "OGG", ".mp3": "MP3"}


def sound(path: Path, kind: str | None = None) -> np.ndarray:
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (5_001, 1))
    soundfile.write(path, noise, 16_000, format=kind or FORMATS[path.suffix])
    decoded: np.ndarray = files.read(path)[0].numpy()
    return decoded


def with_chunks(path: Path, before: list[tuple[bytes, bytes]], behind: list[tuple[bytes, bytes]]) -> None:
    sound(path)
    whole = io.BytesIO()
    chunks.insert(io.BytesIO(path.read_bytes()), whole, before, behind)
    path.write_bytes(whole.getvalue())


def tagged(path: Path) -> Path:
    sound(path)
    assert tags.write(path, tags.Tags("FLAC" if path.suffix != ".flac" else "OGG", FIELDS, (PICTURE,))) == []
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_text_and_pictures_go_into_every_format_and_leave_the_sound_alone(tmp_path: Path, suffix: str) -> None:
    plain, path = tmp_path / f"plain{suffix}", tmp_path / f"a{suffix}"
    before = sound(plain)
    tagged(path)
    read = tags.read(path)
    assert read.pictures == (PICTURE,)
    assert set(read.fields) >= {pair for pair in FIELDS if pair[0] != "ARTIST"}
    assert "".join(value for name, value in read.fields if name == "ARTIST").startswith("OneTwo"[:3])
    np.testing.assert_array_equal(files.read(path)[0].numpy(), before)
    if suffix in (".flac", ".ogg"):
        assert read.fields == FIELDS


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", FORMATS)
def test_tags_go_from_every_format_into_every_format(tmp_path: Path, source: str, target: str) -> None:
    path, out = tagged(tmp_path / f"a{source}"), tmp_path / f"b{target}"
    sound(out)
    assert tags.write(out, tags.read(path)) == []
    read = tags.read(out)
    assert read.pictures == (PICTURE,)
    assert set(read.fields) >= {("COPYRIGHT", "© 2026 Me"), ("TITLE", "Tïtle 音"), ("ARTIST", "One")}
    if source not in (".wav", ".aiff"):
        assert ("ISRC", "USABC1234567") in read.fields
    assert files.survey(out)[0] == 5_001


BROADCAST = [(b"bext", b"Description" + bytes(600)), (b"iXML", b"<BWFXML/>"), (b"LIST", b"INFOICOP\x03\0\0\0Me\0\0")]
MARKED = [(b"cue ", bytes(28)), (b"smpl", bytes(36)), (b"LIST", b"adtllabl\x06\0\0\0\x01\0\0\0A\0"), (b"odd ", b"abc")]


def test_every_chunk_of_a_wav_is_kept_in_its_place(tmp_path: Path) -> None:
    path, out = tmp_path / "a.wav", tmp_path / "b.wav"
    with_chunks(path, BROADCAST, MARKED)
    plain = sound(out)
    assert tags.write(out, tags.read(path)) == []
    with out.open("rb") as file:
        names = [chunk.name for chunk in chunks.chunks(file)]
    assert names == [b"fmt ", b"bext", b"iXML", b"LIST", b"data", b"cue ", b"smpl", b"LIST", b"odd "]
    assert (tags.read(out).before, tags.read(out).behind) == (tuple(BROADCAST), tuple(MARKED))
    assert int.from_bytes(out.read_bytes()[4:8], "little") == out.stat().st_size - 8
    np.testing.assert_array_equal(files.read(out)[0].numpy(), plain)


def test_chunks_go_into_rf64_too(tmp_path: Path) -> None:
    path, out = tmp_path / "a.wav", tmp_path / "b.wav"
    with_chunks(path, BROADCAST, MARKED)
    plain = sound(out, "RF64")
    assert tags.write(out, tags.read(path)) == []
    assert tags.read(out).behind == (*BROADCAST, *MARKED)
    assert int.from_bytes(out.read_bytes()[20:28], "little") == out.stat().st_size - 8
    np.testing.assert_array_equal(files.read(out)[0].numpy(), plain)


def test_every_chunk_of_an_aiff_is_kept(tmp_path: Path) -> None:
    path, out = tmp_path / "a.aiff", tmp_path / "b.aiff"
    parts = [(b"MARK", bytes(12)), (b"INST", bytes(20)), (b"(c) ", b"Me"), (b"APPL", b"abcd123")]
    with_chunks(path, parts[:2], parts[2:])
    sound(out)
    assert tags.write(out, tags.read(path)) == []
    assert (*tags.read(out).before, *tags.read(out).behind) == tuple(parts)
    assert tags.read(out).fields == (("COPYRIGHT", "Me"),)
    assert files.survey(out)[0] == 5_001


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".mp3", ".aiff"])
def test_what_another_format_cannot_hold_has_a_name(tmp_path: Path, suffix: str) -> None:
    path, out = tmp_path / "a.wav", tmp_path / f"b{suffix}"
    with_chunks(path, BROADCAST, MARKED)
    sound(out)
    lost = tags.write(out, tags.read(path))
    for name in ("bext", "iXML", "cue points", "loop points", "LIST adtl", "odd"):
        assert any(name in one for one in lost), name
    assert ("COPYRIGHT", "Me") in tags.read(out).fields


def test_blocks_of_flac_are_kept_and_named(tmp_path: Path) -> None:
    path, out, other = tmp_path / "a.flac", tmp_path / "b.flac", tmp_path / "c.wav"
    sound(path)
    sheet = bytes(395) + b"\x01" + bytes(8) + b"\xff" + bytes(27)  # one track, the lead-out
    blocks = ((2, b"test" + bytes(40)), (5, sheet))
    whole = io.BytesIO()
    vorbis_comments.into_flac(io.BytesIO(path.read_bytes()), whole, FIELDS, (PICTURE,), blocks)
    path.write_bytes(whole.getvalue())
    for target in (out, other):
        sound(target)
    assert tags.write(out, tags.read(path)) == []
    assert (tags.read(out).blocks, tags.read(out).fields, tags.read(out).pictures) == (blocks, FIELDS, (PICTURE,))
    assert tags.write(other, tags.read(path)) == ["application data", "cue sheet"]


def test_tags_of_an_mp3_are_kept_byte_by_byte(tmp_path: Path) -> None:
    path, out, other = tmp_path / "a.mp3", tmp_path / "b.mp3", tmp_path / "c.flac"
    sound(path)
    private = id3.tag(FIELDS, ()) + b""
    frame = b"PRIV\0\0\0\x05\0\0" + b"owner"
    size = len(private) - 10 + len(frame)
    head = private[:6] + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + private[10:] + frame
    tail = b"TAG" + b"Old title".ljust(125, b"\0")
    path.write_bytes(head + path.read_bytes() + tail)
    for target in (out, other):
        sound(target)
    assert tags.write(out, tags.read(path)) == []
    data = out.read_bytes()
    assert data.startswith(head)
    assert data.endswith(tail)
    assert files.survey(out)[0] == 5_001
    assert tags.write(other, tags.read(path)) == ["ID3 frame PRIV"]


@pytest.mark.parametrize("version", [2, 3, 4])
def test_old_versions_of_id3_are_read(version: int) -> None:
    text = b"\x01" + "Tïtle".encode("utf-16")
    if version == 2:
        frames = b"TT2" + len(text).to_bytes(3, "big") + text + b"TCR\0\0\x03\0Me"
    else:
        frames = b"TIT2" + len(text).to_bytes(4, "big") + b"\0\0" + text + b"TCOP\0\0\0\x03\0\0\0Me"
    whole = b"ID3" + bytes([version, 0, 0, 0, 0, 0, len(frames) + 20]) + frames + bytes(20)
    assert id3.parse(whole)[0] == (("TITLE", "Tïtle"), ("COPYRIGHT", "Me"))


def test_the_channel_mask_is_kept(tmp_path: Path) -> None:
    path, out, other = tmp_path / "a.wav", tmp_path / "b.wav", tmp_path / "c.flac"
    quad = np.random.default_rng(0).uniform(-0.1, 0.1, (1_000, 4))
    for target, kind in ((path, "WAVEX"), (out, "WAVEX"), (other, "FLAC")):
        soundfile.write(target, quad, 16_000, format=kind, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    at = data.index(b"fmt ") + 8 + 20
    data[at : at + 4] = (0x603).to_bytes(4, "little")  # front and side: not what a writer takes for four channels
    path.write_bytes(data)
    assert tags.read(path).channel_mask == 0x603
    assert tags.write(out, tags.read(path)) == []
    assert tags.read(out).channel_mask == 0x603
    tags.write(other, tags.read(path))
    assert tags.read(other).channel_mask == 0x603


def test_a_file_without_tags_is_left_as_it_is(tmp_path: Path) -> None:
    for suffix in FORMATS:
        path = tmp_path / f"a{suffix}"
        sound(path)
        before = path.read_bytes()
        assert tags.write(path, tags.read(path)) == []
        assert tags.write(path, tags.Tags()) == []
        assert path.read_bytes() == before or suffix == ".ogg"
        assert files.survey(path)[0] == 5_001


def damaged(data: bytes, seed: int) -> bytes:
    random_ = random.Random(seed)
    other = bytearray(data[: random_.randrange(16, len(data))])
    for _ in range(random_.randrange(1, 20)):
        other[random_.randrange(len(other))] = random_.randrange(256)
    return bytes(other)


@pytest.mark.parametrize("suffix", FORMATS)
def test_damaged_tags_do_no_harm(tmp_path: Path, suffix: str) -> None:
    data = tagged(tmp_path / f"a{suffix}").read_bytes()
    out = tmp_path / f"out{suffix}"
    sound(out)
    plain = out.read_bytes()
    for seed in range(40):
        path = tmp_path / f"b{suffix}"
        path.write_bytes(damaged(data, seed))
        read = tags.read(path)
        out.write_bytes(plain)
        tags.write(out, read)
        assert files.survey(out)[0] == 5_001


PARSERS: dict[str, Callable[[bytes], object]] = {
    "id3": id3.parse,
    "comments": vorbis_comments.parse,
    "chunks": lambda data: list(chunks.chunks(io.BytesIO(data))),
    "pages": lambda data: list(ogg.pages(io.BytesIO(data))),
}


@pytest.mark.parametrize("parser", PARSERS)
def test_parsers_take_anything(parser: str) -> None:
    starts = {"id3": id3.tag(FIELDS, (PICTURE,)), "comments": vorbis_comments.build(b"me", FIELDS)}
    data = starts.get(parser, b"RIFF\0\0\0\0WAVEdata\x10\0\0\0" + bytes(30))
    kind = type(PARSERS[parser](data))
    for seed in range(200):
        assert type(PARSERS[parser](damaged(data, seed))) is kind  # no exception, no None
    assert type(PARSERS[parser](b"")) is kind
