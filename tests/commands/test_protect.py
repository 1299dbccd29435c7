"""`bench protect`: any file comes back with its length, rate and channels, and without a seam."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from bench.commands import main, protect_sound
from bench.sound import encoding, files, tags

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
    monkeypatch.setattr(protect_sound, "PIECE_SECONDS", 1.0)
    monkeypatch.setattr(protect_sound, "PIECES_AT_ONCE", 2)
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
        (lambda path: files.write(path, torch.full((1, RATE), 1e-40), RATE), "silent (peak 1.0e-40)"),
    ],
    ids=["missing", "empty", "text", "silent", "inaudible"],
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


def test_extensible_24_bit_and_tags_stay(tmp_path: Path, quiet: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "in.wav", tmp_path / "out.wav"
    soundfile.write(source, tone(0.5, 48_000, 2).T.numpy(), 48_000, format="WAVEX", subtype="PCM_24")
    tags.write(source, tags.Tags("RIFF", behind=((b"bext", bytes(602)), (b"cue ", bytes(28)))))
    assert run(str(source), "-o", str(out), *quiet) == 0
    assert (soundfile.info(out).format, soundfile.info(out).subtype) == ("WAVEX", "PCM_24")
    assert tags.read(out).behind == tags.read(source).behind
    assert "tags not kept" not in capsys.readouterr().out
    assert run(str(source), "-o", str(tmp_path / "out.flac"), *quiet) == 0
    assert "tags not kept: broadcast extension (bext), cue points (cue)" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aif", ".aiff", ".AIF"])
def test_a_defense_that_changes_nothing_changes_no_sample(tmp_path: Path, suffix: str) -> None:
    source, out = tmp_path / "in.wav", tmp_path / f"out{suffix}"
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, (9_000, 2), dtype=np.int16)
    soundfile.write(source, samples, RATE, subtype="PCM_16")
    assert run(str(source), "-o", str(out), "--defense", "clean", "--attacker", "none") == 0
    np.testing.assert_array_equal(soundfile.read(out, dtype="int16")[0], samples)


@pytest.mark.parametrize(("suffix", "rate"), [(".mp3", 22_050), (".ogg", 22_050), (".wav", 8_000), (".flac", 8_000)])
def test_figures_are_those_of_the_written_file(
    tmp_path: Path, quiet: list[str], capsys: pytest.CaptureFixture[str], suffix: str, rate: int
) -> None:
    source, out = tmp_path / "in.wav", tmp_path / f"out{suffix}"
    soundfile.write(source, tone(1.0, rate).T.numpy(), rate, subtype="PCM_U8" if suffix == ".wav" else "PCM_16")
    assert run(str(source), "-o", str(out), *quiet) == 0
    clean, written = (files.read(path)[0].double() for path in (source, out))
    snr = 10 * torch.log10(clean.square().sum() / (written - clean).square().sum())
    said = capsys.readouterr().out
    assert f"snr_db             {float(snr):.3f}" in said
    assert ("coding kept" in said) is (suffix in (".mp3", ".ogg"))


@pytest.mark.parametrize(
    ("rate", "channels", "name", "expected"),
    [
        (96_000, 1, "out.mp3", "resample to 48000"),
        (16_000, 3, "out.mp3", "cannot hold 3 channels"),
        (16_000, 9, "out.flac", "cannot hold 9 channels"),
        (16_000, 1, "out.opus", "cannot write '.opus' files"),
        (16_000, 1, "/proc/out.wav", "cannot write /proc/out.wav"),
    ],
)
def test_what_cannot_be_written_is_said_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rate: int, channels: int, name: str, expected: str
) -> None:
    source, slow = tmp_path / "in.wav", tmp_path / "fails.py"
    soundfile.write(source, tone(0.1, rate, channels).T.numpy(), rate)
    slow.write_text(
        '"""Fails if it is asked."""\n'
        "from dataclasses import dataclass\n"
        "from bench.api import Clips, Defense\n"
        "@dataclass(frozen=True)\n"
        "class Fails(Defense[Clips]):\n"
        "    def protect(self, data, knowledge, rng):\n"
        "        raise AssertionError('the work has begun')\n"
    )
    out = str(tmp_path / name)
    assert run(str(source), "-o", out, "--defense", str(slow), "--attacker", "none") == 2
    assert expected in capsys.readouterr().err
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["fails.py", "in.wav"]


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".aiff"])
def test_a_draft_that_lost_its_end_replaces_nothing(
    tmp_path: Path,
    quiet: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
) -> None:
    """As on a full disk, whose error libsndfile does not report: the file is short when it is closed."""
    source, out = tmp_path / "in.wav", tmp_path / f"out{suffix}"
    files.write(source, tone(1.0), RATE)
    out.write_text("mine")
    close = encoding.Encoder.close

    def cut(encoder: encoding.Encoder) -> None:
        close(encoder)
        if encoder.path.parent.parent == tmp_path:  # not the trial before the work
            encoder.path.write_bytes(encoder.path.read_bytes()[:-150])

    monkeypatch.setattr(encoding.Encoder, "close", cut)
    assert run(str(source), "-o", str(out), "--force", *quiet) == 2
    err = capsys.readouterr().err
    assert "is the disk full" in err
    assert len(err.strip().splitlines()) == 1
    assert out.read_text() == "mine"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["in.wav", out.name]


def test_a_name_that_the_terminal_cannot_show_is_replaced(tmp_path: Path) -> None:
    source = tmp_path / "söng 音.wav"
    files.write(source, tone(0.1), RATE)
    words = ["protect", str(source), "-o", str(tmp_path / "öut.wav"), "--defense", "clean", "--attacker", "none"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words],
        env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "?ut.wav: 0.10 s" in done.stdout


def test_a_terminated_run_leaves_no_draft(tmp_path: Path) -> None:
    source, slow = tmp_path / "in.wav", tmp_path / "slow.py"
    files.write(source, tone(0.1), RATE)
    slow.write_text(
        '"""Takes its time."""\n'
        "import time\n"
        "from dataclasses import dataclass\n"
        "from bench.api import Clips, Defense\n"
        "@dataclass(frozen=True)\n"
        "class Slow(Defense[Clips]):\n"
        "    def protect(self, data, knowledge, rng):\n"
        "        print('working', flush=True)\n"
        "        time.sleep(60)\n"
    )
    words = ["protect", str(source), "-o", str(tmp_path / "out.wav"), "--defense", str(slow), "--attacker", "none"]
    with subprocess.Popen([sys.executable, "-m", "bench", *words], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
    assert {entry.name for entry in tmp_path.iterdir()} - {"__pycache__"} == {"in.wav", "slow.py"}
