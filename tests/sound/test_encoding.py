"""What a format cannot hold is refused before, what it holds comes back, and what was written is read again."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.errors import DataError
from bench.sound import files
from bench.sound.encoding import Encoder, coding_for


def noise(samples: int, channels: int, level: float = 0.3) -> np.ndarray:
    return np.random.default_rng(0).uniform(-level, level, (samples, channels)).astype(np.float32)


SAMPLE_TYPES = [
    (kind, subtype, ".aiff" if kind == "AIFF" else ".wav" if kind.startswith("WAV") else ".flac")
    for kind in ("WAV", "WAVEX", "AIFF", "FLAC")
    for subtype in soundfile.available_subtypes(kind)
    if subtype in ("PCM_U8", "PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
]


@pytest.mark.parametrize(("kind", "subtype", "suffix"), SAMPLE_TYPES)
def test_the_sample_type_stays_and_unchanged_samples_come_back_bit_by_bit(
    tmp_path: Path, kind: str, subtype: str, suffix: str
) -> None:
    source, out = tmp_path / "a", tmp_path / f"b{suffix}"
    soundfile.write(source, noise(3_001, 2, 0.99), 22_050, format=kind, subtype=subtype)
    about = files.info(source)
    assert (about.format, about.subtype) == (kind, subtype)
    coding = coding_for(suffix, about.rate, about.channels, 3_001, (about.format, about.subtype))
    assert (coding.format, coding.subtype, coding.changed) == (kind, subtype, "")
    with Encoder(out, coding) as encoder:
        for block in files.blocks(source, 1_000):
            encoder.write(block.T.numpy())
    encoder.verify()
    written, read = (
        soundfile.read(path, dtype="int32" if "F" not in subtype else "float32")[0] for path in (out, source)
    )
    np.testing.assert_array_equal(written, read)
    assert (soundfile.info(out).format, soundfile.info(out).subtype) == (kind, subtype)


@pytest.mark.parametrize(
    ("source", "suffix", "expected", "changed"),
    [
        (("FLAC", "PCM_16"), ".wav", ("WAV", "PCM_16"), False),
        (("RF64", "PCM_24"), ".wav", ("WAVEX", "PCM_24"), False),
        (("W64", "PCM_32"), ".wav", ("WAV", "PCM_32"), False),
        (("CAF", "ALAC_24"), ".wav", ("WAV", "PCM_24"), True),
        (("WAV", "PCM_U8"), ".flac", ("FLAC", "PCM_S8"), True),
        (("WAV", "FLOAT"), ".flac", ("FLAC", "PCM_24"), True),
        (("WAV", "DOUBLE"), ".flac", ("FLAC", "PCM_24"), True),
        (("AIFF", "PCM_S8"), ".wav", ("WAV", "PCM_U8"), True),
        (("WAV", "GSM610"), ".flac", ("FLAC", "PCM_16"), True),
        (("MP3", "MPEG_LAYER_III"), ".wav", ("WAV", "PCM_24"), False),
        (("OGG", "VORBIS"), ".flac", ("FLAC", "PCM_24"), False),
        (("WAV", "PCM_24"), ".mp3", ("MP3", "MPEG_LAYER_III"), False),
        (("MP3", "MPEG_LAYER_III"), ".mp3", ("MP3", "MPEG_LAYER_III"), False),
    ],
)
def test_other_formats_get_the_nearest_sample_type(
    source: tuple[str, str], suffix: str, expected: tuple[str, str], changed: bool
) -> None:
    coding = coding_for(suffix, 8_000, 1, 1_001, source)
    assert (coding.format, coding.subtype) == expected
    assert bool(coding.changed) is changed


@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "MS_ADPCM", "GSM610", "NMS_ADPCM_16"])
def test_types_in_blocks_are_kept_where_the_length_fits_and_else_replaced(tmp_path: Path, subtype: str) -> None:
    soundfile.write(tmp_path / "a.wav", noise(4_000, 1), 8_000, subtype=subtype)
    whole = files.survey(tmp_path / "a.wav")[0]  # filled up to whole blocks
    for samples in (whole, whole - 1):
        coding = coding_for(".wav", 8_000, 1, samples, ("WAV", subtype))
        assert (coding.subtype == subtype) is (coding.changed == "")
        with Encoder(tmp_path / f"{samples}.wav", coding) as encoder:
            encoder.write(noise(samples, 1))
        encoder.verify()
        assert files.survey(tmp_path / f"{samples}.wav")[0] == samples
    assert coding.subtype == "PCM_16"
    assert "blocks of" in coding.changed


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("suffix", [".mp3", ".ogg"])
def test_lossy_formats_keep_place_length_and_loudness(tmp_path: Path, suffix: str, rate: int) -> None:
    time = np.arange(rate // 2 + 77) / rate
    sound = np.stack([0.4 * np.sin(2 * np.pi * hz * time) for hz in (440, 700)], axis=1).astype(np.float32)
    out = tmp_path / f"a{suffix}"
    with Encoder(out, coding_for(suffix, rate, 2, len(sound))) as encoder:
        encoder.write(sound)
    encoder.verify()
    back = files.read(out)[0].T.numpy()
    assert (back * sound).sum() / (sound**2).sum() == pytest.approx(1.0, abs=0.03)
    assert 10 * np.log10((sound**2).sum() / ((back - sound) ** 2).sum()) > 25


@pytest.mark.parametrize(
    ("suffix", "rate", "channels", "expected"),
    [
        (".mp3", 96_000, 2, "no rate of 96000 samples a second: resample to 48000"),
        (".mp3", 44_101, 1, "resample to 44100"),
        (".mp3", 44_100, 3, "MP3 cannot hold 3 channels, expected 1 or 2"),
        (".flac", 44_100, 9, "FLAC .* cannot hold 9 channels"),
        (".flac", 700_000, 1, "FLAC .* at 700000 samples a second"),
        (".ogg", 1_000_000, 1, "OGG .* at 1000000 samples a second, expected at most"),
        (".ogg", 44_100, 300, "OGG cannot hold 300 channels"),
        (".wav", 44_100, 2_000, "WAV .* cannot hold 2000 channels"),
        (".opus", 48_000, 1, "suffix '.opus', expected one of"),
        (".m4a", 48_000, 1, "suffix '.m4a', expected one of"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_before(suffix: str, rate: int, channels: int, expected: str) -> None:
    with pytest.raises(DataError, match=expected) as caught:
        coding_for(suffix, rate, channels, 1_000)
    assert "\n" not in str(caught.value)


def test_more_than_4_gib_is_written_as_rf64_or_refused() -> None:
    samples = (1 << 32) // 6
    for source in (("WAV", "PCM_24"), ("WAVEX", "PCM_24"), ("FLAC", "PCM_24")):
        assert coding_for(".wav", 48_000, 2, samples, source)[:2] == ("RF64", "PCM_24")
        assert coding_for(".wav", 48_000, 2, samples // 2, source).format in ("WAV", "WAVEX")
    assert coding_for(".flac", 48_000, 2, samples, ("WAV", "PCM_24")).format == "FLAC"
    with pytest.raises(DataError, match=r"exceed the 4 GiB of an AIFF file: use .wav"):
        coding_for(".aiff", 48_000, 2, samples, ("WAV", "PCM_24"))


def test_rf64_is_read_and_written(tmp_path: Path) -> None:
    coding = coding_for(".wav", 48_000, 2, 1_000, ("WAV", "PCM_24"))._replace(format="RF64")
    with Encoder(tmp_path / "a.wav", coding) as encoder:
        encoder.write(noise(1_000, 2))
    encoder.verify()
    assert files.info(tmp_path / "a.wav")[:5] == (48_000, 2, 1_000, "RF64", "PCM_24")


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff", ".ogg", ".mp3"])
def test_a_file_that_lost_its_end_or_a_sample_is_not_what_was_written(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"a{suffix}"
    coding = coding_for(suffix, 16_000, 1, 20_000, ("WAV", "PCM_16"))
    with Encoder(out, coding) as encoder:
        encoder.write(noise(20_000, 1))
    whole = out.read_bytes()
    out.write_bytes(whole[:-100])
    with pytest.raises(DataError, match="is the disk full"):
        encoder.verify()
    if coding.lossless:
        other = bytearray(whole)
        other[-200] ^= 0x55
        out.write_bytes(other)
        with pytest.raises(DataError, match="disk"):
            encoder.verify()
    out.write_bytes(whole)
    encoder.verify()


def test_a_disk_that_reports_its_error_only_when_flushed_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import os

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    encoder = Encoder(tmp_path / "a.wav", coding_for(".wav", 16_000, 1, 100))
    encoder.write(noise(100, 1))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        encoder.close()
