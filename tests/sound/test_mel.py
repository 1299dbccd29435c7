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


@pytest.mark.parametrize("padding", [0, 8000])
def test_cepstral_mean_normalisation_undoes_a_gentle_equaliser(padding: int) -> None:
    """Padding counts for no mean: a mean over it would leave most of the equaliser, and add its own to the padding."""
    rng = torch.Generator().manual_seed(0)
    audio = torch.randn(1, 1, 8000, generator=rng) * torch.linspace(0.1, 1, 8000)
    audio = torch.nn.functional.pad(audio, (0, padding))
    gains = torch.linspace(-6, 6, 12)[None]
    changed = equalise(audio, 8000, gains)
    changed[..., 8000:] = 0

    def apart(centred: bool) -> float:
        front = Mfcc(8000, 40, 32.0, 20, centred=centred)
        return float((front(changed) - front(audio)).square().mean())

    assert apart(True) < 0.02 * apart(False)


def test_padding_has_no_features_where_the_mean_is_taken_away() -> None:
    audio = torch.randn(1, 1, 4000, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(audio, (0, 6000))
    front = Mfcc(8000, 40, 32.0, 20, centred=True)
    alone, with_padding = front(audio), front(padded)
    frames = alone.shape[-1] - 4  # the last frame and the slopes at the end see the padding
    torch.testing.assert_close(
        with_padding[:, :20, :frames].std(-1), alone[:, :20, :frames].std(-1), atol=1e-4, rtol=1e-3
    )
    assert with_padding[..., alone.shape[-1] + 4 :].abs().max() == 0
