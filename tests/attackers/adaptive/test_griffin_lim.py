"""A clip from its magnitudes: the magnitudes stay, the waveform does not."""

import pytest
import torch

from bench import plugins
from bench.api import Clips
from bench.errors import UsageError
from bench.sound.spectra import power, stft

RATE = 16_000


def rebuilt(clips: Clips, **given: float) -> Clips:
    made: Clips = plugins.build("adaptations", "griffin_lim", given).transform(clips, torch.Generator())
    return made.check("griffin_lim")


def chirps() -> Clips:
    time = torch.arange(RATE) / RATE
    audio = 0.4 * torch.sin(2 * torch.pi * (200 * time + 400 * time**2)).expand(2, 1, -1).clone()
    lengths = torch.tensor([RATE, RATE // 2])
    return Clips.of(audio * (torch.arange(RATE) < lengths[:, None])[:, None], RATE, lengths=lengths)


def test_magnitudes_stay_and_the_waveform_does_not() -> None:
    clips = chirps()
    made = rebuilt(clips)
    assert torch.equal(made.lengths, clips.lengths)
    assert (made.audio * ~made.support == 0).all()
    before, after = (power(stft(each.audio, RATE)).sqrt() for each in (clips, made))
    assert float((after - before).norm() / before.norm()) < 0.3
    assert float((made.audio - clips.audio).norm() / clips.audio.norm()) > 0.5
    more = power(stft(rebuilt(clips, iterations=100).audio, RATE)).sqrt()
    assert float((more - before).norm()) < float((after - before).norm()) * 1.05


@pytest.mark.parametrize("samples", [1, 5, 100])
@pytest.mark.filterwarnings("error")
def test_short_and_silent_clips_pass(samples: int) -> None:
    assert rebuilt(Clips.of(torch.full((2, 1, samples), 0.5), RATE)).audio.shape == (2, 1, samples)
    assert (rebuilt(Clips.of(torch.zeros(1, 2, samples), RATE)).audio == 0).all()


def test_a_momentum_of_one_is_refused() -> None:
    with pytest.raises(UsageError, match=r"momentum = 1\.0, expected 0 to under 1"):
        plugins.build("adaptations", "griffin_lim", {"momentum": 1.0})
