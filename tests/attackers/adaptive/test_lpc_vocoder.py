"""The LPC vocoder: envelope, pitch and level stay, the waveform does not."""

import pytest
import torch

from bench import plugins
from bench.api import Clips
from bench.errors import UsageError
from bench.sound.mel import LogMel
from bench.sound.spectra import power, stft


def synthesised(clips: Clips, **given: float) -> Clips:
    plugin = plugins.build("adaptations", "lpc_vocoder", given)
    transformed: Clips = plugin.transform(clips, torch.Generator().manual_seed(0)).check("lpc_vocoder")
    return transformed


def vowels(rate: int, channels: int = 1, hz: float = 125.0) -> Clips:
    """Two clips of a voice with two formants, in syllables, of different lengths."""
    time = torch.arange(rate) / rate
    harmonic = hz * torch.arange(1, int(3500 / hz))[:, None]
    weight = 1 / (1 + ((harmonic - 600) / 100) ** 2) + 0.5 / (1 + ((harmonic - 1800) / 150) ** 2)
    voice = (weight * torch.sin(2 * torch.pi * harmonic * time + harmonic.square())).sum(0)
    voice = 0.1 * voice * (3 * torch.pi * time).sin().clamp_min(0)
    lengths = torch.tensor([rate, rate // 2])
    support = (torch.arange(rate) < lengths[:, None])[:, None]
    return Clips.of(voice.expand(2, channels, -1) * support, rate, lengths=lengths)


def likeness(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_the_spectrogram_stays_and_the_waveform_does_not(rate: int, channels: int) -> None:
    clips = vowels(rate, channels)
    changed = synthesised(clips)
    mel = LogMel(rate, 24, 32.0)
    assert likeness(mel(clips.audio[:1]), mel(changed.audio[:1])) > 0.8
    assert abs(likeness(clips.audio, changed.audio)) < 0.7
    assert 0.7 < float(changed.audio.norm() / clips.audio.norm()) < 1.3
    assert torch.equal(changed.lengths, clips.lengths)
    assert (changed.audio * ~changed.support == 0).all()


@pytest.mark.parametrize("hz", [100.0, 160.0, 250.0])
def test_a_voice_keeps_its_pitch(hz: float) -> None:
    changed = synthesised(vowels(8000, hz=hz)).audio[0, 0, 200:2467]  # one syllable
    correlation = torch.fft.irfft(torch.fft.rfft(changed, 8192).abs().square())
    lowest = int(8000 / 400)
    lag = int(correlation[lowest : int(8000 / 0.7 / hz)].argmax()) + lowest
    assert 8000 / lag == pytest.approx(hz, rel=0.06)


def test_noise_stays_noise() -> None:
    noise = Clips.of(0.1 * torch.randn(1, 1, 8000, generator=torch.Generator().manual_seed(1)), 8000)
    changed = synthesised(noise)
    spectrum = power(stft(changed.audio, 8000)).mean(-1)[0, 0, 4:-4]
    assert float(spectrum.max() / spectrum.mean()) < 4
    assert abs(likeness(noise.audio, changed.audio)) < 0.2


def test_a_lower_order_keeps_a_coarser_envelope_and_a_lower_mix_more_of_the_clip() -> None:
    clips = vowels(8000).select([0])
    mel = LogMel(8000, 24, 32.0)
    fine, coarse = (likeness(mel(clips.audio), mel(synthesised(clips, order=order).audio)) for order in (16, 2))
    assert fine > coarse
    kept = [likeness(clips.audio, synthesised(clips, mix=mix).audio) for mix in (0.0, 0.5, 1.0)]
    assert kept[0] > 0.999
    assert kept[0] > kept[1] > kept[2]


@pytest.mark.parametrize("samples", [1, 5, 100])
def test_short_silent_and_loud_clips_pass(samples: int) -> None:
    assert synthesised(Clips.of(torch.ones(2, 1, samples), 8000)).audio.shape == (2, 1, samples)
    silent = Clips.of(torch.zeros(1, 2, samples), 44_100, lengths=torch.tensor([samples // 2]))
    assert (synthesised(silent).audio == 0).all()


@pytest.mark.parametrize("given", [{"order": 1}, {"mix": 1.5}])
def test_what_cannot_be_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="expected"):
        synthesised(vowels(8000), **given)
