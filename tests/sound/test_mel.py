"""Front ends: the bands are where the sound is, and a cepstrum without its mean does not hear a filter."""

import pytest
import torch

from bench.sound.filters import equalise
from bench.sound.mel import LogMel, Mfcc


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_a_higher_tone_is_in_a_higher_band(rate: int) -> None:
    front = LogMel(rate, 40, 32.0)
    time = torch.arange(rate) / rate
    tones = torch.stack([torch.sin(2 * torch.pi * hz * time) for hz in (300.0, 1000.0, 3000.0)])[:, None]
    seen = front(tones)
    assert seen.shape[:2] == (3, 40)
    loudest = seen.mean(-1).argmax(1).tolist()
    assert loudest == sorted(set(loudest))


def test_twice_the_amplitude_is_the_logarithm_of_four_more() -> None:
    audio = torch.randn(2, 1, 8000, generator=torch.Generator().manual_seed(0))
    apart = LogMel(8000, 40, 32.0)(2 * audio) - LogMel(8000, 40, 32.0)(audio)
    assert torch.allclose(apart, torch.tensor(4.0).log(), atol=1e-3)


def test_a_front_end_has_nothing_to_learn_and_can_be_descended() -> None:
    for front in (LogMel(8000, 40, 32.0), Mfcc(8000, 40, 32.0, 20, centred=True)):
        assert not list(front.parameters())
        audio = torch.randn(1, 2, 4000, generator=torch.Generator().manual_seed(0)).requires_grad_()
        front(audio).square().sum().backward()
        assert audio.grad is not None
        assert audio.grad.isfinite().all()
        assert float(audio.grad.abs().max()) > 0


def test_cepstral_mean_normalisation_undoes_a_gentle_equaliser() -> None:
    rng = torch.Generator().manual_seed(0)
    audio = torch.randn(1, 1, 8000, generator=rng) * torch.linspace(0.1, 1, 8000)
    gains = torch.linspace(-6, 6, 12)[None]
    changed = equalise(audio, 8000, gains)

    def apart(centred: bool) -> float:
        front = Mfcc(8000, 40, 32.0, 20, centred=centred)
        return float((front(changed) - front(audio)).square().mean())

    assert apart(True) < 0.02 * apart(False)
