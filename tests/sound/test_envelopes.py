"""Mean levels over active frames, smooth parts of them, and filters that keep the energy."""

import pytest
import torch

from bench.api import Clips
from bench.sound.envelopes import liftered, mean_levels, shaped


def noise(channels: int = 1) -> Clips:
    rng = torch.Generator().manual_seed(0)
    return Clips.of(0.1 * torch.randn(3, channels, 4000, generator=rng), 8000)


def test_pauses_padding_and_gain_have_no_effect_on_mean_levels() -> None:
    data = noise()
    padded = torch.cat([data.audio, torch.zeros(3, 1, 4000)], -1)
    pause = Clips.of(padded, 8000)
    padding = Clips.of(padded, 8000, lengths=torch.full((3,), 4000))
    for other in (pause, padding, data.with_audio(0.1 * data.audio)):
        torch.testing.assert_close(mean_levels(other), mean_levels(data), atol=1.0, rtol=0)
    torch.testing.assert_close(mean_levels(pause), mean_levels(padding), atol=0.8, rtol=0)
    assert mean_levels(data).mean(1).abs().max() < 1e-4
    assert torch.equal(mean_levels(data.with_audio(0 * data.audio)), torch.zeros(3, 129))


def test_the_smooth_part_keeps_slow_ripples_and_drops_fast_ones() -> None:
    position = torch.arange(129) / 128 * torch.pi
    slow, fast = torch.cos(3 * position)[None], torch.cos(40 * position)[None]
    torch.testing.assert_close(liftered(slow + fast, 10), slow, atol=1e-4, rtol=0)
    torch.testing.assert_close(liftered(slow + fast, 1000), slow + fast, atol=1e-4, rtol=0)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_filter_changes_levels_by_its_gain_and_keeps_the_energy(channels: int) -> None:
    data = noise(channels)
    gain = 6.0 * torch.cos(torch.arange(129) / 128 * torch.pi).expand(3, -1)
    made = shaped(data, gain).check("shaped")
    torch.testing.assert_close(mean_levels(made) - mean_levels(data), gain, atol=1.0, rtol=0)
    torch.testing.assert_close(made.audio.square().sum((1, 2)), data.audio.square().sum((1, 2)), rtol=1e-4, atol=0)
