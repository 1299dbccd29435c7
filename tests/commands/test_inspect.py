"""`bench inspect` on files that the tests make: what it finds, and that it finds nothing else."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import plugins
from bench._kit.sets import melodies
from bench.api import Clips, Knowledge
from bench.commands import inspect as command
from bench.commands import inspect_sound
from bench.commands.inspect_folder import inspect, listed, totals
from bench.commands.inspect_sound import cut_off, measure
from bench.metrics.stealth_features import codec_residual
from bench.notes.rolls import write_midi
from bench.sound import files, mp3, resample
from tests.commands.test_commands import bench

RATE = 16_000


def sound(seed: int, rate: int = RATE, seconds: float = 1.0, tilt: float = 1.5) -> Tensor:
    """Harmonic tones with pauses over faint noise, each seed with pitches and phases of its own; [1, sample]."""
    rng = torch.Generator().manual_seed(seed)
    time = torch.arange(round(rate * seconds)) / rate
    beats = int(time[-1] * 5) + 1
    hz = 110.0 * 2 ** (2 * torch.rand(beats, generator=rng))
    phase = 2 * torch.pi * (torch.cumsum(hz[(time * 5).long()] / rate, 0) + torch.rand(1, generator=rng))
    order = torch.arange(1, 9)[:, None]
    parts = order**-tilt * torch.sin(order * phase + 2 * torch.pi * torch.rand(8, 1, generator=rng))
    audio = parts.sum(0) * torch.exp(-10 * (time * 5 % 1)) * (time * 5 % 1 < 0.7)
    audio = 0.5 * audio / audio.abs().max() + 3e-4 * torch.randn(len(time), generator=rng)
    return audio[None]


def hiss(seed: int, rate: int, seconds: float = 2.0) -> Tensor:
    return 0.1 * torch.randn(1, round(rate * seconds), generator=torch.Generator().manual_seed(seed)).clamp(-4, 4)


def put(path: Path, audio: Tensor, rate: int = RATE, subtype: str = "PCM_16") -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    files.write(path, audio, rate, subtype=subtype)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(12):
        put(tmp_path / f"{number:02d}.wav", sound(number))
    return tmp_path


def found(folder: Path) -> list[tuple[str, str]]:
    return [(each.file, each.finding) for each in inspect(folder, listed(folder))[1]]


def protected(paths: list[Path], name: str, **params: Any) -> None:
    """Protect files of one length and class in place."""
    audio = torch.stack([files.read(path)[0] for path in paths])
    labels = torch.zeros(len(audio), dtype=torch.int64)
    clips = Clips.of(audio, RATE, labels=labels, classes=("a", "b"))
    defense: Any = plugins.build("defenses", name, params)
    out = defense.protect(clips, Knowledge(), torch.Generator().manual_seed(0))
    for path, changed in zip(paths, out.audio, strict=True):
        put(path, changed)


def test_nothing_in_clean_files_is_code_0(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("inspect", str(folder)) == 0
    out = capsys.readouterr().out
    assert out == "files: 12 (sounds: 12, MIDI: 0, 0.2 min): nothing found; without a finding: 12\n"


def test_what_a_file_says_by_itself(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(folder / "a_silent.wav", torch.zeros(1, RATE))
    put(folder / "b_clipped.wav", (6 * sound(50)).clamp(-1, 1))
    put(folder / "c_half.wav", resample(resample(hiss(1, 44_100), 44_100, 22_050), 22_050, 44_100), 44_100)
    put(folder / "d_coded.wav", mp3(hiss(2, 44_100)[None], 44_100, 64)[0].clamp(-1, 1), 44_100)
    (folder / "e_broken.wav").write_bytes(b"RIFF nothing else")
    shutil.copy(folder / "03.wav", folder / "f_copy.wav")
    put(folder / "g_copy.flac", files.read(folder / "04.wav")[0])
    put(folder / "h_nearly.wav", 0.8 * files.read(folder / "05.wav")[0])
    assert bench("inspect", str(folder)) == 3
    out = capsys.readouterr().out
    names = ("silent", "clipped", "resampled", "lossy", "unreadable", "duplicate", "duplicate", "near-duplicate")
    rows = {line.split()[0]: line for line in out.splitlines() if line[:1] in "abcdefgh" and "." in line[:14]}
    assert [row.split()[1] for row in rows.values()] == list(names)
    assert "likely from 22050 Hz" in rows["c_half.wav"]
    assert "MP3" in rows["d_coded.wav"]
    assert "the same content as 03.wav" in rows["f_copy.wav"]
    assert "the same content as 04.wav" in rows["g_copy.flac"]
    assert "nearly 05.wav" in rows["h_nearly.wav"]
    assert str(folder) not in rows["e_broken.wav"]
    assert out.splitlines()[-1].endswith("; without a finding: 12")


def test_a_file_protected_by_noise_is_found_among_clean_ones(folder: Path) -> None:
    protected([folder / "07.wav"], "noise", snr_db=20.0)
    assert found(folder) == [("07.wav", "protected")]


def test_fewer_than_eight_files_are_no_measure(tmp_path: Path) -> None:
    for number in range(7):
        put(tmp_path / f"{number:02d}.wav", sound(number))
    protected([tmp_path / "02.wav"], "noise", snr_db=10.0)
    assert found(tmp_path) == []


@pytest.mark.parametrize(("kind", "snr_db"), [("noise", 20.0), ("lsp", 15.0)])
def test_a_mark_of_a_class_is_found_and_only_there(tmp_path: Path, kind: str, snr_db: float) -> None:
    for number in range(24):
        put(tmp_path / ("marked" if number < 12 else "plain") / f"{number:02d}.wav", sound(number))
    assert found(tmp_path) == []
    protected(sorted((tmp_path / "marked").iterdir()), "separable", kind=kind, snr_db=snr_db)
    assert found(tmp_path) == [("marked/", "protected")]


def test_a_tone_of_a_class_needs_more_files(tmp_path: Path) -> None:
    for number in range(32):
        put(tmp_path / "tone" / f"{number:02d}.wav", sound(number))
    protected(sorted((tmp_path / "tone").iterdir()), "separable", kind="tones", snr_db=15.0)
    assert [finding for _, finding in found(tmp_path)] == ["protected"]


def test_one_noise_on_every_file_is_said_of_the_folder(folder: Path) -> None:
    protected(sorted(folder.iterdir()), "separable", kind="noise", snr_db=25.0)
    entries, findings = inspect(folder, listed(folder))
    assert [(each.file, each.finding) for each in findings] == [(".", "protected")]
    assert totals(entries, findings)["clean"] == 0


def test_a_file_in_the_wrong_class_is_named(tmp_path: Path) -> None:
    for number in range(20):
        dark = number >= 10
        put(tmp_path / ("dark" if dark else "bright") / f"{number:02d}.wav", sound(number, tilt=3.0 if dark else 0.2))
    assert found(tmp_path) == []
    shutil.move(tmp_path / "dark" / "13.wav", tmp_path / "bright" / "13.wav")
    assert found(tmp_path) == [("bright/13.wav", "mislabelled")]


def test_classes_that_sound_alike_are_not_called_mislabelled(tmp_path: Path) -> None:
    for number in range(20):
        put(tmp_path / f"class {number % 2}" / f"{number:02d}.wav", sound(number))
    assert found(tmp_path) == []


def test_midi_files_with_ghost_notes_copies_and_damage_are_found(tmp_path: Path) -> None:
    rolls = melodies(12)
    ghosted: Any = plugins.build("defenses", "ghosts", {})
    ghosts = ghosted.protect(rolls.select([4]), Knowledge(), torch.Generator().manual_seed(0))
    for number in range(12):
        if number != 4:
            write_midi(rolls, number, tmp_path / f"{number:02d}.mid")
    assert found(tmp_path) == []
    write_midi(ghosts, 0, tmp_path / "04.mid")
    write_midi(rolls, 6, tmp_path / "copy.mid")
    (tmp_path / "zero.mid").write_bytes((tmp_path / "06.mid").read_bytes()[:40])
    assert found(tmp_path) == [("04.mid", "protected"), ("copy.mid", "duplicate"), ("zero.mid", "unreadable")]


def test_json_has_every_figure_and_no_nan(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "broken.flac").write_bytes(b"")
    put(folder / "silent.wav", torch.zeros(1, RATE))
    assert bench("inspect", str(folder), "--json") == 3
    document = json.loads(capsys.readouterr().out)
    assert document["totals"]["findings"] == {"unreadable": 1, "silent": 1}
    assert document["totals"]["files"] == len(document["files"]) == 14
    by_name = {entry["file"]: entry for entry in document["files"]}
    assert {"noise_floor_db", "codec_residual_db", "peak", "clipped_share"} <= set(by_name["00.wav"]["scores"])
    assert by_name["00.wav"]["scores"]["cut_hz"] is None
    assert by_name["silent.wav"]["scores"]["peak"] == 0.0
    assert not by_name["broken.flac"]["readable"]
    assert document["findings"][0]["score"] is None


def test_bad_input_is_one_line_and_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note = tmp_path / "note.txt"
    note.write_text("no sound")
    for path, said in ((tmp_path / "none", "no folder"), (note, "expected a folder"), (tmp_path, "no sound or MIDI")):
        assert bench("inspect", str(path)) == 2
        out, err = capsys.readouterr()
        assert said in err
        assert len(err.splitlines()) == 1
        assert out == ""


def test_hidden_files_and_links_are_left_out(tmp_path: Path) -> None:
    put(tmp_path / "sub" / "a.WAV", sound(1))
    put(tmp_path / ".hidden" / "b.wav", sound(2))
    put(tmp_path / ".c.wav", sound(3))
    (tmp_path / "link.wav").symlink_to(tmp_path / "sub" / "a.WAV")
    assert listed(tmp_path) == ["sub/a.WAV"]


def test_progress_says_the_time_left(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_LINE_SECONDS", 0.0)
    assert bench("inspect", str(folder), "--display", "plain") == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == [f"[{number}/12]" for number in range(1, 12)]
    assert all(line.endswith(" s left") for line in lines)
    assert bench("inspect", str(folder), "--display", "none") == 0
    assert capsys.readouterr().err == ""
    assert bench("inspect", str(folder), "--display", "rich") == 0


def test_a_long_file_is_read_in_pieces_and_featured_at_a_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "long.wav", (4 * sound(1, seconds=4.05)).clamp(-1, 1))
    whole = measure(path)
    seen: list[int] = []

    def counted(clips: Clips) -> Tensor:
        seen.append(clips.audio.shape[-1])
        return codec_residual(clips)

    monkeypatch.setattr(inspect_sound, "codec_residual", counted)
    monkeypatch.setattr(inspect_sound, "PIECE_SECONDS", 0.1)
    pieces = measure(path)
    assert 4 <= len(seen) <= inspect_sound.FEATURED
    assert set(seen) == {1600}
    assert (pieces.digest, pieces.peak, pieces.runs) == (whole.digest, whole.peak, whole.runs)
    assert pieces.runs > 3
    assert pieces.clipped == whole.clipped
    assert pieces.seconds == pytest.approx(4.05)


def test_a_loud_tone_at_full_scale_is_not_clipped(tmp_path: Path) -> None:
    time = torch.arange(RATE) / RATE
    facts = measure(put(tmp_path / "a.wav", torch.sin(2 * torch.pi * 220 * time)[None]))
    assert facts.runs == 0
    flat = torch.sin(2 * torch.pi * 220 * time)[None] * 1.5
    facts = measure(put(tmp_path / "b.wav", flat.clamp(-1, 1)))
    assert facts.runs == 440  # two a period
    assert facts.clipped == pytest.approx(float((flat.abs() >= 1).float().mean()), abs=0.01)


@pytest.mark.parametrize(
    ("hz", "expected"), [(5_000, 5_000), (3_000, 3_000), (7_900, None), (None, None)], ids=["5k", "3k", "near", "full"]
)
def test_a_cut_off_is_found_where_noise_ends(hz: int | None, expected: int | None) -> None:
    spectrum = torch.fft.rfft(hiss(1, RATE))
    if hz:
        spectrum[:, round(hz * 2) :] = 0
    power = (spectrum.abs().square() + 1e-6 * spectrum.abs().max() ** 2 * 1e-4)[0].double()
    power = power[:16_000].reshape(1000, 16).mean(1)
    found = cut_off(10 * (power / power.max()).log10(), RATE)
    assert found != found if expected is None else found == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_tones_and_falling_spectra_have_no_cut_off(tmp_path: Path, rate: int) -> None:
    pure = 0.5 * torch.sin(2 * torch.pi * 700 * torch.arange(2 * rate) / rate)[None]
    falling = hiss(1, rate).cumsum(1)
    for number, audio in enumerate((pure, falling / falling.abs().max(), sound(1, rate, 2.0))):
        facts = measure(put(tmp_path / f"{number}.wav", audio, rate))
        assert facts.cut_hz != facts.cut_hz, number


def test_an_empty_file_and_one_sample_are_no_trouble(tmp_path: Path) -> None:
    put(tmp_path / "one.wav", torch.full((1, 1), 0.5))
    put(tmp_path / "wide.wav", torch.rand(5, 300) - 0.5)
    assert found(tmp_path) == []
