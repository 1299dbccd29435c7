"""Vocal tract length perturbation: frequencies move by the factor that was drawn, times and levels stay."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bench import plugins
from bench.api import Clips
from bench.errors import UsageError


def augmented(clips: Clips, **given: Any) -> Tensor:
    batch: Clips = plugins.build("adaptations", "vtlp", given).augment(clips, torch.Generator().manual_seed(0))
    return batch.check("vtlp").audio


def tones(rate: int, hz: float, clips: int) -> Clips:
    time = torch.arange(rate) / rate
    return Clips.of(0.3 * torch.sin(2 * torch.pi * hz * time).repeat(clips, 1, 1), rate)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_every_clip_draws_a_factor_within_the_strength(rate: int) -> None:
    peaks = torch.fft.rfft(augmented(tones(rate, 1000, 40), strength=0.1)[:, 0]).abs().argmax(-1)  # Hz: one second
    assert 897 <= int(peaks.min()) < 930
    assert 1070 < int(peaks.max()) <= 1103
    wider = torch.fft.rfft(augmented(tones(rate, 1000, 40), strength=0.2)[:, 0]).abs().argmax(-1)
    assert int(wider.max()) > 1140
    assert int(wider.min()) < 860


def test_partials_keep_their_ratio_and_the_level_stays() -> None:
    clips = tones(16_000, 500, 20)
    chord = clips.with_audio(clips.audio / 2 + tones(16_000, 2000, 20).audio / 2)
    changed = augmented(chord, strength=0.2)
    spectrum = torch.fft.rfft(changed[:, 0]).abs()
    low, high = spectrum[:, :1000].argmax(-1), 1000 + spectrum[:, 1000:].argmax(-1)
    assert ((high / low - 4).abs() < 0.05).all()
    level = 20 * (changed.norm(dim=(1, 2)) / chord.audio.norm(dim=(1, 2))).log10()
    assert level.abs().max() < 3


def test_a_burst_stays_in_its_place_in_time() -> None:
    clips = tones(16_000, 1000, 10)
    time = torch.arange(16_000)
    burst = clips.with_audio(clips.audio * torch.exp(-(((time - 9000) / 800) ** 2)))
    power = augmented(burst, strength=0.2)[:, 0].square()
    middle = (power * time).sum(-1) / power.sum(-1)
    assert (middle - 9000).abs().max() < 160  # 10 ms


def test_strength_zero_changes_nothing() -> None:
    noise = 0.2 * torch.randn(2, 2, 8000, generator=torch.Generator().manual_seed(1)).clamp(-3, 3)
    same = augmented(Clips.of(noise, 16_000), strength=0.0)
    torch.testing.assert_close(same, noise, atol=1e-3, rtol=0)


def test_what_cannot_be_is_refused() -> None:
    for strength in (-0.1, 0.6):
        with pytest.raises(UsageError, match=r"expected 0\.\.0\.5"):
            plugins.build("adaptations", "vtlp", {"strength": strength})
