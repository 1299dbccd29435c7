"""Files: what is read is what was written, and every damage is one clear line."""

import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from bench.errors import DataError
from bench.sound import files

RATE = 16_000


def music(channels: int = 2, seconds: float = 1.0, rate: int = RATE) -> torch.Tensor:
    time = torch.arange(int(seconds * rate)) / rate
    hz = torch.tensor([[220.0 * (channel + 1)] for channel in range(channels)])
    return 0.3 * torch.sin(2 * torch.pi * hz * time) + 0.2 * torch.sin(2 * torch.pi * 3.1 * hz * time)


@pytest.mark.parametrize(
    ("suffix", "subtype", "error"),
    [
        (".wav", None, 0.0), (".wav", "PCM_16", 2**-15), (".flac", None, 2**-23), (".aiff", None, 0.0),
        (".aif", "PCM_24", 2**-23), (".mp3", None, 0.03), (".ogg", None, 0.1),
    ],
)  # fmt: skip
def test_what_is_written_is_read(tmp_path: Path, suffix: str, subtype: str | None, error: float) -> None:
    audio = music()
    path = tmp_path / f"a{suffix}"
    files.write(path, audio, RATE, subtype)
    back, rate = files.read(path, min_seconds=0.9, audible=True)
    assert rate == RATE
    assert back.dtype == torch.float32
    assert back.shape == audio.shape
    assert (back - audio).abs().max() <= error
    about = files.info(path)
    assert (about.rate, about.channels, about.samples, about.seconds) == (RATE, 2, RATE, 1.0)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]  # nothing left aside


def test_every_suffix_can_be_written_and_read(tmp_path: Path) -> None:
    for suffix in (".aif", ".aiff", ".flac", ".mp3", ".ogg", ".wav"):
        files.write(tmp_path / f"a{suffix.upper()}", music(1)[0], RATE)
        assert files.read(tmp_path / f"a{suffix.upper()}")[0].shape == (1, RATE)


@pytest.mark.parametrize(("rate", "channels"), [(192_000, 1), (44_100, 8), (192_000, 8), (8_000, 1)])
def test_high_rates_and_many_channels_are_read(tmp_path: Path, rate: int, channels: int) -> None:
    audio = music(channels, 0.1, rate)
    files.write(tmp_path / "a.wav", audio, rate)
    back, found = files.read(tmp_path / "a.wav")
    assert found == rate
    torch.testing.assert_close(back, audio)


def whole(path: Path, audio: torch.Tensor | None = None) -> bytes:
    files.write(path, music() if audio is None else audio, RATE)
    return path.read_bytes()


def halve(path: Path) -> None:
    if path.suffix == ".opus":
        soundfile.write(path, music().T.numpy(), RATE, format="OGG", subtype="OPUS")
    data = path.read_bytes() if path.exists() else whole(path)
    path.write_bytes(data[: len(data) // 2])


def claim_3_gb(path: Path) -> None:
    data = bytearray(whole(path)[:5_000])
    at = data.index(b"data") + 4
    data[4:8] = data[at : at + 4] = struct.pack("<I", 3_000_000_000)
    path.write_bytes(data)


def claim_2e9_samples(path: Path) -> None:
    data = bytearray(whole(path)[:5_000])
    told = int.from_bytes(data[18:26], "big") >> 36 << 36 | 2_000_000_000  # STREAMINFO: 36 bits of samples
    data[18:26] = told.to_bytes(8, "big")
    path.write_bytes(data)


def with_value(value: float) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        audio = music().T.numpy().copy()
        audio[777, 1] = value
        soundfile.write(path, audio, RATE, subtype="FLOAT")

    return make


DAMAGE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("a.wav", lambda path: None, "no file .* in the folder"),
    "misspelt": ("song.wav", lambda path: whole(path.with_name("songs.wav")), "did you mean 'songs.wav'"),
    "no folder": ("no/a.wav", lambda path: None, "there is no folder"),
    "a folder": ("a.wav", lambda path: path.mkdir(), "is a folder, expected a file"),
    "zero bytes": ("a.wav", lambda path: path.write_bytes(b""), "0 bytes"),
    "text": ("a.wav", lambda path: path.write_text("Dear diary, today I " * 50), "cannot be read as audio.*Dear dia"),
    "text as mp3": ("a.mp3", lambda path: path.write_text("Dear diary, today I " * 50), "cannot be read as audio"),
    "an image": ("a.mp3", lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(900)), "cannot be read as audio"),
    "half a wav": ("a.wav", halve, r"truncated: its header claims 128000 bytes of sound, but it has 6\d+"),
    "half a flac": ("a.flac", halve, "damaged, truncated"),
    "half an aiff": ("a.aiff", halve, "truncated"),
    "half an mp3": ("a.mp3", halve, r"truncated: its header claims 16000 samples, but only \d+ can be read"),
    "half an ogg": ("a.ogg", halve, "truncated"),
    "half an opus": ("a.opus", halve, "truncated"),
    "only a header": ("a.wav", lambda path: path.write_bytes(whole(path)[:60]), "truncated|damaged"),
    "header of 3 GB": ("a.wav", claim_3_gb, "truncated: its header claims 3000000000 bytes of sound, but it has 4"),
    "flac of 2e9 samples": ("a.flac", claim_2e9_samples, "damaged, truncated"),
    "NaN": ("a.wav", with_value(float("nan")), "NaN or infinity"),
    "infinity": ("a.wav", with_value(float("-inf")), "NaN or infinity"),
    "too loud": ("a.wav", with_value(-1.5), "peaks at 1.5, expected -1..1"),
    "silent": ("a.wav", lambda path: whole(path, torch.zeros(1, RATE)), "is silent"),
    "10 ms": ("a.flac", lambda path: whole(path, music(1, 0.01)), r"holds 10 ms \(160 samples\), expected at least"),
    "no samples": ("a.wav", lambda path: soundfile.write(path, np.zeros((0, 2)), RATE), "holds 0 ms"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_every_damage_is_one_clear_line(tmp_path: Path, case: str) -> None:
    name, make, expected = DAMAGE[case]
    path = tmp_path / name
    make(path)
    with pytest.raises(DataError, match=expected) as caught:
        files.read(path, min_seconds=0.5, audible=True)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


@pytest.mark.parametrize(("name", "make"), [("a.wav", claim_3_gb), ("a.flac", claim_2e9_samples)])
def test_a_claim_costs_no_memory(tmp_path: Path, name: str, make: Callable[[Path], None]) -> None:
    path = tmp_path / name
    make(path)
    tracemalloc.start()
    with pytest.raises(DataError):
        files.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_a_streamed_wav_of_unknown_length_is_read(tmp_path: Path) -> None:
    data = bytearray(whole(tmp_path / "a.wav"))
    at = data.index(b"data") + 4
    data[4:8] = data[at : at + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "a.wav").write_bytes(data)
    torch.testing.assert_close(files.read(tmp_path / "a.wav")[0], music())


def test_opus_is_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.opus", music().T.numpy(), RATE, format="OGG", subtype="OPUS")
    audio, rate = files.read(tmp_path / "a.opus")
    assert rate == RATE
    assert (audio - music())[:, : RATE - 400].abs().max() < 0.1


def test_silence_is_read_where_it_is_allowed(tmp_path: Path) -> None:
    files.write(tmp_path / "a.wav", torch.zeros(1, 100), RATE)
    assert files.read(tmp_path / "a.wav")[0].abs().max() == 0


def test_blocks_are_the_file_in_pieces(tmp_path: Path) -> None:
    for suffix in (".wav", ".flac", ".mp3"):
        path = tmp_path / f"a{suffix}"
        files.write(path, music(), RATE)
        pieces = list(files.blocks(path, 3_000))
        assert [piece.shape[1] for piece in pieces] == [3_000] * 5 + [1_000]
        torch.testing.assert_close(torch.cat(pieces, 1), files.read(path)[0])


def test_blocks_say_where_a_file_ends_too_soon(tmp_path: Path) -> None:
    halve(tmp_path / "a.mp3")
    pieces: list[torch.Tensor] = []
    with pytest.raises(DataError, match="truncated"):
        pieces.extend(files.blocks(tmp_path / "a.mp3", 1_000))


@pytest.mark.parametrize(
    ("name", "audio", "rate", "subtype", "expected"),
    [
        ("a.xyz", music(), RATE, None, "suffix '.xyz', expected one of .aif"),
        ("a.wav", music() * float("nan"), RATE, None, "NaN or infinity"),
        ("a.flac", music() * 3, RATE, None, "peaks at 1.*, expected -1..1"),
        ("a.wav", music()[None], RATE, None, "expected \\[channel, sample\\]"),
        ("a.flac", music(), RATE, "FLOAT", "no subtype 'FLOAT', expected one of .*PCM_24"),
        ("a.mp3", music(3), RATE, None, "cannot hold 3 channels"),
        ("a.mp3", music(), 96_000, None, "no rate of 96000 samples a second: resample to 48000"),
        ("a.opus", music(), RATE, None, "suffix '.opus', expected one of .aif"),
        ("no/a.wav", music(), RATE, None, "no such file or directory"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_leaves_nothing(
    tmp_path: Path, name: str, audio: torch.Tensor, rate: int, subtype: str | None, expected: str
) -> None:
    with pytest.raises(DataError, match=expected):
        files.write(tmp_path / name, audio, rate, subtype)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    before = whole(path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="no space left on device"):
        files.write(path, music(1), RATE)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
