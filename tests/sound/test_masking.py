"""Golden values of the threshold in quiet, of levels, and of what a tone and a noise mask."""

import pytest
import torch

from bench.sound import masking
from bench.sound.masking import MaskingModel, amplitude_to_spl, masking_threshold, spectrogram, threshold_in_quiet

RATE = 16_000


def sine(hz: float, amplitude: float = 1.0, seconds: float = 1.0, rate: int = RATE) -> torch.Tensor:
    time = torch.arange(int(seconds * rate), dtype=torch.float64) / rate
    return (amplitude * torch.sin(2 * torch.pi * hz * time)).to(torch.float32)


def noise(rng: torch.Generator, *shape: int, deviation: float = 0.05) -> torch.Tensor:
    return deviation * torch.randn(*shape, generator=rng)


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@pytest.mark.parametrize(
    ("hz", "level"), [(1_000, 3.37), (3_300, -4.98), (8_000, 4.79), (12_000, 21.2), (16_000, 65.9), (100, 23.0)]
)
def test_threshold_in_quiet_has_terhardts_values(hz: float, level: float) -> None:
    assert threshold_in_quiet(torch.tensor(float(hz))).item() == pytest.approx(level, abs=0.06)


def test_threshold_in_quiet_is_finite_for_any_frequency() -> None:
    edges = threshold_in_quiet(torch.tensor([0.0, 20.0, 20_000.0, 96_000.0]))
    assert edges.isfinite().all()
    assert edges[0] == edges[1]
    assert edges[2] == edges[3] > 150


def test_levels_and_amplitudes_are_inverse() -> None:
    assert amplitude_to_spl(1.0).item() == pytest.approx(96.0)
    assert amplitude_to_spl(0.5, full_scale_db=90.0).item() == pytest.approx(90.0 - 6.0206, abs=1e-4)
    assert amplitude_to_spl(0.0).item() == float("-inf")
    amplitudes = torch.logspace(-5, 0, 11)
    torch.testing.assert_close(masking.spl_to_amplitude(amplitude_to_spl(amplitudes)), amplitudes)
    quietest = masking.spl_to_amplitude(threshold_in_quiet(torch.tensor(1_000.0)))
    assert quietest.item() == pytest.approx(2.3e-5, rel=0.02)  # under one step of 16 bits


def test_bark_scale_has_zwickers_values() -> None:
    bark = masking.hz_to_bark(torch.tensor([100.0, 510.0, 1_000.0, 4_400.0, 15_500.0]))
    torch.testing.assert_close(bark, torch.tensor([1.0, 5.0, 8.5, 18.0, 24.0]), atol=0.25, rtol=0)


def test_spreading_falls_by_10_db_a_bark_above_and_25_below() -> None:
    levels = 10 * torch.log10(masking.spreading(torch.tensor([-9.0, -8.0, 0.0, 8.0, 9.0], dtype=torch.float64)))
    assert levels[2].item() == pytest.approx(0.0, abs=0.01)
    assert (levels[1] - levels[0]).item() == pytest.approx(25.0, abs=0.2)
    assert (levels[3] - levels[4]).item() == pytest.approx(10.0, abs=0.2)


@pytest.mark.parametrize(("rate", "size"), [(8_000, 256), (16_000, 512), (22_050, 512), (44_100, 1024), (48_000, 1024)])
def test_frame_size_is_a_power_of_two_within_32_ms(rate: int, size: int) -> None:
    assert masking.frame_size(rate) == size


@pytest.mark.parametrize("amplitude", [1.0, 0.1, 1e-3])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_a_sine_reads_its_level_at_its_bin(rate: int, amplitude: float) -> None:
    size = masking.frame_size(rate)
    at = size // 8
    levels = spectrogram(sine(at * rate / size, amplitude, rate=rate), rate)
    inside = levels[4:-4, at]
    torch.testing.assert_close(inside, amplitude_to_spl(amplitude).expand_as(inside), atol=0.01, rtol=0)


def test_all_bins_of_a_sine_add_up_to_its_level_wherever_it_lies() -> None:
    model = MaskingModel.create(RATE, torch.zeros(1))
    for hz in (1_000.0, 1_015.6, 2_007.0):  # on a bin, half way, anywhere
        power = model.power(model.frames(sine(hz, 0.1)))[8:-8]
        together = model.level(model.band(power))[:, round(hz / RATE * 512)]
        torch.testing.assert_close(together, amplitude_to_spl(0.1).expand_as(together), atol=0.15, rtol=0)


def test_spectrogram_and_threshold_have_the_same_frames(rng: torch.Generator) -> None:
    audio = noise(rng, 3, 2, 5_000)
    levels, threshold = spectrogram(audio, RATE), masking_threshold(audio, RATE)
    assert levels.shape == threshold.shape == (3, 2, 1 + 5_000 // 256, 257)
    assert masking_threshold(audio, RATE, size=256, hop=64).shape == (3, 2, 1 + 5_000 // 64, 129)
    assert spectrogram(audio[0, 0, :10], RATE).shape == (1, 257)  # shorter than a window


def test_frames_are_centred_on_multiples_of_the_hop() -> None:
    click = torch.zeros(4_096)
    click[1_024] = 1.0
    assert spectrogram(click, RATE)[:, 100].argmax().item() == 1_024 // 256


def test_silence_leaves_the_threshold_in_quiet() -> None:
    model = MaskingModel.create(RATE, torch.zeros(1))
    threshold = masking_threshold(torch.zeros(1, 4_000), RATE)
    shared_out = 10 * torch.log10(model.bins_per_bark.clamp(min=1.5) / 1.5)
    torch.testing.assert_close(threshold[0, 3] + shared_out, threshold_in_quiet(model.hz), atol=0.01, rtol=0)


@pytest.mark.parametrize("at", [16, 32, 64, 150])
def test_a_tone_masks_14_5_db_and_its_bark_under_itself(at: int) -> None:
    model = MaskingModel.create(RATE, torch.zeros(1, dtype=torch.float64))
    audio = sine(at * RATE / 512, 0.5).to(torch.float64)
    of_band = model.threshold(model.power(model.frames(audio)))[8, at] * model.bins_per_bark[at].clamp(min=1.5) / 1.5
    expected = amplitude_to_spl(0.5) - 14.5 - model.bark[at]
    assert model.level(of_band).item() == pytest.approx(expected.item(), abs=0.5)


def test_even_noise_masks_5_5_db_under_itself(rng: torch.Generator) -> None:
    audio = noise(rng, 20, RATE)
    powers = 10 ** (spectrogram(audio, RATE) / 10), 10 ** (masking_threshold(audio, RATE) / 10)
    gap = 10 * torch.log10(powers[0].mean((0, 1)) / powers[1].mean((0, 1)))
    assert gap[20:200].mean().item() == pytest.approx(5.5, abs=0.5)


def test_a_tone_masks_more_above_than_below_itself() -> None:
    model = MaskingModel.create(RATE, torch.zeros(1))
    threshold = masking_threshold(sine(1_000, 0.5), RATE)[20] + 10 * torch.log10(model.bins_per_bark.clamp(min=1.5))
    bark = model.bark - model.bark[32]
    above = threshold[(bark - 2).abs().argmin()]
    below = threshold[(bark + 2).abs().argmin()]
    assert above - below > 15


def test_a_noise_hides_more_than_a_tone_of_the_same_power(rng: torch.Generator) -> None:
    tone = sine(1_000, 0.1)
    spectrum = torch.fft.rfft(noise(rng, RATE))
    hz = torch.fft.rfftfreq(RATE, 1 / RATE)
    spectrum[(hz < 920) | (hz > 1_080)] = 0
    band = torch.fft.irfft(spectrum)
    band *= tone.square().mean().sqrt() / band.square().mean().sqrt()
    near = slice(30, 35)
    hidden = masking_threshold(band, RATE)[4:-4, near].mean() - masking_threshold(tone, RATE)[4:-4, near].mean()
    assert hidden > 5


def test_the_threshold_follows_the_gain_until_quiet_takes_over(rng: torch.Generator) -> None:
    audio = noise(rng, RATE, deviation=0.1)
    loud, soft = masking_threshold(audio, RATE)[5:-5, 30:200], masking_threshold(audio / 10, RATE)[5:-5, 30:200]
    torch.testing.assert_close(loud - soft, torch.full_like(loud, 20.0), atol=0.1, rtol=0)
    silent = masking_threshold(torch.zeros(RATE), RATE)
    assert (masking_threshold(audio * 1e-7, RATE) - silent).abs().max() < 0.1


def test_harmonics_are_found_tonal_and_noise_mostly_is_not(rng: torch.Generator) -> None:
    model = MaskingModel.create(RATE, torch.zeros(1))
    voice = torch.stack([sine(250 * k, 0.1) for k in range(1, 13)]).sum(0)
    found = model.tones(model.power(model.frames(voice)))[8:-8].to(torch.float32).mean(0)
    assert (found[8:97:8] > 0.99).all()
    power = model.power(model.frames(noise(rng, RATE)))
    assert (power * model.tones(power)).sum() < 0.5 * power.sum()


def test_clips_do_not_touch_each_other_and_blocks_change_nothing(
    rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = noise(rng, 5, 9_000)
    whole = masking_threshold(audio, RATE)
    torch.testing.assert_close(masking_threshold(audio[2], RATE), whole[2])
    for numbers in (512 * 7, 512 * 80):  # a piece of a clip, a few clips
        monkeypatch.setattr(masking, "_BLOCK", numbers)
        torch.testing.assert_close(masking_threshold(audio, RATE), whole)


def test_levels_can_be_differentiated() -> None:
    audio = sine(440, 0.1).requires_grad_()
    spectrogram(audio, RATE).sum().backward()
    assert audio.grad is not None
    assert audio.grad.isfinite().all()
