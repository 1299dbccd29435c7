"""Features of clips and rolls: what each measures, and what has no effect on it."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from bench._kit.sets import example, melodies, tones
from bench.api import Clips, Rolls
from bench.metrics.stealth_features import clip_features, codec_residual, in_order, roll_features
from bench.notes.rolls import Notes, grid, notes_of

RATE = 16_000


def noise(level: float = 0.1, clips: int = 2, samples: int = RATE, rate: int = RATE, seed: int = 0) -> Clips:
    rng = torch.Generator().manual_seed(seed)
    return Clips.of((level * torch.randn(clips, 1, samples, generator=rng)).clamp(-1, 1), rate)


def sine(hz: float = 440.0, amplitude: float = 0.5, samples: int = RATE, rate: int = RATE) -> Clips:
    return Clips.of(amplitude * torch.sin(2 * torch.pi * hz * torch.arange(samples) / rate)[None, None], rate)


def one(features: dict[str, Tensor], name: str) -> float:
    return float(features[name][0])


def rolls_of(*rows: tuple[float, ...], steps: int = 16) -> Rolls:
    cells = grid(Notes.of(rows), 1, 1, steps)
    length = torch.tensor([steps])
    return Rolls(*cells, programs=(0,), ids=("a",), groups=("a",), lengths=length, tempo=torch.tensor([120.0]))


def test_white_noise_is_flat_and_full_of_highs_and_a_tone_is_not() -> None:
    of_noise, of_tone = clip_features(noise()), clip_features(sine())
    assert one(of_noise, "flatness_active_db") > -4.0
    assert one(of_tone, "flatness_active_db") < -30.0
    assert one(of_noise, "high_band_db") == pytest.approx(-6.02, abs=0.3)  # a quarter of the band
    assert one(of_tone, "high_band_db") < -40.0


def test_the_crest_factor_is_peak_over_rms() -> None:
    assert one(clip_features(sine()), "crest_db") == pytest.approx(3.01, abs=0.01)


def test_the_noise_floor_of_pauses_shows_added_noise() -> None:
    gate = (torch.arange(RATE) % 4000 < 2000).float()
    pulses = sine().with_audio(sine().audio * gate)  # with digital silence between them
    noisy = pulses.with_audio(pulses.audio + noise(0.005, 1).audio)
    clean, changed = clip_features(pulses), clip_features(noisy)
    assert one(changed, "noise_floor_db") > one(clean, "noise_floor_db") + 30
    assert one(changed, "flatness_quiet_db") > one(clean, "flatness_quiet_db") + 5
    assert one(clean, "silence_share") > 0.3 > one(changed, "silence_share")


def test_padding_has_no_effect_and_neither_has_a_gain() -> None:
    clips = noise(0.05)
    padded = Clips.of(functional.pad(clips.audio, (0, 3000)), RATE, lengths=clips.lengths)
    quieter = clips.with_audio(0.5 * clips.audio)
    for name, values in clip_features(clips).items():
        assert torch.allclose(clip_features(padded)[name], values, atol=0.3), name  # the last frames see the end
        expected = values - 6.02 if name == "level_db" else values
        assert torch.allclose(clip_features(quieter)[name], expected, atol=0.01), name


@pytest.mark.parametrize("case", ["several", "one", "stereo", "short", "silent", "full scale"])
def test_features_are_finite_whatever_the_item(case: str) -> None:
    for features in (clip_features(example("audio", case)), roll_features(example("midi", case))):  # type: ignore[arg-type]
        assert all(values.isfinite().all() and values.dtype == torch.float64 for values in features.values())


def test_one_sample_is_enough() -> None:
    clips = Clips.of(torch.full((1, 1, 1), 0.5), RATE)
    assert all(values.isfinite().all() for values in clip_features(clips).values())
    assert codec_residual(clips).isfinite().all()


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 10_000])
def test_a_codec_changes_noise_more_than_a_tone_at_any_rate(rate: int) -> None:
    difference = codec_residual(noise(rate=rate, clips=1)) - codec_residual(sine(rate=rate))
    assert float(difference) > 10.0


def test_silence_has_no_codec_residual_and_many_channels_are_mixed() -> None:
    assert codec_residual(Clips.of(torch.zeros(1, 1, 4000), RATE)).tolist() == [pytest.approx(-120.0)]
    wide = Clips.of(noise().audio.expand(2, 5, -1).contiguous(), RATE)
    assert torch.allclose(codec_residual(wide), codec_residual(noise()), atol=0.1)


def test_items_are_measured_alone() -> None:
    both, alone = tones(3), tones(3).select([1])
    for name, values in clip_features(both).items():
        assert torch.allclose(values[1:2], clip_features(alone)[name], atol=1e-6), name
    assert torch.allclose(codec_residual(both)[1:2], codec_residual(alone), atol=1e-6)
    for name, values in roll_features(melodies(3)).items():
        assert torch.allclose(values[1:2], roll_features(melodies(3).select([1]))[name]), name


def test_features_of_a_roll_by_hand() -> None:
    # roll, track, start, duration, pitch, velocity: a repeat at once, a rest, a soft note a third higher
    features = roll_features(rolls_of((0, 0, 0, 2, 60, 0.5), (0, 0, 2, 2, 60, 0.5), (0, 0, 8, 1, 64, 0.1)))
    expected = {
        "density": 3 / 4,
        "velocity_mean": 1.1 / 3,
        "velocity_step": 0.2,
        "soft_share": 1 / 3,
        "repeat_share": 1 / 3,
        "duration_mean": 2 / 3,
        "single_share": 1 / 3,
        "polyphony": 1.0,
        "interval_mean": 2.0,
    }
    assert {name: one(features, name) for name in expected} == pytest.approx(expected, abs=1e-6)


def test_polyphony_counts_where_something_sounds() -> None:
    features = roll_features(rolls_of((0, 0, 0, 4, 60, 0.5), (0, 0, 0, 2, 64, 0.5)))
    assert one(features, "polyphony") == 1.5


def test_an_empty_roll_is_all_zeros() -> None:
    silent = melodies(1)
    silent = replace(silent, velocity=silent.velocity * 0, onset=silent.onset & False)
    assert all(float(values) == 0.0 for values in roll_features(silent).values())


def test_notes_are_ordered_by_time_within_a_track() -> None:
    notes = in_order(notes_of(melodies(2)))
    rows = torch.stack([notes.roll, notes.track, notes.start, notes.pitch], 1).tolist()
    assert rows == sorted(rows)
