"""Resampling: sines stay in place at every pair of rates, in bounded time and memory, and gradients pass."""

import time

import pytest
import torch

from bench.errors import DataError
from bench.sound.resampling import _lengths, resample


def tone(rate: int, samples: int, hz: float = 440.0) -> torch.Tensor:
    return 0.5 * torch.sin(2 * torch.pi * hz * torch.arange(samples, dtype=torch.float64) / rate)


PAIRS = [
    (8_000, 16_000), (16_000, 8_000), (44_100, 16_000), (44_100, 48_000), (48_000, 44_100), (11_025, 32_000),
    (44_101, 32_000), (44_144, 16_000), (44_056, 32_000), (47_952, 48_000), (48_048, 44_100), (22_051, 22_050),
    (96_001, 16_000), (192_000, 44_101), (16_000, 44_101), (191_999, 192_000),
]  # fmt: skip


@pytest.mark.parametrize(("rate_from", "rate_to"), PAIRS)
def test_a_sine_stays_in_place(rate_from: int, rate_to: int) -> None:
    samples = rate_from // 2 + 7
    there = resample(tone(rate_from, samples).float().expand(2, 3, -1), rate_from, rate_to)
    assert there.dtype == torch.float32
    assert there.shape == (2, 3, round(samples * rate_to / rate_from))
    inside = slice(rate_to // 20, -rate_to // 20)  # the filter rings where the tone begins and ends
    expected = tone(rate_to, there.shape[-1]).float().expand(2, 3, -1)
    torch.testing.assert_close(there[..., inside], expected[..., inside], atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("rate_from", "rate_to"), [(44_100, 32_000), (44_101, 32_000), (44_101, 44_100), (7_919, 48_000)]
)
def test_every_pair_costs_about_the_same(rate_from: int, rate_to: int) -> None:
    """A filter of one phase a sample of the lower rate took 12 GB and minutes for half a second at 44,101 Hz."""
    audio = tone(rate_from, 4 * rate_from).float()
    resample(audio, 3, 2)  # the library is loaded
    started = time.process_time()
    resample(audio, rate_from, rate_to)
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize(("rate_from", "rate_to"), [*PAIRS, (384_001, 16_000), (16_000, 384_001), (262_139, 262_144)])
@pytest.mark.parametrize("length", [1, 1_000, 1_000_000])
def test_memory_is_that_of_a_transform_little_longer_than_the_signal(rate_from: int, rate_to: int, length: int) -> None:
    size, there = _lengths(length, max(1, round(length * rate_to / rate_from)), rate_from, rate_to)
    assert size <= length + 2**18 + 256 * (1 + rate_from // rate_to)
    displaced = abs(there * rate_from - size * rate_to) / (size * rate_to) * length  # samples, at the end
    assert displaced == 0 or (rate_from > 2**18 and displaced < 0.01)


@pytest.mark.parametrize(
    ("rate_from", "rate_to"), [(384_001, 16_000), (2_147_483_647, 16_000), (16_000, 16_001), (1, 8_000)]
)
def test_rates_that_nobody_uses_are_bounded_too(rate_from: int, rate_to: int) -> None:
    samples = min(rate_from, 50_000)
    assert resample(torch.zeros(samples), rate_from, rate_to).shape == (round(samples * rate_to / rate_from),)


def test_what_the_lower_rate_cannot_hold_is_removed() -> None:
    high = tone(16_000, 16_000, 6_000).float()
    assert resample(high, 16_000, 8_000)[200:-200].abs().max() < 1e-4


def test_there_and_back_keeps_the_band_that_both_rates_have() -> None:
    audio = tone(32_000, 20_000, 3_000) + tone(32_000, 20_000, 7_000)
    back = resample(resample(audio, 32_000, 44_101), 44_101, 32_000)
    assert (back - audio)[1_000:-1_000].abs().max() < 1e-3


def test_gradients_are_those_of_a_linear_map() -> None:
    audio = tone(44_101, 300).requires_grad_()
    there = resample(audio, 44_101, 32_000)
    direction = torch.randn(there.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (there @ direction).backward()
    assert audio.grad is not None
    torch.testing.assert_close(audio.grad @ audio, there @ direction)


def test_the_length_may_be_asked_for() -> None:
    assert resample(torch.zeros(2, 101), 44_100, 32_000, 74).shape == (2, 74)
    assert resample(torch.zeros(101), 8_000, 8_000, 110).shape == (110,)


def test_the_same_rate_is_the_identity_and_bad_rates_are_refused() -> None:
    audio = tone(8_000, 100)
    assert resample(audio, 8_000, 8_000) is audio
    assert resample(torch.zeros(2, 0), 8_000, 16_000).shape == (2, 0)
    for rates in ((0, 8_000), (8_000, 0), (-1, 8_000)):
        with pytest.raises(DataError, match=f"from {rates[0]} to {rates[1]}"):
            resample(audio, *rates)
