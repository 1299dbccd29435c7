"""Equalisers: the gain that is asked for, clip by clip, and no delay."""

import pytest
import torch

from bench.sound.filters import equalise


def tone(hz: float, rate: int = 8000) -> torch.Tensor:
    return torch.sin(2 * torch.pi * hz * torch.arange(rate) / rate)[None, None]


def level_db(audio: torch.Tensor) -> float:
    return float(10 * torch.log10(audio[..., 2000:-2000].square().mean() * 2))


def test_equal_gains_are_one_gain_and_no_delay() -> None:
    audio = torch.randn(3, 2, 4000, generator=torch.Generator().manual_seed(0))
    louder = equalise(audio, 8000, torch.full((3, 12), 6.0))
    assert torch.allclose(louder, audio * 10 ** (6 / 20), atol=1e-4)


def test_each_clip_has_its_own_equaliser() -> None:
    gains = torch.zeros(2, 3)
    gains[0, 0], gains[0, 2], gains[1, 2] = 6.0, -6.0, 12.0
    both = torch.cat([tone(10.0), tone(10.0)]), torch.cat([tone(3990.0), tone(3990.0)])
    low, high = (equalise(audio, 8000, gains) for audio in both)
    assert [level_db(x) for x in low] == pytest.approx([6.0, 0.0], abs=0.2)
    assert [level_db(x) for x in high] == pytest.approx([-6.0, 12.0], abs=0.5)


def test_an_equaliser_can_be_differentiated_through() -> None:
    audio = tone(440.0).requires_grad_()
    gains = torch.zeros(1, 12, requires_grad=True)
    equalise(audio, 8000, gains).square().sum().backward()
    assert audio.grad is not None
    assert gains.grad is not None
    assert float(gains.grad.abs().max()) > 0
