"""White noise has the SNR that it states, per clip, and is silent where the clip is."""

import pytest
import torch

from bench import plugins
from bench.api import Clips, Knowledge
from bench.errors import DataError


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips(peak: float = 0.3, channels: int = 1, samples: int = 8000) -> Clips:
    time = torch.arange(samples) / 16000
    tones = torch.stack([torch.sin(2 * torch.pi * f * time) for f in (110.0, 440.0, 1760.0)])
    audio = (peak * tones)[:, None].repeat(1, channels, 1)
    lengths = torch.tensor([samples, samples // 2, samples - 1])
    set_ = Clips.of(audio, 16000, lengths=lengths)
    return set_.with_audio(audio * set_.support)


def snr_db(clean: Clips, protected: Clips) -> torch.Tensor:
    noise = protected.audio - clean.audio
    return 10 * torch.log10(clean.audio.square().sum((1, 2)) / noise.square().sum((1, 2)))


@pytest.mark.parametrize("peak", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("wanted", [0.0, 6.0, 20.0, 40.0])
def test_snr_is_as_stated_even_where_samples_clip(peak: float, wanted: float) -> None:
    data = clips(peak)
    protected = plugins.build("defenses", "noise", {"snr_db": wanted}).protect(data, Knowledge(), rng())
    protected.check()
    assert snr_db(data, protected).numpy() == pytest.approx(wanted, abs=0.1)


def test_noise_is_white_and_gaussian() -> None:
    data = Clips.of(torch.full((1, 1, 2**16), 0.1), 16000)
    noise = (plugins.build("defenses", "noise").protect(data, Knowledge(), rng()).audio - data.audio)[0, 0]
    spectrum = torch.fft.rfft(noise).abs().square()[1:].reshape(8, -1).mean(1)
    assert (spectrum / spectrum.mean()).numpy() == pytest.approx(1.0, abs=0.1)
    assert float((noise / noise.std()).pow(4).mean()) == pytest.approx(3.0, abs=0.1)


def test_stereo_channels_have_noises_of_their_own() -> None:
    data = clips(channels=2)
    noise = plugins.build("defenses", "noise").protect(data, Knowledge(), rng()).audio - data.audio
    left, right = noise[0]
    assert abs(torch.corrcoef(torch.stack([left, right]))[0, 1]) < 0.05


def test_silence_and_padding_stay_silent() -> None:
    data = clips()
    data = data.with_audio(data.audio * torch.tensor([1.0, 1.0, 0.0])[:, None, None])
    protected = plugins.build("defenses", "noise").protect(data, Knowledge(), rng())
    assert not protected.audio[2].any()
    assert not (protected.audio * ~data.support).any()
    assert protected.audio[0].any()


def test_matched_control_copies_the_snr_of_the_reference_clip_by_clip() -> None:
    data = clips()
    scale = torch.tensor([0.1, 0.0, 0.5])[:, None, None]
    reference = data.with_audio(data.audio * (1 - scale)).select([2, 0, 1])
    protected = plugins.build("defenses", "noise").protect(data, Knowledge(reference=reference), rng())
    found = snr_db(data, protected)
    assert float(found[0]) == pytest.approx(20.0, abs=0.1)
    assert torch.equal(protected.audio[1], data.audio[1]), "no noise in the reference: none here"
    assert float(found[2]) == pytest.approx(6.02, abs=0.1)


def test_reference_of_other_clips_is_refused() -> None:
    data = clips()
    with pytest.raises(DataError, match="lacks clip '00000'"):
        plugins.build("defenses", "noise").protect(data, Knowledge(reference=data.select([1, 2])), rng())
