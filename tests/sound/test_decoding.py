"""All sound of a file comes out, in its place, whatever its header says of the length."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from bench.errors import DataError
from bench.sound import chunks, files, mpeg, ogg

RATE = 44_100
SAMPLES = 70_000


def sweep(samples: int = SAMPLES, channels: int = 1, rate: int = RATE) -> np.ndarray:
    """A sweep, then a noisy half: bit rates of a variable rate differ, and any delay is seen."""
    time = np.arange(samples) / rate
    tone = 0.3 * np.sin(2 * np.pi * (200 + 1500 * time) * time)
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, samples) * (time > time[-1] / 2)
    both = (tone + noise).astype(np.float32)
    return np.stack([both * (1 - 0.2 * channel) for channel in range(channels)], axis=1)


def mp3(mode: str = "VARIABLE", rate: int = RATE) -> bytes:
    stream = io.BytesIO()
    soundfile.write(
        stream, sweep(rate=rate), rate, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode=mode, compression_level=0.3
    )  # fmt: skip
    return stream.getvalue()


def without_header(data: bytes) -> bytes:
    """An MP3 stream without its Xing header."""
    stream = mpeg.scan(data, 0, len(data))
    assert stream is not None
    assert stream.claimed == stream.frames
    return data[stream.audio :]


def lag(decoded: np.ndarray, expected: np.ndarray) -> int:
    size = 2 * max(len(decoded), len(expected))
    shared = np.fft.irfft(np.fft.rfft(decoded, size) * np.conj(np.fft.rfft(expected, size)))
    at = int(shared.argmax())
    return at if at < size // 2 else at - size


@pytest.mark.parametrize("rate", [44_100, 22_050, 8_000])
def test_frames_of_an_mp3_are_counted_past_tags_and_garbage(rate: int) -> None:
    data = mp3(rate=rate)
    stream = mpeg.scan(data, 0, len(data))
    assert stream is not None
    assert stream.claimed == stream.frames
    assert 0 <= stream.frames * stream.frame_samples - SAMPLES < 3 * 1152
    bare = data[stream.audio :]
    id3 = b"ID3\x04\0\0\0\0\x02\x00" + b"\xff\xfb" + bytes(254)
    ape = b"APETAGEX" + (2000).to_bytes(4, "little") + (32).to_bytes(4, "little") + bytes(16)
    for odd in (id3 + bare, bare + b"TAG" + bytes(125), bytes(700) + bare, bare + b"\xff" * 500, bare + ape):
        again = mpeg.scan(odd, 0, len(odd))
        assert again is not None
        assert (again.frames, again.claimed) == (stream.frames, None)
    middle = bare[: len(bare) // 2]  # a cut frame, then a tag, then the whole stream once more
    joined = mpeg.scan(middle + id3 + bare, 0, len(middle + id3 + bare))
    half = mpeg.scan(middle, 0, len(middle))
    assert joined is not None
    assert half is not None
    assert joined.frames - half.frames - stream.frames in (0, 1)  # the cut frame may reach into the tag
    assert mpeg.scan(b"Dear diary" * 1000, 0, 10_000) is None
    assert mpeg.scan(b"", 0, 0) is None


@pytest.mark.parametrize("mode", ["VARIABLE", "CONSTANT", "AVERAGE"])
@pytest.mark.parametrize("rate", [44_100, 16_000])
def test_an_mp3_without_xing_header_is_read_whole(tmp_path: Path, mode: str, rate: int) -> None:
    (tmp_path / "whole.mp3").write_bytes(mp3(mode, rate))
    (tmp_path / "bare.mp3").write_bytes(without_header(mp3(mode, rate)))
    whole = files.read(tmp_path / "whole.mp3")[0][0]
    bare = files.read(tmp_path / "bare.mp3")[0][0].numpy()
    assert len(whole) == SAMPLES
    assert SAMPLES + 1105 <= len(bare) <= SAMPLES + 1105 + 2 * 1152  # what encoder and decoder add is not told
    assert abs(bare[1105 : 1105 + SAMPLES] - whole.numpy()).max() < 1e-5
    assert sum(block.shape[1] for block in files.blocks(tmp_path / "bare.mp3", 10_000)) == len(bare)


def test_joined_mp3_files_are_read_whole(tmp_path: Path) -> None:
    (tmp_path / "one.mp3").write_bytes(mp3())
    (tmp_path / "two.mp3").write_bytes(mp3() + mp3("CONSTANT"))
    one, two = files.read(tmp_path / "one.mp3")[0], files.read(tmp_path / "two.mp3")[0]
    assert 2 * SAMPLES <= two.shape[1] <= 2 * SAMPLES + 4 * 1152
    assert (two[:, : SAMPLES - 1152] - one[:, : SAMPLES - 1152]).abs().max() < 1e-5


def test_a_cut_mp3_is_truncated_or_whole_but_never_short(tmp_path: Path) -> None:
    data = mp3()
    (tmp_path / "a.mp3").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="truncated"):
        files.read(tmp_path / "a.mp3")
    bare = without_header(data)
    (tmp_path / "b.mp3").write_bytes(bare[: len(bare) // 2])
    stream = mpeg.scan(bare, 0, len(bare) // 2)
    assert stream is not None
    assert files.read(tmp_path / "b.mp3")[0].shape[1] == stream.frames * stream.frame_samples


def test_mp3_inside_of_wav_is_read_whole(tmp_path: Path) -> None:
    bare = without_header(mp3())
    form = (0x55).to_bytes(2, "little") + (1).to_bytes(2, "little") + RATE.to_bytes(4, "little")
    form += (16_000).to_bytes(4, "little") + b"\x01\0\0\0" + (12).to_bytes(2, "little")
    form += b"\x01\0\x02\0\0\0" + (417).to_bytes(2, "little") + b"\x01\0\0\0"
    body = b"WAVEfmt " + len(form).to_bytes(4, "little") + form + b"data" + len(bare).to_bytes(4, "little") + bare
    (tmp_path / "a.wav").write_bytes(b"RIFF" + len(body).to_bytes(4, "little") + body)
    (tmp_path / "a.mp3").write_bytes(bare)
    assert files.info(tmp_path / "a.wav").subtype == "MPEG_LAYER_III"
    assert files.info(tmp_path / "a.wav").format == "WAV"
    assert files.read(tmp_path / "a.wav")[0].equal(files.read(tmp_path / "a.mp3")[0])


def opus_cut_from_a_stream() -> bytes:
    """An Opus file whose first page begins behind 0, as of a stream that was cut."""
    stream = io.BytesIO()
    soundfile.write(stream, sweep(48_000, rate=48_000), 48_000, format="OGG", subtype="OPUS")
    data, pages = stream.getvalue(), list(ogg.pages(stream))
    stream.seek(0)
    pages = list(ogg.pages(stream))
    packets, open_ = [], b""
    for page in pages[2:]:
        at = page.offset + 27 + len(page.lacing)
        for size in page.lacing:
            open_, at = open_ + data[at : at + size], at + size
            if size < 255:
                packets.append(open_)
                open_ = b""

    def page_of(part: list[bytes], flags: int, granule: int, number: int) -> bytes:
        lacing = [size for packet in part for size in [255] * (len(packet) // 255) + [len(packet) % 255]]
        return ogg.page_bytes(flags, granule, pages[0].serial, number, lacing, b"".join(part))

    return data[: pages[2].offset] + page_of(packets[:-2], 0, 48_000, 2) + page_of(packets[-2:], 4, 48_312, 3)


def test_the_pre_skip_of_opus_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.opus").write_bytes(opus_cut_from_a_stream())
    decoded = files.read(tmp_path / "a.opus")[0][0].numpy()
    assert lag(decoded, sweep(48_000, rate=48_000)[:, 0]) == 0
    joined = np.concatenate([block[0].numpy() for block in files.blocks(tmp_path / "a.opus", 7_000)])
    np.testing.assert_array_equal(joined, decoded)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_joined_ogg_files_are_read_whole(tmp_path: Path, subtype: str) -> None:
    stream = io.BytesIO()
    soundfile.write(stream, sweep(48_000, rate=48_000), 48_000, format="OGG", subtype=subtype)
    (tmp_path / "one.ogg").write_bytes(stream.getvalue())
    (tmp_path / "two.ogg").write_bytes(stream.getvalue() * 2)
    one, two = files.read(tmp_path / "one.ogg")[0], files.read(tmp_path / "two.ogg")[0]
    assert two.shape[1] == 2 * one.shape[1] == files.info(tmp_path / "two.ogg").samples
    assert two[:, : one.shape[1]].equal(one)
    assert two[:, one.shape[1] :].equal(one)
    assert [block.shape[1] for block in files.blocks(tmp_path / "two.ogg", 40_000)][:-1] == [40_000] * 2


def test_joined_streams_of_unequal_rate_are_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    for rate in (16_000, 8_000):
        one = io.BytesIO()
        soundfile.write(one, sweep(8_000, rate=rate), rate, format="OGG", subtype="VORBIS")
        stream.write(one.getvalue())
    (tmp_path / "a.ogg").write_bytes(stream.getvalue())
    with pytest.raises(DataError, match="joins streams of 16000 Hz, 1 channels and of 8000 Hz"):
        files.read(tmp_path / "a.ogg")


def flac() -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, sweep(20_000), RATE, format="FLAC")
    return stream.getvalue()


def test_flac_of_unknown_length_is_read_whole(tmp_path: Path) -> None:
    data = bytearray(flac())
    data[18:26] = (int.from_bytes(data[18:26], "big") >> 36 << 36).to_bytes(8, "big")
    (tmp_path / "a.flac").write_bytes(data)
    assert files.read(tmp_path / "a.flac")[0].shape == (1, 20_000)
    assert files.info(tmp_path / "a.flac").samples is None
    assert files.info(tmp_path / "a.flac").seconds is None
    assert files.survey(tmp_path / "a.flac")[0] == 20_000


def test_two_flac_files_in_one_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(flac() * 2)
    with pytest.raises(DataError, match="two FLAC files joined"):
        files.read(tmp_path / "a.flac")


@pytest.mark.parametrize("channels", [3, 5, 6, 7, 8])
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_channels_of_vorbis_and_opus_come_in_the_order_of_wav(tmp_path: Path, subtype: str, channels: int) -> None:
    """The order of the specification is left, centre, right, ...; loudness tells the channels apart."""
    order = {3: "LCR", 5: "LCRlr", 6: "LCRlrE", 7: "LCRlrbE", 8: "LCRlrxyE"}[channels]
    wav = {3: "LRC", 5: "LRClr", 6: "LRCElr", 7: "LRCEblr", 8: "LRCExylr"}[channels]
    loudness = {name: 0.05 + 0.08 * at for at, name in enumerate(wav)}
    tone = np.sin(2 * np.pi * 60 * np.arange(48_000) / 48_000)  # which a channel for low frequencies holds too
    sound = tone[:, None] * [loudness[name] for name in order]
    soundfile.write(tmp_path / "a.ogg", sound, 48_000, format="OGG", subtype=subtype)
    read = files.read(tmp_path / "a.ogg")[0].square().mean(1)
    assert read.argsort().tolist() == list(range(channels))


def test_chunks_of_wav_and_aiff_are_walked_whatever_their_headers_claim() -> None:
    wav = b"RIFF\xff\xff\xff\xffWAVE" + b"LIST\x03\0\0\0abc\0" + b"data\xff\xff\xff\xff" + bytes(100)
    assert [(chunk.name, chunk.size) for chunk in chunks.chunks(io.BytesIO(wav))] == [(b"LIST", 3), (b"data", 100)]
    aiff = b"FORM\0\0\0\x20AIFF" + b"NAME\0\0\0\x02ab" + b"SSND\0\0\0\x04abcd" + b"\0\0"
    assert [chunk.name for chunk in chunks.chunks(io.BytesIO(aiff))] == [b"NAME", b"SSND"]
    assert list(chunks.chunks(io.BytesIO(b"OggS" + bytes(100)))) == []


@pytest.mark.parametrize("claimed", [0, 1_000, 30_000])
def test_a_wav_whose_header_claims_less_than_there_is_is_refused(tmp_path: Path, claimed: int) -> None:
    """As recorders leave it that were switched off, and writers that outgrew 32 bits."""
    soundfile.write(tmp_path / "a.wav", sweep(50_000), RATE, subtype="PCM_16")
    data = bytearray((tmp_path / "a.wav").read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = claimed.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(DataError, match=f"claims {claimed} bytes of sound, but {100_000 - claimed} more"):
        files.read(tmp_path / "a.wav")


@pytest.mark.parametrize("tail", [b"junk" * 30, bytes(200_000), b"TAG" + b"x" * 125, b"ID3" + b"y" * 150_000])
def test_what_other_programs_append_to_a_wav_does_no_harm(tmp_path: Path, tail: bytes) -> None:
    soundfile.write(tmp_path / "a.wav", sweep(50_000), RATE, subtype="PCM_16")
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes() + tail)
    assert files.survey(tmp_path / "a.wav")[0] == 50_000


def test_a_rate_of_0_is_told(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sweep(5_000), RATE)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    data[24:28] = bytes(4)
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(DataError, match="claims 0 samples a second"):
        files.info(tmp_path / "a.wav")


def test_rf64_with_chunks_of_odd_size_in_front_is_read(tmp_path: Path) -> None:
    stream, whole = io.BytesIO(), io.BytesIO()
    soundfile.write(stream, sweep(5_000), RATE, format="RF64", subtype="PCM_24")
    chunks.insert(stream, whole, [(b"iXML", b"<BWFXML/>"), (b"bext", bytes(603))], [])
    (tmp_path / "a.wav").write_bytes(whole.getvalue())
    (tmp_path / "b.wav").write_bytes(stream.getvalue())
    assert files.info(tmp_path / "a.wav").format == "RF64"
    assert files.read(tmp_path / "a.wav")[0].equal(files.read(tmp_path / "b.wav")[0])


def shifted(data: bytes, samples: int) -> bytes:
    """An Ogg file whose sound lies that much later."""
    file, pages = io.BytesIO(data), []
    for page in list(ogg.pages(file)):
        file.seek(page.offset + page.size - sum(page.lacing))
        granule = page.granule + samples if page.granule > 0 else page.granule
        body = file.read(sum(page.lacing))
        pages.append(ogg.page_bytes(page.flags, granule, page.serial, page.sequence, page.lacing, body))
    return b"".join(pages)


@pytest.mark.parametrize("early", [-500, 0, 1, 100, 3000, 60_000])
def test_vorbis_that_begins_before_zero_loses_its_beginning_and_not_its_end(tmp_path: Path, early: int) -> None:
    """As a piece that was cut from a recording: libsndfile plays its beginning and leaves out as much of its end."""
    stream = io.BytesIO()
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 3 * RATE)
    soundfile.write(stream, noise, RATE, format="OGG", subtype="VORBIS")
    whole, cut = tmp_path / "whole.ogg", tmp_path / "cut.ogg"
    whole.write_bytes(stream.getvalue())
    cut.write_bytes(shifted(stream.getvalue(), -early))
    expected = files.read(whole)[0][:, max(0, early) :]
    assert files.info(cut).samples == expected.shape[1]
    assert torch.equal(files.read(cut)[0], expected)
    joined = tmp_path / "joined.ogg"
    joined.write_bytes(whole.read_bytes() + cut.read_bytes())
    assert torch.equal(files.read(joined)[0], torch.cat([files.read(whole)[0], expected], dim=1))


def test_a_position_in_the_only_page_of_sound_is_its_end(tmp_path: Path) -> None:
    stream = io.BytesIO()
    soundfile.write(stream, sweep(8000), RATE, format="OGG", subtype="VORBIS")
    whole, short = tmp_path / "whole.ogg", tmp_path / "short.ogg"
    whole.write_bytes(stream.getvalue())
    short.write_bytes(shifted(stream.getvalue(), -3000))
    assert torch.equal(files.read(short)[0], files.read(whole)[0][:, :5000])
