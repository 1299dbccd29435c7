"""Levels in Mel bands: calibrated, of the recording alone, the same at any number of clips."""

import math

import pytest
import torch

from bench.api import Clips
from bench.sound.bands import band_levels, band_statistics
from bench.sound.spectra import hz_to_mel


def tone(hz: float, rate: int, level: float = 0.5, channels: int = 1) -> Clips:
    time = torch.arange(rate) / rate
    audio = level * torch.sin(2 * torch.pi * hz * time).expand(2, channels, rate).clone()
    lengths = torch.tensor([rate, rate // 2])
    return Clips.of(audio * (torch.arange(rate) < lengths[:, None])[:, None], rate, lengths=lengths)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_tone_has_its_level_in_its_band(rate: int, channels: int) -> None:
    levels, inside = band_levels(tone(1000.0, rate, channels=channels), 8)
    band = int(hz_to_mel(torch.tensor(1000.0)) / hz_to_mel(torch.tensor(rate / 2)) * 8)
    middle = levels[0, :, levels.shape[-1] // 2]
    assert int(middle.argmax()) == band
    assert float(middle[band]) == pytest.approx(20 * math.log10(0.5) + 1.76, abs=0.6)  # three bins of a Hann window
    assert float(levels.amin()) == -80.0
    assert 0 < int(inside[1].sum()) < int(inside[0].sum()) == levels.shape[-1]


def test_statistics_do_not_count_padding() -> None:
    data = tone(1000.0, 8000)
    long, short = band_statistics(data)
    band = int(long[:32].argmax())
    assert float(short[band]) == pytest.approx(float(long[band]), abs=1.0)
    alone = band_statistics(data.select([1]))
    torch.testing.assert_close(alone[0], short)


@pytest.mark.parametrize("samples", [0, 1, 7])
def test_short_and_empty_clips_have_levels(samples: int) -> None:
    data = Clips.of(torch.full((2, 1, 7), 0.5) * (torch.arange(7) < samples), 8000, lengths=torch.tensor([samples] * 2))
    assert band_statistics(data).isfinite().all()
