"""`bench protect`: any file comes back with its length, rate and channels, and without a seam."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from bench.commands import main, protect
from bench.sound import files

RATE = 16000


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["protect", *words])
    assert isinstance(left.value.code, int)
    return left.value.code


def tone(seconds: float, rate: int = RATE, channels: int = 1) -> torch.Tensor:
    time = torch.arange(round(seconds * rate)) / rate
    return torch.stack([0.3 * torch.sin(2 * torch.pi * (440 + 110 * c) * time) for c in range(channels)])


@pytest.fixture
def quiet(tmp_path: Path) -> list[str]:
    return ["--defense", "noise", "--set", "noise.snr_db=30"]


@pytest.mark.parametrize(
    ("suffix", "subtype", "rate", "channels", "seconds"),
    [
        (".wav", "PCM_16", 16000, 1, 3.3),
        (".wav", "FLOAT", 8000, 2, 20.0),
        (".flac", "PCM_24", 44100, 2, 9.0),
        (".wav", "PCM_16", 192000, 1, 0.7),
        (".wav", "PCM_16", 22050, 8, 1.0),
    ],
)
def test_length_rate_channels_and_sample_type_stay(
    tmp_path: Path, quiet: list[str], suffix: str, subtype: str, rate: int, channels: int, seconds: float
) -> None:
    source, out = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    soundfile.write(source, tone(seconds, rate, channels).T.numpy(), rate, subtype=subtype)
    assert run(str(source), "-o", str(out), *quiet) == 0
    before, after = soundfile.info(source), soundfile.info(out)
    assert (after.frames, after.samplerate, after.channels) == (before.frames, before.samplerate, before.channels)
    assert after.subtype == before.subtype
    clean, protected = soundfile.read(source)[0], soundfile.read(out)[0]
    noise = protected - clean
    assert 10 * np.log10((clean**2).sum() / (noise**2).sum()) == pytest.approx(30.0, abs=0.5)


def test_pieces_meet_without_a_seam_and_every_sample_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protect, "PIECE_SECONDS", 1.0)
    monkeypatch.setattr(protect, "PIECES_AT_ONCE", 2)
    half = tmp_path / "half.py"
    half.write_text(
        '"""Half as loud."""\n'
        "from dataclasses import dataclass\n"
        "from bench.api import Clips, Defense\n"
        "@dataclass(frozen=True)\n"
        "class Half(Defense[Clips]):\n"
        "    def protect(self, data, knowledge, rng):\n"
        "        return data.with_audio(data.audio * 0.5)\n"
    )
    for seconds in (0.4, 0.95, 1.0, 5.0, 5.97):
        source, out = tmp_path / "in.wav", tmp_path / "out.wav"
        files.write(source, tone(seconds), RATE)
        assert run(str(source), "-o", str(out), "--defense", str(half), "--force") == 0
        clean, protected = files.read(source)[0], files.read(out)[0]
        assert torch.allclose(protected, clean * 0.5, atol=1e-6), seconds


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "no file"),
        (lambda path: path.write_bytes(b""), "0 bytes"),
        (lambda path: path.write_text("this is no sound"), "cannot be read as audio"),
        (lambda path: files.write(path, torch.zeros(1, RATE), RATE), "silent"),
    ],
    ids=["missing", "empty", "text", "silent"],
)
def test_bad_sound_is_one_line_code_2_and_nothing_written(
    make: object, said: str, tmp_path: Path, quiet: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in.wav", tmp_path / "out.wav"
    make(source)  # type: ignore[operator]
    before = sorted(tmp_path.iterdir())
    assert run(str(source), "-o", str(out), *quiet) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_nothing_is_written_over(tmp_path: Path, quiet: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "in.wav", tmp_path / "out.wav"
    files.write(source, tone(0.5), RATE)
    out.write_text("mine")
    assert run(str(source), "-o", str(out), *quiet) == 2
    assert run(str(source), "-o", str(source), "--force", *quiet) == 2
    assert run(str(source), "-o", str(tmp_path / "nowhere" / "out.wav"), *quiet) == 2
    assert run(str(source), "-o", str(tmp_path / "out.xyz"), *quiet) == 2
    assert out.read_text() == "mine"
    assert len(capsys.readouterr().err.strip().splitlines()) == 4
    assert run(str(source), "-o", str(out), "--force", *quiet) == 0


def test_a_real_song(bench_data: Path, tmp_path: Path, quiet: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    source, out = bench_data / "music" / "vibe_ace.ogg", tmp_path / "protected.wav"
    assert run(str(source), "-o", str(out), *quiet) == 0
    clean, rate = files.read(source)
    protected, same = files.read(out)
    assert (protected.shape, same) == (clean.shape, rate)
    assert "masked_energy" in capsys.readouterr().out
