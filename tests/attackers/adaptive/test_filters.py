"""Adaptations that stand before a trained classifier too: what each removes, and what it keeps."""

from typing import Any

import pytest
import torch

from bench import plugins
from bench.api import Clips
from bench.errors import BenchError, DataError

NAMES = (
    "trim",
    "quantise",
    "low_pass",
    "spectral_gate",
    "wiener",
    "spectral_subtraction",
    "masking_filter",
    "median_filter",
    "nmf",
)
CASES = [*((name, {}) for name in NAMES), ("quantise", {"law": "mu"})]


def build(name: str, **given: Any) -> Any:
    return plugins.build("adaptations", name, given)


def adapted(name: str, clips: Clips, **given: Any) -> Clips:
    transformed: Clips = build(name, **given).transform(clips, torch.Generator())
    return transformed


def tone(hz: float, rate: int = 8000, seconds: float = 1.0, level: float = 0.5) -> torch.Tensor:
    return level * torch.sin(2 * torch.pi * hz * torch.arange(round(rate * seconds)) / rate)


def bursts(rate: int, channels: int, pause: float = 0.0) -> Clips:
    """Three clips of harmonic bursts, four a second, of different lengths; noise of `pause` everywhere."""
    samples = rate
    time = torch.arange(samples) / rate
    on = ((time * 4) % 1 < 0.6).float() * torch.sin(torch.pi * ((time * 4) % 1) / 0.6).clamp(min=0)
    voice = sum(tone(150.0 * k, rate, level=0.25 / k) for k in range(1, 8)) * on
    rng = torch.Generator().manual_seed(0)
    lengths = torch.tensor([samples, samples // 2 + 7, samples // 3])
    audio = voice + pause * torch.randn(3, channels, samples, generator=rng)
    return Clips.of(audio * (torch.arange(samples) < lengths[:, None])[:, None], rate, lengths=lengths)


def snr(clean: torch.Tensor, other: torch.Tensor) -> float:
    return float(10 * torch.log10(clean.square().sum() / (clean - other).square().sum()))


def db(after: torch.Tensor, before: torch.Tensor) -> float:
    inside = slice(1000, -1000)
    return float(20 * torch.log10(after[..., inside].norm().clamp_min(1e-9) / before[..., inside].norm()))


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("name", "given"), CASES)
def test_every_clip_stays_in_place(name: str, given: dict[str, Any], channels: int, rate: int) -> None:
    clips = bursts(rate, channels, pause=0.01)
    changed = adapted(name, clips, **given).check(name)
    assert build(name).preprocess
    assert changed.ids == clips.ids
    assert changed.audio.shape == clips.audio.shape
    assert torch.equal(changed.lengths, clips.lengths)
    assert not torch.equal(changed.audio, clips.audio)
    assert snr(clips.audio, changed.audio) > 8
    alone = adapted(name, clips.select([1]), **given)
    torch.testing.assert_close(changed.audio[1:2], alone.audio, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "given"), CASES)
@pytest.mark.parametrize("samples", [1, 5, 100])
def test_short_and_silent_clips_pass(name: str, given: dict[str, Any], samples: int) -> None:
    short = Clips.of(torch.full((2, 1, samples), 0.5), 8000)
    assert adapted(name, short, **given).check(name).audio.shape == short.audio.shape
    silent = Clips.of(torch.zeros(1, 2, samples), 8000, lengths=torch.tensor([samples // 2]))
    assert (adapted(name, silent, **given).audio == 0).all()


@pytest.mark.parametrize(("name", "given"), CASES)
def test_gradients_pass(name: str, given: dict[str, Any]) -> None:
    clips = bursts(8000, 1, pause=0.01)
    leaf = clips.audio.clone().requires_grad_()
    changed = adapted(name, clips.with_audio(leaf), **given)
    changed.audio.square().sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
    assert (leaf.grad * clips.audio).sum() > 0
    torch.testing.assert_close(changed.audio.detach(), adapted(name, clips, **given).audio, atol=1e-6, rtol=0)


def test_trim_silences_pauses_and_leaves_speech_to_the_bit() -> None:
    clean = bursts(8000, 1)
    noise = 0.004 * torch.randn(clean.audio.shape, generator=torch.Generator().manual_seed(1)) * clean.support
    trimmed = adapted("trim", clean.with_audio(clean.audio + noise))
    pause = (clean.audio == 0).view(3, -1, 200).all(-1)[..., None].expand(-1, -1, 200).reshape(3, 1, -1)
    assert pause.float().mean() > 0.2
    assert (trimmed.audio[pause] == 0).all()
    kept = trimmed.audio != 0
    assert torch.equal(trimmed.audio[kept], (clean.audio + noise)[kept])
    loud = clean.audio.abs() > 0.15
    assert kept[loud].all()


@pytest.mark.parametrize("gain", [0.01, 1.5])
def test_trim_depends_on_no_gain(gain: float) -> None:
    clips = bursts(8000, 2, pause=0.004)
    kept, again = (adapted("trim", c).audio != 0 for c in (clips, clips.with_audio(clips.audio * gain)))
    assert torch.equal(kept, again)


@pytest.mark.parametrize("bits", [2, 8, 12])
def test_linear_quantising_errs_by_half_a_step_at_most(bits: int) -> None:
    sound = torch.linspace(-1, 1, 5001)[None, None]
    rounded = adapted("quantise", Clips.of(sound, 8000), bits=bits).audio
    step = 1 / (2 ** (bits - 1) - 1)
    assert (rounded - sound).abs().max() <= step / 2 + 1e-6
    assert len(rounded.unique()) == 2**bits - 1
    assert torch.equal(rounded[..., 2500], torch.zeros(1, 1))


def test_mu_law_errs_in_proportion_to_the_level() -> None:
    loud, soft = (Clips.of(tone(440, level=level)[None, None], 8000) for level in (0.8, 0.02))
    by_law = {law: [snr(c.audio, adapted("quantise", c, law=law).audio) for c in (loud, soft)] for law in ("linear", "mu")}  # fmt: skip  # noqa: E501
    assert by_law["mu"][0] - by_law["mu"][1] < 8
    assert by_law["linear"][0] - by_law["linear"][1] > 25
    assert by_law["mu"][1] > by_law["linear"][1] + 10


@pytest.mark.parametrize("channels", [1, 2])
def test_low_pass_keeps_1_khz_and_kills_3_khz(channels: int) -> None:
    low, high = (tone(hz).expand(1, channels, -1) for hz in (1000, 3000))
    assert abs(db(adapted("low_pass", Clips.of(low, 8000)).audio, low)) < 0.5
    assert db(adapted("low_pass", Clips.of(high, 8000)).audio, high) < -60
    assert abs(db(adapted("low_pass", Clips.of(high, 8000), hz=3500.0).audio, high)) < 0.5
    both = adapted("low_pass", Clips.of((low + high) * 0.9, 8000)).audio
    assert snr((low * 0.9)[..., 1000:-1000], both[..., 1000:-1000]) > 50  # in phase too


def test_low_pass_at_half_amplitude_at_its_frequency() -> None:
    edge = tone(4000, 16_000)[None, None]
    edge = edge + torch.cos(2 * torch.pi * 4000 * torch.arange(16_000) / 16_000) * 0.4
    assert db(adapted("low_pass", Clips.of(edge, 16_000)).audio, edge) == pytest.approx(-6.02, abs=0.1)


@pytest.mark.parametrize("name", ["spectral_gate", "wiener", "spectral_subtraction"])
def test_denoisers_take_steady_noise_and_leave_bursts(name: str) -> None:
    clean, loud = bursts(16_000, 2), bursts(16_000, 2, pause=0.03)
    denoised = adapted(name, loud)
    assert snr(clean.audio, denoised.audio) > snr(clean.audio, loud.audio) + 3
    pause = (clean.audio == 0).all(1, keepdim=True).expand_as(clean.audio) & clean.support
    assert denoised.audio[pause].square().mean() < 0.2 * loud.audio[pause].square().mean()
    almost = bursts(16_000, 2, pause=0.0005)
    assert snr(almost.audio, adapted(name, almost).audio) > 25


@pytest.mark.parametrize("name", ["spectral_gate", "wiener", "spectral_subtraction", "nmf"])
def test_denoisers_know_no_gain(name: str) -> None:
    clips = bursts(8000, 1, pause=0.02)
    one, half = (adapted(name, c).audio for c in (clips, clips.with_audio(clips.audio / 4)))
    torch.testing.assert_close(one / 4, half, atol=2e-5, rtol=0)


def test_the_masking_filter_takes_what_cannot_be_heard_and_leaves_what_can() -> None:
    loud, hidden, heard = tone(1000, 16_000), tone(1400, 16_000, level=1.6e-3), tone(4000, 16_000, level=0.5e-1)
    clips = Clips.of(torch.stack([loud + hidden, loud + heard])[:, None], 16_000)
    filtered = adapted("masking_filter", clips).audio[:, 0]

    def amplitude(sound: torch.Tensor, hz: float) -> float:
        inside = slice(2000, -2000)  # 12,000 samples: whole periods of every tone
        time = torch.arange(16_000)[inside] / 16_000
        return 2 * float((sound[inside] * torch.exp(-2j * torch.pi * hz * time)).mean().abs())

    assert amplitude(filtered[0], 1000) == pytest.approx(0.5, rel=0.02)
    assert amplitude(filtered[0], 1400) < 0.1 * 1.6e-3
    assert amplitude(filtered[1], 4000) == pytest.approx(0.05, rel=0.05)


def test_the_median_removes_single_peaks_alone() -> None:
    slow = tone(50, level=0.3)[None, None]
    clicked = slow.clone()
    clicked[..., 1000::500] = 0.9
    assert float((adapted("median_filter", Clips.of(clicked, 8000)).audio - slow).abs().max()) < 0.03


def test_a_few_spectra_keep_repeated_notes_and_lose_noise() -> None:
    notes = torch.cat([tone(hz, 16_000, 0.25) for hz in (400, 600, 900, 600, 400, 900, 600, 400)])[None, None]
    noise = 0.1 * torch.randn(notes.shape, generator=torch.Generator().manual_seed(0))
    kept = adapted("nmf", Clips.of(notes + noise, 16_000), components=6).audio
    assert snr(notes, kept) > snr(notes, notes + noise) + 1.5


@pytest.mark.parametrize(("rate", "kbps"), [(8000, 64), (11_025, 64), (16_000, 128), (44_100, 128)])
def test_mp3_takes_the_highest_rate_up_to_128(rate: int, kbps: int) -> None:
    clips = bursts(rate, 1)
    assert torch.equal(adapted("mp3", clips).audio, adapted("mp3", clips, kbps=kbps).audio)
    assert build("mp3").preprocess
    assert build("resample").preprocess


def test_what_cannot_be_is_refused() -> None:
    clips = bursts(8000, 1)
    with pytest.raises(DataError, match=r"expected less than 4000: try 2000"):
        adapted("low_pass", clips, hz=4000.0)
    for name, given in (
        ("trim", {"threshold": 2.0}), ("quantise", {"bits": 1}), ("quantise", {"law": "a"}), ("low_pass", {"hz": -1.0}),
        ("spectral_gate", {"quantile": 1.5}), ("wiener", {"memory": 1.0}),
        ("spectral_subtraction", {"reduction": -1.0}), ("median_filter", {"width": 4}),
        ("nmf", {"components": 0}), ("masking_filter", {"reduction": -1.0}),
    ):  # fmt: skip
        with pytest.raises(BenchError, match=r"expected|should be"):
            build(name, **given)
