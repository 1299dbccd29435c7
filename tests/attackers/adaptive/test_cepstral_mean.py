"""A fixed filter on a clip has no effect after the mean log spectrum is removed; level and place stay."""

from typing import Any

import pytest
import torch

from bench import plugins
from bench.api import Clips
from bench.errors import UsageError
from bench.sound.envelopes import liftered, mean_levels
from bench.sound.filters import equalise


def phrases(rate: int = 8000, channels: int = 1) -> Clips:
    """Noise in bursts, each of a band of its own, of different lengths."""
    rng = torch.Generator().manual_seed(0)
    time = torch.arange(rate) / rate
    spectrum = torch.fft.rfft(torch.randn(6, channels, 8, rate, generator=rng))
    centre = torch.linspace(0.05, 0.6, 8)[:, None] * spectrum.shape[-1]
    width = 0.1 * spectrum.shape[-1]
    band = torch.exp(-(((torch.arange(spectrum.shape[-1]) - centre) / width) ** 2)) + 0.01
    audio = (torch.fft.irfft(spectrum * band, rate) * ((time * 8).long() == torch.arange(8)[:, None])).sum(2)
    lengths = rate - torch.arange(6) * (rate // 12)
    audio = 0.2 * audio / audio.abs().amax((1, 2), keepdim=True) * (torch.arange(rate) < lengths[:, None])[:, None]
    return Clips.of(audio, rate, lengths=lengths)


def equalised(data: Clips, decibels: float = 8.0) -> Clips:
    gains = decibels * (2 * torch.rand(len(data), 10, generator=torch.Generator().manual_seed(1)) - 1)
    return data.with_audio((equalise(data.audio, data.rate, gains) * data.support).clamp(-1, 1))


def normalised(data: Clips, **given: Any) -> Clips:
    plugin: Any = plugins.build("adaptations", "cepstral_mean", given)
    assert plugin.preprocess
    out: Clips = plugin.transform(data, torch.Generator())
    return out.check("normalised")


def snr_at_any_gain(clean: Clips, other: Clips) -> float:
    one, two = (each.audio.flatten(1) / each.audio.flatten(1).norm(dim=1, keepdim=True) for each in (clean, other))
    return float(-10 * torch.log10((one - two).square().sum(1).mean()))


def snr(clean: Clips, other: Clips) -> float:
    return float(10 * torch.log10(clean.audio.square().sum() / (other.audio - clean.audio).square().sum()))


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16_000, 2), (44_100, 1)])
def test_a_fixed_filter_has_no_effect_any_more(rate: int, channels: int) -> None:
    clean = phrases(rate, channels)
    other = equalised(clean)
    before, after = snr_at_any_gain(clean, other), snr_at_any_gain(normalised(clean), normalised(other))
    assert before < 11.0
    assert after > before + 7.0


def test_the_mean_spectrum_is_flat_and_the_level_stays() -> None:
    data = equalised(phrases())
    made = normalised(data)
    before, after = (liftered(mean_levels(each), 24).square().mean().sqrt() for each in (data, made))
    assert after < 0.2 * before
    torch.testing.assert_close(made.audio.square().sum((1, 2)), data.audio.square().sum((1, 2)), rtol=1e-3, atol=0)
    softer = normalised(data.with_audio(0.1 * data.audio))
    torch.testing.assert_close(10 * softer.audio, made.audio, rtol=0, atol=1e-3)


def test_strength_and_limit_bound_the_change() -> None:
    data = phrases()
    assert snr(data, normalised(data, strength=0.0)) > 80.0
    assert snr(data, normalised(data, limit=0.0)) > 80.0
    assert snr(data, normalised(data, strength=0.25)) > snr(data, normalised(data)) + 3.0
    assert snr(data, normalised(data, limit=2.0)) > snr(data, normalised(data)) + 3.0


def test_a_clip_is_filtered_alike_alone_and_in_a_set() -> None:
    data = phrases()
    torch.testing.assert_close(normalised(data).audio[4:5], normalised(data.select([4])).audio, atol=1e-5, rtol=0)


@pytest.mark.parametrize("samples", [1, 5, 100])
def test_short_silent_and_full_scale_clips_pass(samples: int) -> None:
    for level in (0.0, 1.0):
        short = Clips.of(torch.full((2, 1, samples), level), 8000)
        assert normalised(short).audio.shape == short.audio.shape


@pytest.mark.parametrize("given", [{"strength": -0.1}, {"coefficients": 0}, {"limit": -1.0}])
def test_parameters_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        plugins.build("adaptations", "cepstral_mean", given)
