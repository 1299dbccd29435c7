"""Rendering: stems add up, pitches and times are right, and nothing depends on what was played before."""

from __future__ import annotations

import builtins
import dataclasses
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.api import Rolls
from bench.errors import DataError, PluginError, UsageError
from bench.notes.render import _decimated, render, soundfont
from bench.notes.rolls import DRUMS, Notes, grid

RATE = 16000


def rolls_of(
    rows: list[tuple[float, ...]], steps: int = 16, programs: tuple[int, ...] = (16,), tempo: float = 120.0
) -> Rolls:
    """Rows (roll, track, start, duration, pitch, velocity); a sixteenth at 120 beats a minute is 2000 samples."""
    rolls = 1 + max((int(row[0]) for row in rows), default=0)
    velocity, onset = grid(Notes.of(rows), rolls, len(programs), steps)
    names = tuple(f"r{i}" for i in range(rolls))
    return Rolls(velocity, onset, programs, names, names, torch.full((rolls,), steps), torch.full((rolls,), tempo))


def band() -> Rolls:
    rows = [
        (0, 0, 0, 4, 60, 0.8), (0, 0, 4, 4, 60, 0.5), (0, 1, 0, 2, 36, 1.0), (0, 2, 2, 9, 43, 0.6),
        (1, 0, 0, 8, 72, 0.7), (1, 1, 1, 1, 42, 0.9), (1, 2, 0, 16, 40, 0.4), (2, 0, 3, 5, 65, 1.0),
    ]  # fmt: skip
    return rolls_of([tuple(row) for row in rows], programs=(0, DRUMS, 48))


@pytest.mark.parametrize("channels", [1, 2])
def test_mix_is_the_sum_of_the_stems_and_peaks_below_one(channels: int) -> None:
    clips = render(band(), RATE, channels=channels).check()
    assert clips.stems is not None
    assert clips.stems.shape == (3, 3, channels, clips.audio.shape[-1])
    assert clips.stem_names == ("program 0", "drums", "program 48")
    assert torch.equal(clips.stems.sum(1), clips.audio)
    assert clips.audio.abs().amax((1, 2)).tolist() == pytest.approx([0.9] * 3, abs=1e-5)
    assert (clips.stems[:2].abs().amax((2, 3)) > 0.02).all()
    assert not clips.stems[2, 1:].any()  # the third piece has a piano only


def test_a_piece_sounds_the_same_in_every_company() -> None:
    rolls = band()
    together = render(rolls, RATE)
    again = render(rolls.select([2, 0, 1]), RATE)
    assert torch.equal(together.audio[[2, 0, 1]], again.audio)
    assert torch.equal(render(rolls.select([1]), RATE).audio[0], together.audio[1])


@pytest.mark.parametrize(("pitch", "hertz"), [(57, 220.0), (69, 440.0), (81, 880.0)])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_notes_have_their_pitch_at_every_rate(pitch: int, hertz: float, rate: int) -> None:
    sound = render(rolls_of([(0, 0, 0, 16, pitch, 0.8)], programs=(73,)), rate).audio[0, 0, : 2 * rate]
    spectrum = torch.fft.rfft(sound * torch.hann_window(len(sound))).abs()
    low, high = round(hertz * 0.9 * 2), round(hertz * 1.1 * 2)  # bins of half a hertz
    peak = (low + int(spectrum[low:high].argmax())) / 2
    assert abs(12 * math.log2(peak / hertz)) < 0.25  # semitones; the soundfont's own tuning is some cents off
    assert peak == pytest.approx(float(spectrum[: round(hertz * 1.5) * 2].argmax()) / 2)


def test_notes_begin_and_end_where_they_should() -> None:
    sound = render(rolls_of([(0, 0, 4, 4, 60, 0.8)]), RATE, release=0.5).audio[0, 0]
    level = sound.unfold(0, 160, 160).pow(2).mean(1).sqrt()  # every 10 ms
    assert len(sound) == 16 * 2000 + 8000
    assert level[:49].max() < 1e-3  # the first note begins at 0.5 s
    assert level[52:99].min() > 0.05
    assert level[120:].max() < 0.01  # an organ stops when its key is released


def test_a_re_strike_is_heard() -> None:
    once = render(rolls_of([(0, 0, 0, 16, 60, 0.8)], programs=(6,)), RATE).audio[0, 0]
    twice = render(rolls_of([(0, 0, 0, 8, 60, 0.8), (0, 0, 8, 8, 60, 0.8)], programs=(6,)), RATE).audio[0, 0]
    before, after = slice(15000, 16000), slice(16200, 17200)
    assert once[after].pow(2).mean() < once[before].pow(2).mean()
    assert twice[after].pow(2).mean() > 2 * twice[before].pow(2).mean()


def test_velocity_is_loudness() -> None:
    clips = render(rolls_of([(0, 0, 0, 8, 60, 0.9), (0, 1, 0, 8, 60, 0.45)], programs=(16, 16)), RATE)
    assert clips.stems is not None
    level = clips.stems[0].pow(2).mean((1, 2)).sqrt()
    # Half the velocity is half to a quarter of the amplitude, whichever velocity law the soundfont states.
    assert 1.8 < float(level[0] / level[1]) < 4.5


def test_lengths_leave_the_padding_silent() -> None:
    rolls = dataclasses.replace(band(), lengths=torch.tensor([16, 4, 16]))
    early = dataclasses.replace(rolls, velocity=rolls.velocity.clone())
    early.velocity[1, :, 4:] = 0
    clips = render(early, RATE, seconds=2.2, release=0.25).check()
    assert clips.lengths.tolist() == [36000 - 800, 12000, 35200]
    assert clips.audio.shape[-1] == 35200
    assert clips.audio[1, :, :11900].any()
    assert clips.audio[1, 0, 11999].abs() < 1e-3  # faded, not cut


def test_tempo_is_heard() -> None:
    slow, fast = (render(rolls_of([(0, 0, 0, 16, 60, 0.8)], tempo=tempo), RATE).lengths[0] for tempo in (60.0, 120.0))
    assert int(slow) == 64000 + 8000
    assert int(fast) == 32000 + 8000


def test_programs_may_be_given_for_each_piece() -> None:
    rolls = band()
    own = render(rolls, RATE, programs=[rolls.programs] * 3).audio
    assert torch.equal(own, render(rolls, RATE).audio)
    other = render(rolls, RATE, programs=[(0, DRUMS, 48), (19, DRUMS, 48), (0, DRUMS, 48)]).audio
    assert torch.equal(other[[0, 2]], own[[0, 2]])
    assert not torch.equal(other[1], own[1])


def test_silence_stays_silence() -> None:
    rolls = dataclasses.replace(band(), velocity=torch.zeros(3, 3, 16, 128), onset=torch.zeros(3, 3, 16, 128).bool())
    assert not render(rolls, RATE).check().audio.any()


def test_ids_labels_and_texts_are_kept() -> None:
    rolls = dataclasses.replace(
        band(), labels=torch.tensor([1, 0, 1]), classes=("a", "b"), texts=("x", "y", "z"), tracks=("p", "d", "s")
    )
    clips = render(rolls, RATE)
    assert (clips.ids, clips.groups, clips.texts, clips.classes) == (rolls.ids, rolls.groups, rolls.texts, ("a", "b"))
    assert clips.labels is not None
    assert clips.labels.tolist() == [1, 0, 1]
    assert clips.stem_names == ("p", "d", "s")
    assert render(rolls, RATE, keep_stems=False).stems is None


def test_decimation_keeps_what_fits_and_stops_what_would_fold() -> None:
    time = torch.arange(32000, dtype=torch.float64) / 32000

    def level(hertz: float) -> Tensor:
        tone = torch.sin(2 * math.pi * hertz * time).float().expand(1, 2, -1)
        return _decimated(tone, 1)[0, 0, 500:-500].pow(2).mean().sqrt() * math.sqrt(2)

    assert float(level(5000)) == pytest.approx(1.0, abs=1e-3)
    assert float(level(9000)) < 1e-3  # would come back at 7 kHz
    assert float(level(14000)) < 1e-4


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"channels": 3}, "expected 1"),
        ({"peak": 1.0}, "between 0 and 1"),
        ({"programs": [(0, 1)]}, "expected 3 of 3"),
        ({"seconds": 0.0}, "at least one sample"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        render(band(), RATE, **given)


def test_a_soundfont_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        render(band(), RATE, font=tmp_path / "none.sf2")
    (tmp_path / "text.sf2").write_text("not a soundfont")
    with pytest.raises(DataError, match="not a soundfont"):
        render(band(), RATE, font=tmp_path / "text.sf2")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "tinysoundfont":
            raise ImportError(name)
        return whole(name, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", without)
        with pytest.raises(PluginError, match="pip install --no-deps tinysoundfont"):
            render(band(), RATE)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PluginError, match="pip install pretty_midi"):
        render(band(), RATE)


def test_the_soundfont_is_found_without_an_import() -> None:
    before = set(sys.modules)
    assert soundfont().name == "TimGM6mb.sf2"
    assert "pretty_midi" not in set(sys.modules) - before
