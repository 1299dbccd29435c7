"""Adaptations of each batch: random by the generator alone, one draw a clip, and no more than they promise."""

from typing import Any

import pytest
import torch

from bench import plugins
from bench.api import Clips

NAMES = (
    "shift_gain", "spec_augment", "eq_augment", "add_noise", "change_speed", "mix_in", "vtlp", "time_varying_eq",
    "random_room", "background_noise", "crop_and_pad", "compress",
)  # fmt: skip
RATE = 8000


def augmented(name: str, clips: Clips, seed: int = 0, **given: Any) -> Clips:
    batch: Clips = plugins.build("adaptations", name, given).augment(clips, torch.Generator().manual_seed(seed))
    return batch


def hiss(clips: int = 8, rate: int = RATE, channels: int = 1, level: float = 0.1, length: int = 0) -> Clips:
    """White noise, which has every frequency; the same in every clip."""
    samples = rate // 2
    noise = torch.randn(1, channels, samples, generator=torch.Generator().manual_seed(7)).clamp(-3, 3) * level
    lengths = torch.full((clips,), length or samples)
    audio = noise.repeat(clips, 1, 1) * (torch.arange(samples) < lengths[:, None])[:, None]
    return Clips.of(audio, rate, lengths=lengths)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_a_batch_stays_a_batch(name: str, channels: int, rate: int) -> None:
    clips = hiss(3, rate, channels, level=0.33, length=rate // 3)  # peaks near full scale
    changed = augmented(name, clips).check(name)
    assert changed.ids == clips.ids
    assert changed.audio.shape == clips.audio.shape
    assert not torch.equal(changed.audio, clips.audio)
    assert not torch.equal(changed.audio[0], changed.audio[1])  # equal clips, draws of their own


@pytest.mark.parametrize("name", NAMES)
def test_only_the_generator_decides(name: str) -> None:
    clips = hiss()
    state = torch.get_rng_state()
    first = augmented(name, clips).audio
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert torch.equal(first, augmented(name, clips).audio)
    assert not torch.equal(first, augmented(name, clips, seed=1).audio)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("samples", [1, 5, 100])
def test_short_and_silent_clips_pass(name: str, samples: int) -> None:
    short = Clips.of(torch.full((2, 1, samples), 0.9), RATE)
    assert augmented(name, short).check(name).audio.shape == short.audio.shape
    silent = Clips.of(torch.zeros(1, 2, samples), RATE, lengths=torch.tensor([samples // 2]))
    assert (augmented(name, silent).check(name).audio == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_gradients_pass(name: str) -> None:
    clips = hiss(2)
    leaf = clips.audio.clone().requires_grad_()
    augmented(name, clips.with_audio(leaf)).audio.square().sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
    assert (leaf.grad * clips.audio).sum() > 0


def test_shift_moves_within_the_window_and_lengths_follow() -> None:
    clips = hiss(200, length=2500)
    moved = augmented("shift_gain", clips, decibels=0.0)
    by = (moved.lengths - 2500).tolist()
    assert min(by) < -700
    assert max(by) > 700
    assert max(map(abs, by)) <= 800
    for i, shift in enumerate(by):
        before = clips.audio[i, 0, max(0, -shift) : 2500]
        start = max(0, shift)
        assert torch.equal(moved.audio[i, 0, start : start + len(before)], before)
        assert (moved.audio[i, 0, :start] == 0).all()
    full = augmented("shift_gain", hiss(50), decibels=0.0)
    assert int(full.lengths.max()) == RATE // 2
    assert int(full.lengths.min()) >= RATE // 2 - 800


def test_gain_is_within_its_bounds_and_never_clips() -> None:
    clips = hiss(200)
    gain = augmented("shift_gain", clips, milliseconds=0.0).audio.norm(dim=(1, 2)) / clips.audio.norm(dim=(1, 2))
    level = 20 * gain.log10()
    assert level.abs().max() <= 6.001
    assert level.min() < -5
    assert level.max() > 5
    loud = hiss(50, level=0.3)
    louder = augmented("shift_gain", loud, milliseconds=0.0, decibels=20.0).audio
    shape = louder / louder.abs().amax(-1, keepdim=True)
    torch.testing.assert_close(shape, loud.audio / loud.audio.abs().amax(-1, keepdim=True))


def test_spec_augment_takes_out_bands_and_a_gap() -> None:
    clips = hiss(60)
    before = torch.fft.rfft(clips.audio).abs()
    bands = torch.fft.rfft(augmented("spec_augment", clips, gaps=0).audio).abs()
    gone = (bands < 0.2 * before)[:, 0].float()
    assert gone.mean() > 0.1
    assert 0.2 < gone.mean(0).max() < 0.9  # no frequency is always missing, and none is safe
    kept = bands[:, 0].gt(0.9 * before[:, 0]).float().mean(1)
    assert kept.min() > 0.3
    gap = augmented("spec_augment", clips, bands=0).audio
    silent = (gap == 0)[:, 0]
    assert silent.float().mean(1).max() <= 0.2 + 1e-3
    assert silent.float().mean() == pytest.approx(0.1, abs=0.03)
    torch.testing.assert_close(gap[:, 0][~silent], clips.audio[:, 0][~silent], atol=1e-6, rtol=0)


def test_equaliser_is_smooth_and_within_its_bounds() -> None:
    clips = hiss(40, level=0.02)  # no clip is scaled down
    click = clips.with_audio(torch.zeros_like(clips.audio).index_fill_(2, torch.tensor([2000]), 0.2))
    response = 20 * (torch.fft.rfft(augmented("eq_augment", click).audio[:, 0]).abs() / 0.2).log10()
    assert response.abs().max() < 8.3
    assert response.std() > 2
    assert (response[:, 1:] - response[:, :-1]).abs().max() < 0.6  # dB in 2 Hz
    apart = augmented("eq_augment", click, decibels=0.0).audio
    torch.testing.assert_close(apart, click.audio, atol=1e-5, rtol=0)


def test_noise_is_white_within_its_ratios_and_in_the_recording_only() -> None:
    clips = hiss(300, length=3000)
    noise = augmented("add_noise", clips).audio - clips.audio
    ratio = 20 * (clips.audio.norm(dim=(1, 2)) / noise.norm(dim=(1, 2))).log10()
    assert ratio.min() > 9.5
    assert ratio.max() < 30.5
    assert ratio.std() == pytest.approx(20 / 12**0.5, abs=0.7)
    assert (noise[..., 3000:] == 0).all()
    flat = noise[..., :3000] / noise.norm(dim=(1, 2), keepdim=True)
    assert abs(float((flat[..., 1:] * flat[..., :-1]).sum(-1).mean())) < 0.01


def test_what_cannot_be_is_refused() -> None:
    for name, given in (
        ("shift_gain", {"milliseconds": -1.0}), ("spec_augment", {"band_share": 2.0}), ("eq_augment", {"bands": 0}),
        ("add_noise", {"lowest_db": 40.0}),
    ):  # fmt: skip
        with pytest.raises(Exception, match="expected"):
            plugins.build("adaptations", name, given)


def test_speed_moves_pitch_and_length() -> None:
    time = torch.arange(RATE) / RATE
    clips = Clips.of(0.5 * torch.sin(2 * torch.pi * 400 * time).expand(1, 1, -1).clone(), RATE)
    faster = augmented("change_speed", clips, factors=(1.25,))
    assert faster.lengths.tolist() == [RATE * 4 // 5]
    assert (faster.audio[..., RATE * 4 // 5 :] == 0).all()
    peak = torch.fft.rfft(faster.audio[0, 0]).abs().argmax()
    assert int(peak) == pytest.approx(500, abs=1)
    same = augmented("change_speed", clips, factors=(1.0,))
    torch.testing.assert_close(same.audio, clips.audio, atol=1e-5, rtol=0)


def test_each_clip_has_the_pitch_and_length_of_its_own_speed() -> None:
    time = torch.arange(RATE) / RATE
    lengths = torch.full((20,), RATE // 2)
    clips = Clips.of(0.5 * torch.sin(2 * torch.pi * 400 * time).repeat(20, 1, 1), RATE, lengths=lengths)
    changed = augmented("change_speed", clips.with_audio(clips.audio * clips.support), factors=(0.8, 1.0, 1.25))
    peaks = torch.fft.rfft(changed.audio[:, 0]).abs().argmax(-1)
    assert set(changed.lengths.tolist()) == {RATE * 2 // 5, RATE // 2, RATE * 5 // 8}
    assert ((peaks * changed.lengths / (RATE // 2) - 400).abs() < 4).all()


def test_the_other_clip_lies_as_far_below_as_was_asked() -> None:
    rng = torch.Generator().manual_seed(0)
    clips = Clips.of(0.1 * torch.randn(6, 1, RATE, generator=rng), RATE)
    mixed = augmented("mix_in", clips, lowest=10.0, highest=10.0).audio
    other = mixed - clips.audio
    changed = other.abs().amax((1, 2)) > 1e-6
    assert changed.sum() >= 4  # a clip may meet itself
    ratio = 10 * torch.log10(clips.audio.square().sum((1, 2)) / other.square().sum((1, 2)))
    assert torch.allclose(ratio, torch.tensor(10.0), atol=0.1)
