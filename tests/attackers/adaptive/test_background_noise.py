"""Coloured noise: the slope and the ratio that were asked for."""

from typing import Any

import pytest
import torch

from bench import plugins
from bench.api import Clips
from bench.errors import UsageError

RATE = 16_000


def added(clips: Clips, **given: Any) -> torch.Tensor:
    plugin = plugins.build("adaptations", "background_noise", given)
    noisy: Clips = plugin.augment(clips, torch.Generator().manual_seed(0)).check("background_noise")
    return noisy.audio - clips.audio


def tone(clips: int, amplitude: float = 0.1) -> Clips:
    time = torch.arange(RATE) / RATE
    lengths = torch.full((clips,), RATE - 1000)
    audio = amplitude * torch.sin(2 * torch.pi * 1000 * time).repeat(clips, 1, 1)
    return Clips.of(audio * (torch.arange(RATE) < RATE - 1000), RATE, lengths=lengths)


@pytest.mark.parametrize(("exponent", "slope"), [(0.0, 0.0), (1.0, -3.01), (2.0, -6.02)])
def test_the_power_falls_by_the_slope_of_the_exponent(exponent: float, slope: float) -> None:
    noise = added(tone(50), flattest=exponent, steepest=exponent, lowest_db=20.0)[..., 500:-1500]
    power = torch.fft.rfft(noise[:, 0] * torch.hann_window(noise.shape[-1])).abs().square().mean(0)
    hertz = RATE / noise.shape[-1]
    octaves = [10 * power[round(hz / hertz) : round(2 * hz / hertz)].mean().log10() for hz in (200, 400, 1600, 3200)]
    falls = [float(octaves[1] - octaves[0]), float(octaves[3] - octaves[2])]
    assert falls == pytest.approx([slope, slope], abs=0.4)


def test_the_ratio_lies_within_its_bounds_and_differs_between_clips() -> None:
    clips = tone(100)
    noise = added(clips, lowest_db=10.0, highest_db=20.0)
    ratio = 20 * (clips.audio.norm(dim=(1, 2)) / noise.norm(dim=(1, 2))).log10()
    assert ratio.min() > 9.9
    assert ratio.max() < 20.1
    assert float(ratio.std()) == pytest.approx(10 / 12**0.5, abs=0.5)
    assert (noise[..., RATE - 1000 :] == 0).all()


@pytest.mark.parametrize("given", [{"lowest_db": 40.0}, {"flattest": 2.5}, {"steepest": 4.0}], ids=str)
def test_what_cannot_be_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        plugins.build("adaptations", "background_noise", given)
