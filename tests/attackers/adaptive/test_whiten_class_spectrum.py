"""A filter of each class is divided out; classes that differ by chance alone hardly change."""

from typing import Any

import pytest
import torch

from bench import plugins
from bench.api import Clips
from bench.errors import DataError, UsageError
from bench.sound.envelopes import mean_levels
from bench.sound.filters import equalise

CLIPS = 40


def voices(rate: int = 8000, channels: int = 1) -> Clips:
    """Recordings of two classes: noise through a tilt that is each clip's own."""
    rng = torch.Generator().manual_seed(0)
    white = torch.fft.rfft(torch.randn(CLIPS, channels, rate, generator=rng))
    tilt = torch.linspace(1.0, 0.1, white.shape[-1]) ** (0.5 + torch.rand(CLIPS, 1, 1, generator=rng))
    audio = torch.fft.irfft(white * tilt, rate)
    lengths = rate - torch.randint(0, rate // 4, (CLIPS,), generator=rng)
    audio = 0.2 * audio / audio.abs().amax((1, 2), keepdim=True) * (torch.arange(rate) < lengths[:, None])[:, None]
    return Clips.of(audio, rate, lengths=lengths, labels=torch.arange(CLIPS) % 2, classes=("a", "b"))


def filtered_by_class(clean: Clips, decibels: float = 6.0) -> Clips:
    assert clean.labels is not None
    gains = decibels * (2 * torch.rand(2, 10, generator=torch.Generator().manual_seed(1)) - 1)
    return clean.with_audio((equalise(clean.audio, clean.rate, gains[clean.labels]) * clean.support).clamp(-1, 1))


def whitened(data: Clips, **given: Any) -> Clips:
    out: Clips = plugins.build("adaptations", "whiten_class_spectrum", given).transform(data, torch.Generator())
    return out.check("whitened")


def apart(data: Clips) -> float:
    """How far the classes' mean spectra are apart, dB, root of the mean over bins."""
    assert data.labels is not None
    levels = mean_levels(data)
    difference = levels[data.labels == 0].mean(0) - levels[data.labels == 1].mean(0)
    return float(difference.square().mean().sqrt())


def snr(clean: Clips, other: Clips) -> float:
    return float(10 * torch.log10(clean.audio.square().sum() / (other.audio - clean.audio).square().sum()))


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16_000, 2), (44_100, 1)])
def test_a_filter_of_each_class_is_divided_out(rate: int, channels: int) -> None:
    data = filtered_by_class(voices(rate, channels))
    assert apart(data) > 2.0
    assert apart(whitened(data)) < 0.25 * apart(data)


def test_classes_that_differ_by_chance_change_little() -> None:
    clean = voices()
    assert snr(clean, whitened(clean)) > 15.0


def test_strength_is_the_share_that_is_removed() -> None:
    data = filtered_by_class(voices())
    assert snr(data, whitened(data, strength=0.0)) > 80.0
    assert apart(whitened(data, strength=0.5)) == pytest.approx(0.5 * apart(data), rel=0.2)


def test_no_gain_exceeds_the_limit_and_few_clips_stay() -> None:
    data = filtered_by_class(voices(), 12.0)
    assert apart(whitened(data, limit=1.0)) > apart(data) - 2.5
    few = data.select(torch.arange(4))
    assert snr(few, whitened(few)) > 80.0


def test_without_labels_it_is_refused() -> None:
    with pytest.raises(DataError, match="labels"):
        whitened(Clips.of(torch.zeros(2, 1, 100), 8000))


@pytest.mark.parametrize("given", [{"strength": 1.1}, {"limit": -1.0}, {"fewest": 1}])
def test_parameters_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        plugins.build("adaptations", "whiten_class_spectrum", given)
