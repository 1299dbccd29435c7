"""PESQ and STOI: their best and worst, what they cannot tell, and the libraries' own values."""

import importlib.util
import warnings

import numpy as np
import pytest
import torch

from bench.api import Clips
from bench.errors import DataError
from bench.metrics.speech import pesq, speech_quality, stoi

needs_pesq = pytest.mark.skipif(importlib.util.find_spec("pesq") is None, reason="needs the package 'pesq'")
needs_stoi = pytest.mark.skipif(importlib.util.find_spec("pystoi") is None, reason="needs the package 'pystoi'")


def voices(clips: int = 2, rate: int = 8000, seconds: float = 1.4, channels: int = 1) -> Clips:
    """Syllables: harmonics of a gliding pitch through a wandering formant, four a second."""
    rng = torch.Generator().manual_seed(3)
    time = torch.arange(round(rate * seconds)) / rate
    pitch = 110 + 60 * torch.rand(clips, 1, generator=rng) + 15 * torch.sin(2 * torch.pi * 1.3 * time)
    phase = 2 * torch.pi * torch.cumsum(pitch / rate, -1)
    formant = 700 + 400 * torch.sin(2 * torch.pi * 2.1 * time + torch.arange(clips)[:, None])
    order = torch.arange(1, 20)[:, None, None]
    weight = torch.exp(-(((order * pitch - formant) / 300) ** 2)) + 0.1 / order
    audio = (weight * torch.sin(order * phase)).sum(0) * torch.sin(2 * torch.pi * 2 * time).square()
    audio = 0.7 * audio / audio.abs().amax(-1, keepdim=True)
    return Clips.of(audio[:, None].repeat(1, channels, 1), rate)


def noisy(clips: Clips, level: float) -> Clips:
    noise = torch.randn(clips.audio.shape, generator=torch.Generator().manual_seed(0))
    return clips.with_audio((clips.audio + level * noise * clips.support).clamp(-1, 1))


@needs_pesq
@pytest.mark.parametrize(("rate", "best"), [(8000, 4.549), (16000, 4.644), (22050, 4.644)])
def test_a_clean_recording_has_the_best_quality_there_is(rate: int, best: float) -> None:
    clips = voices(1, rate)
    assert pesq(clips, clips).tolist() == pytest.approx([best], abs=1e-3)


@needs_pesq
@needs_stoi
@pytest.mark.parametrize("channels", [1, 2])
def test_more_noise_is_worse(channels: int) -> None:
    clips = voices(channels=channels)
    for measure in (pesq, stoi):
        scores = torch.stack([measure(clips, noisy(clips, level)) for level in (0.0, 0.001, 0.005, 0.02)])
        assert scores.dtype == torch.float64
        assert (scores[1:] < scores[:-1]).all(), (measure.__name__, scores)


@needs_pesq
@needs_stoi
def test_the_libraries_say_the_same() -> None:
    from pesq import pesq as by_pesq
    from pystoi import stoi as by_stoi

    clips = voices(1)
    loud = noisy(clips, 0.05)
    x, y = (item.audio[0, 0].double().numpy() for item in (clips, loud))
    assert pesq(clips, loud).item() == pytest.approx(by_pesq(8000, x, y, "nb"), abs=1e-9)
    assert stoi(clips, loud).item() == pytest.approx(by_stoi(x, y, 8000), abs=1e-9)


@needs_pesq
@needs_stoi
def test_short_recordings_are_repeated_and_padding_is_left_out() -> None:
    whole = voices(2, seconds=1.4)
    lengths = torch.tensor([3300, 11200])
    clips = Clips.of(whole.audio * (torch.arange(11200) < lengths[:, None])[:, None], 8000, lengths=lengths)
    loud = noisy(clips, 0.05)
    heard = Clips.of(clips.audio[:1, :, :3300].tile(4), 8000), Clips.of(loud.audio[:1, :, :3300].tile(4), 8000)
    for measure in (pesq, stoi):
        assert measure(clips, loud)[0].item() == pytest.approx(measure(*heard)[0].item(), abs=1e-6)
        assert measure(clips, loud)[0].item() < measure(clips, clips)[0].item()


def test_what_cannot_be_told_is_nan_and_no_warning() -> None:
    lengths = torch.tensor([8000, 1, 700, 8000, 8000])
    audio = voices(5, seconds=1.0).audio * (torch.arange(8000) < lengths[:, None])[:, None]
    audio[0] = 0
    audio[3, :, 1:] = 0  # one click
    clips = Clips.of(audio, 8000, lengths=lengths)
    mute = clips.with_audio(clips.audio * torch.tensor([1.0, 1, 1, 1, 0])[:, None, None])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = speech_quality(clips, mute)
    assert set(found) == {"pesq", "stoi"}
    assert found["pesq"].isnan().all()
    assert found["stoi"].isnan().all()


@needs_stoi
def test_a_limit_measures_clips_evenly_spread() -> None:
    clips = voices(9, seconds=0.5)
    assert (~stoi(clips, clips, limit=3).isnan()).nonzero()[:, 0].tolist() == [0, 4, 8]
    assert not stoi(clips, clips, limit=50).isnan().any()


def test_without_the_packages_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    clips = voices(2)
    assert all(torch.isnan(values).all() and len(values) == 2 for values in speech_quality(clips, clips).values())


def test_sets_that_do_not_pair_are_refused() -> None:
    clips = voices(2)
    with pytest.raises(DataError, match="do not match"):
        pesq(clips, clips.select([1, 0]))
    shorter = Clips.of(clips.audio, 8000, lengths=clips.lengths - 1)
    with pytest.raises(DataError, match="lengths differ"):
        stoi(clips, shorter)


def test_the_sets_are_left_alone() -> None:
    clips = voices(1)
    before = clips.audio.clone()
    speech_quality(clips, noisy(clips, 0.1))
    assert np.array_equal(before.numpy(), clips.audio.numpy())
