"""Wavelet shrinkage: white noise is lowered, sound and place are kept."""

import pytest
import torch

from bench import plugins
from bench.api import Clips
from bench.errors import UsageError
from bench.sound.wavelets import analyse, daubechies, synthesise


def shrunk(clips: Clips, **given: object) -> Clips:
    plugin = plugins.build("adaptations", "wavelet", given)
    transformed: Clips = plugin.transform(clips, torch.Generator()).check("wavelet")
    return transformed


def chords(rate: int, channels: int = 1, noise: float = 0.0) -> Clips:
    """Three clips of a chord that fades in and out twice a second, of different lengths, in white noise."""
    time = torch.arange(rate) / rate
    chord = (
        sum(0.15 * torch.sin(2 * torch.pi * hz * time) for hz in (180.0, 410.0, 950.0)) * (2 * torch.pi * time).sin()
    )
    lengths = torch.tensor([rate, rate // 2 + 7, rate // 3])
    white = noise * torch.randn(3, channels, rate, generator=torch.Generator().manual_seed(0))
    return Clips.of((chord + white) * (torch.arange(rate) < lengths[:, None])[:, None], rate, lengths=lengths)


def snr(clean: torch.Tensor, other: torch.Tensor) -> float:
    return float(10 * torch.log10(clean.square().sum() / (clean - other).square().sum()))


@pytest.mark.parametrize("moments", [1, 2, 8, 10])
def test_the_transform_keeps_energy_and_can_be_inverted(moments: int) -> None:
    low_pass = daubechies(moments)
    assert len(low_pass) == 2 * moments
    alternating = low_pass * (-1.0) ** torch.arange(2 * moments)
    powers = torch.arange(2 * moments, dtype=torch.float64)[:, None] ** torch.arange(min(moments, 5))
    assert (alternating @ powers).abs().max() < 1e-4  # the wavelet does not see polynomials
    sound = torch.randn(2, 2, 1001, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    details, rest = analyse(sound, low_pass, 4)
    energy = sum(part.square().sum() for part in (*details, rest))
    torch.testing.assert_close(energy, sound.square().sum(), rtol=1e-6, atol=0)
    torch.testing.assert_close(synthesise(details, rest, low_pass, 1001), sound, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
@pytest.mark.parametrize(("rule", "strength"), [("bayes", 1.0), ("universal", 0.2)])
def test_white_noise_is_lowered(rule: str, strength: float, rate: int) -> None:
    clean, noisy = chords(rate, 2), chords(rate, 2, 0.05)
    denoised = shrunk(noisy, rule=rule, strength=strength)
    assert snr(clean.audio, denoised.audio) > snr(clean.audio, noisy.audio) + 1
    assert snr(clean.audio, shrunk(clean, rule=rule, strength=strength).audio) > 25


def test_a_stronger_threshold_leaves_less_of_the_noise_and_zero_changes_nothing() -> None:
    noise = Clips.of(0.1 * torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(0)), 16_000)
    left = [float(shrunk(noise, strength=s, rule="universal").audio.square().sum()) for s in (0.0, 0.3, 0.6, 1.0)]
    assert left == sorted(left, reverse=True)
    assert left[-1] < 0.1 * left[0]
    torch.testing.assert_close(shrunk(noise, strength=0.0).audio, noise.audio, atol=1e-6, rtol=0)


def test_a_clip_depends_on_no_neighbour_and_no_gain() -> None:
    clips = chords(8000, noise=0.02)
    together = shrunk(clips).audio
    alone = clips.select([1])
    short = Clips.of(alone.audio[..., : int(alone.lengths)], 8000)
    torch.testing.assert_close(together[1:2, :, : int(alone.lengths)], shrunk(short).audio, atol=1e-5, rtol=0)
    quarter = shrunk(clips.with_audio(clips.audio / 4)).audio
    torch.testing.assert_close(together / 4, quarter, atol=1e-5, rtol=0)


def test_gradients_pass() -> None:
    clips = chords(8000, noise=0.02)
    leaf = clips.audio.clone().requires_grad_()
    shrunk(clips.with_audio(leaf)).audio.square().sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
    assert (leaf.grad * clips.audio).sum() > 0


@pytest.mark.parametrize("samples", [1, 2, 5, 100])
def test_short_and_silent_clips_pass(samples: int) -> None:
    assert shrunk(Clips.of(torch.full((2, 1, samples), 1.0), 8000)).audio.shape == (2, 1, samples)
    silent = Clips.of(torch.zeros(1, 2, samples), 8000, lengths=torch.tensor([samples // 2]))
    assert (shrunk(silent).audio == 0).all()


@pytest.mark.parametrize("given", [{"strength": -1.0}, {"octaves": 0}, {"moments": 11}, {"rule": "sure"}])
def test_what_cannot_be_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"expected|should be"):
        shrunk(chords(8000), **given)
