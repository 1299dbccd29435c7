"""Sequences of equalisers."""

import pytest
import torch

from bench.sound.sequences import in_turn, with_inverses

RATE = 8000


def sine(hz: float, seconds: float = 1.0) -> torch.Tensor:
    return 0.2 * torch.sin(2 * torch.pi * hz / RATE * torch.arange(round(seconds * RATE)))[None, None]


def levels(audio: torch.Tensor, milliseconds: int) -> torch.Tensor:
    """Level in dB of each stretch of a clip."""
    return 10 * audio[0, 0].unfold(0, RATE * milliseconds // 1000, RATE * milliseconds // 1000).square().mean(1).log10()


def test_each_curve_lasts_as_long_as_asked_and_the_first_follows_the_last() -> None:
    curves = torch.tensor([[[6.0], [0.0], [-6.0]]])
    change = levels(in_turn(sine(1000), RATE, curves, 100.0, torch.zeros(1)), 20) - levels(sine(1000), 20)
    middles = change[2::5]  # the third fifth of each curve
    assert middles[:9].tolist() == pytest.approx([6.0, 0.0, -6.0] * 3, abs=0.3)


def test_a_clip_may_begin_anywhere_in_the_sequence() -> None:
    curves = torch.tensor([[[6.0], [-6.0]]]).expand(2, -1, -1)
    both = in_turn(sine(1000).expand(2, -1, -1), RATE, curves, 100.0, torch.tensor([0.0, 0.5]))
    change = [levels(each[None], 20) - levels(sine(1000), 20) for each in both]
    assert change[0][2::5][:4].tolist() == pytest.approx([6.0, -6.0, 6.0, -6.0], abs=0.3)
    assert change[1][2::5][:4].tolist() == pytest.approx([-6.0, 6.0, -6.0, 6.0], abs=0.3)


def test_curves_with_their_inverses_have_a_mean_of_zero() -> None:
    curves = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0))
    sequence = with_inverses(curves)
    assert sequence.shape == (3, 4, 5)
    assert torch.equal(sequence[:, ::2], curves)
    assert torch.equal(sequence.mean(1), torch.zeros(3, 5))


def test_zero_decibels_change_nothing() -> None:
    noise = 0.1 * torch.randn(2, 1, RATE, generator=torch.Generator().manual_seed(0))
    same = in_turn(noise, RATE, torch.zeros(2, 4, 12), 60.0, torch.tensor([0.1, 0.9]))
    assert torch.allclose(same, noise, atol=1e-5)
