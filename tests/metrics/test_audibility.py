"""Audibility against what can be worked out by hand, and what must not matter: padding, order, gain, channels."""

import math

import pytest
import torch

from bench.api import Clips
from bench.errors import DataError
from bench.metrics import audibility as metrics
from bench.metrics.audibility import audibility
from bench.sound.masking import MaskingModel, spl_to_amplitude, threshold_in_quiet

RATE = 16_000
NAMES = {"snr_db", "segmental_snr_db", "masked_energy", "nmr_db", "peak_noise", "correlation", "gain_db"}


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def white(rng: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=rng)


def sine(hz: float, amplitude: float, samples: int = RATE) -> torch.Tensor:
    return amplitude * torch.sin(2 * torch.pi * hz * torch.arange(samples) / RATE)


def with_noise(
    clean: torch.Tensor, noise: torch.Tensor, snr_db: float | None = None, **more: object
) -> dict[str, float]:
    """The metrics of one clip [sample] with the noise scaled to a ratio."""
    if snr_db is not None:
        noise = noise * (clean.square().sum() / noise.square().sum()).sqrt() * 10 ** (-snr_db / 20)
    sets = (Clips.of(audio.reshape(1, 1, -1), RATE) for audio in (clean, clean + noise))
    return {name: float(value) for name, value in audibility(*sets, **more).items()}  # type: ignore[arg-type]


@pytest.mark.parametrize("ratio", [40.0, 20.0, 3.3, -5.0])
def test_snr_of_scaled_noise_is_exact(rng: torch.Generator, ratio: float) -> None:
    found = with_noise(0.1 * white(rng, RATE), white(rng, RATE), ratio)
    assert found["snr_db"] == pytest.approx(ratio, abs=0.01)


def test_segmental_snr_is_the_mean_of_the_frames_in_db() -> None:
    """Half of the frames at 20 dB, half at 0 dB: the mean is 10, where the SNR is some 3."""
    clean = sine(500, 0.5)
    noise = torch.cat([clean[:8_000] * 0.1, clean[8_000:]])
    found = with_noise(clean, noise)
    assert found["segmental_snr_db"] == pytest.approx(10.0, abs=0.1)
    assert found["snr_db"] == pytest.approx(10 * math.log10(2 / 1.01), abs=0.05)


def test_segmental_snr_is_clamped_and_skips_pauses() -> None:
    clean = torch.cat([sine(500, 0.5, 8_000), torch.zeros(8_000)])
    assert with_noise(clean, torch.cat([torch.zeros(8_000), sine(900, 0.1, 8_000)]))["segmental_snr_db"] == 35.0
    assert with_noise(clean, 2 * clean)["segmental_snr_db"] == pytest.approx(-6.02, abs=0.01)
    assert with_noise(clean, 9 * clean)["segmental_snr_db"] == -10.0


def test_a_copy_of_the_signal_is_a_gain() -> None:
    clean = sine(440, 0.4)
    for gain in (2.0, 1.1, 0.5):
        found = with_noise(clean, (gain - 1) * clean)
        assert found["correlation"] == pytest.approx(math.copysign(1.0, gain - 1), abs=1e-6)
        assert found["gain_db"] == pytest.approx(20 * math.log10(gain), abs=1e-4)


def test_independent_noise_correlates_with_nothing_and_adds_no_gain(rng: torch.Generator) -> None:
    found = with_noise(sine(440, 0.4), white(rng, RATE), 20.0)
    assert abs(found["correlation"]) < 0.03
    assert abs(found["gain_db"]) < 0.05


def test_peak_noise() -> None:
    noise = torch.zeros(RATE)
    noise[[5, 900]] = torch.tensor([0.01, -0.03])
    assert with_noise(sine(440, 0.4), noise)["peak_noise"] == pytest.approx(0.03, abs=1e-6)


def test_masked_energy_tells_hidden_noise_from_heard(rng: torch.Generator) -> None:
    music, tone = 0.1 * white(rng, RATE), sine(1_000, 0.01)
    assert with_noise(music, white(rng, RATE), 25.0)["masked_energy"] < 0.001  # 20 dB under what 5.5 dB would hide
    assert with_noise(music, white(rng, RATE), -10.0)["masked_energy"] > 0.9
    assert with_noise(tone, white(rng, RATE), 10.0)["masked_energy"] > 0.8  # one tone cannot hide noise at 7 kHz
    assert with_noise(torch.zeros(RATE), 0.01 * white(rng, RATE))["masked_energy"] > 0.98
    assert with_noise(torch.zeros(RATE), sine(1_000, 1e-5))["masked_energy"] < 0.01  # -4 dB SPL: under quiet


def test_masked_energy_of_a_tone_with_n_times_the_power_of_the_threshold_is_1_minus_1_over_n() -> None:
    threshold = float(spl_to_amplitude(threshold_in_quiet(torch.tensor(2_000.0))))
    for times in (2.0, 5.0, 100.0):
        share = with_noise(torch.zeros(RATE), sine(2_000, threshold * math.sqrt(times)))["masked_energy"]
        assert share == pytest.approx(1 - 1 / times, abs=0.08)


def test_noise_under_the_threshold_in_every_bin_is_masked(rng: torch.Generator) -> None:
    """Noise shaped frame by frame to 3 dB under the threshold of its signal."""
    clean = 0.1 * white(rng, 8_192) * sine(3, 1.0, 8_192).abs()
    model = MaskingModel.create(RATE, clean)
    threshold = model.threshold(model.power(model.frames(clean))).T
    phase = torch.exp(2j * torch.pi * torch.rand(threshold.shape, generator=rng))
    spectrum = threshold.sqrt() * 0.35 * phase * (model.size / 4)  # undoes the scale of the ear's window
    noise = torch.istft(spectrum, model.size, model.hop, window=torch.hann_window(model.size), length=8_192)
    found = with_noise(clean, noise)
    assert found["masked_energy"] < 0.02
    assert found["nmr_db"] < 0
    louder = with_noise(clean, noise * 10)
    assert louder["masked_energy"] > 0.5
    assert louder["nmr_db"] == pytest.approx(found["nmr_db"] + 20, abs=0.01)


def test_full_scale_moves_the_threshold_in_quiet() -> None:
    noise = sine(2_000, 1e-4)  # 16 dB SPL at 96, -14 dB SPL at 66
    assert with_noise(torch.zeros(RATE), noise)["masked_energy"] > 0.9
    assert with_noise(torch.zeros(RATE), noise, full_scale_db=66.0)["masked_energy"] == 0.0


def test_identical_clips_have_no_noise(rng: torch.Generator) -> None:
    found = with_noise(0.1 * white(rng, RATE), torch.zeros(RATE))
    assert found["snr_db"] == math.inf
    assert found["segmental_snr_db"] == 35.0
    assert found["masked_energy"] == found["peak_noise"] == found["gain_db"] == 0.0
    assert found["nmr_db"] == -math.inf
    assert math.isnan(found["correlation"])


def test_silence_and_the_shortest_clips(rng: torch.Generator) -> None:
    silent = with_noise(torch.zeros(RATE), torch.zeros(RATE))
    assert silent["snr_db"] == math.inf
    assert silent["masked_energy"] == 0.0
    assert math.isnan(silent["gain_db"])
    assert math.isnan(silent["segmental_snr_db"])
    heard = with_noise(torch.zeros(RATE), 0.1 * white(rng, RATE))
    assert heard["snr_db"] == -math.inf
    short = with_noise(0.1 * white(rng, 10), 0.1 * white(rng, 10))
    assert short.keys() == NAMES
    assert math.isnan(short["segmental_snr_db"])  # no whole frame
    assert math.isfinite(short["snr_db"])
    assert math.isfinite(short["nmr_db"])


def a_set(rng: torch.Generator, channels: int = 2) -> tuple[Clips, Clips]:
    lengths = torch.tensor([9_000, 4_001, 12_000, 1])
    support = (torch.arange(12_000) < lengths[:, None])[:, None]
    clean = 0.1 * white(rng, 4, channels, 12_000) * support
    noise = torch.tensor([0.01, 0.05, 0.001, 0.1])[:, None, None] * white(rng, 4, channels, 12_000) * support
    return Clips.of(clean, RATE, lengths=lengths), Clips.of(clean + noise, RATE, lengths=lengths)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_set_is_its_clips_and_padding_does_not_matter(rng: torch.Generator, channels: int) -> None:
    clean, protected = a_set(rng, channels)
    whole = audibility(clean, protected)
    assert whole.keys() == NAMES
    for index, length in enumerate(clean.lengths.tolist()):
        alone, cloaked = (
            Clips.of(data.audio[index : index + 1, :, :length].contiguous(), RATE) for data in (clean, protected)
        )
        for name, value in audibility(alone, cloaked).items():
            assert whole[name].shape == (4,)
            assert whole[name].dtype == torch.float64
            torch.testing.assert_close(whole[name][index], value[0], atol=1e-5, rtol=1e-5, equal_nan=True)


def test_dirt_in_the_padding_is_not_counted(rng: torch.Generator) -> None:
    clean, protected = a_set(rng)
    dirty = protected.with_audio(torch.where(protected.support, protected.audio, torch.tensor(0.7)))
    for name, value in audibility(clean, dirty).items():
        torch.testing.assert_close(value, audibility(clean, protected)[name], equal_nan=True)


def test_both_channels_count(rng: torch.Generator) -> None:
    clean, protected = a_set(rng)
    one_sided = protected.audio.clone()
    one_sided[:, 1] = clean.audio[:, 1]
    halved = metrics.snr_db(clean, protected.with_audio(one_sided)) - metrics.snr_db(clean, protected)
    torch.testing.assert_close(halved[:3], torch.full((3,), 3.01, dtype=torch.float64), atol=0.15, rtol=0)
    swapped, cloaked = (data.with_audio(data.audio.flip(1)) for data in (clean, protected))
    for name, value in audibility(swapped, cloaked).items():
        torch.testing.assert_close(value, audibility(clean, protected)[name], equal_nan=True)


def test_metrics_one_by_one_are_those_of_the_whole(rng: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    clean, protected = a_set(rng)
    whole = audibility(clean, protected)
    monkeypatch.setattr(metrics, "_SAMPLES_PER_BLOCK", 1)  # clip by clip
    for name in NAMES:
        torch.testing.assert_close(getattr(metrics, name)(clean, protected), whole[name], equal_nan=True)


def test_sets_that_do_not_pair_are_refused(rng: torch.Generator) -> None:
    clean, protected = a_set(rng)
    with pytest.raises(DataError, match="do not match"):
        audibility(clean, protected.select([1, 0, 2, 3]))
    with pytest.raises(DataError, match=r"\(4, 2, 12000\) at 16000"):
        audibility(clean, a_set(rng, 1)[1])
    with pytest.raises(DataError, match="lengths differ"):
        audibility(clean, Clips.of(protected.audio, RATE))
    with pytest.raises(DataError, match="no clips"):
        audibility(clean.select([]), protected.select([]))
