"""Playback and recording: in place, within the band, in rooms that differ, with noise below."""

import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import plugins
from bench.api import Clips
from bench.errors import UsageError
from bench.sound.rooms import DIRECT, reverberant, shoeboxes

pytest.importorskip("pyroomacoustics", reason="the extra 'rooms' is not installed")
QUIET: dict[str, Any] = {"lowest_db": 80.0, "highest_db": 80.0}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def built(**given: Any) -> Any:
    return plugins.build("adaptations", "over_the_air", given)


def recorded(clips: Clips, seed: int = 0, **given: Any) -> Tensor:
    batch: Clips = built(**given).augment(clips, rng(seed)).check("over_the_air")
    return batch.audio


def hiss(clips: int, rate: int = 16_000, channels: int = 1) -> Clips:
    noise = 0.1 * torch.randn(1, channels, rate, generator=rng(3)).clamp(-3, 3)
    lengths = torch.full((clips,), rate - rate // 8)
    return Clips.of(noise.repeat(clips, 1, 1) * (torch.arange(rate) < lengths[0]), rate, lengths=lengths)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_recordings_stay_in_place_within_a_sample(rate: int) -> None:
    clips = hiss(6, rate, channels=2)
    heard = recorded(clips, rooms=6, high_hz=float(rate))
    spectra = torch.fft.rfft(heard, 2 * rate) * torch.fft.rfft(clips.audio, 2 * rate).conj()
    lag = torch.fft.irfft(spectra).abs().mean(1).argmax(-1)
    assert torch.minimum(lag, 2 * rate - lag).max() <= 1


def test_the_direct_path_is_at_its_tap_and_reflections_come_later() -> None:
    found = shoeboxes(torch.full((5,), 0.3), torch.tensor([0.2, 0.4, 0.8, 1.5, 3.0]), 16_000, rng())
    direct = found[:, DIRECT - 1 : DIRECT + 2].abs().amax(-1)
    assert direct.min() > 0.6
    assert direct.max() < 1.4
    before = found[:, : DIRECT - 8].square().sum(-1)
    after = found[:, DIRECT + 9 :].square().sum(-1)
    assert (before < 0.1).all()
    assert after[4] > 5 * after[0]  # the farther, the more of it is reflected
    click = torch.zeros(1, 1, 300).index_fill_(2, torch.tensor([100]), 1.0)
    alone = torch.zeros(1, DIRECT + 1).index_fill_(1, torch.tensor([DIRECT]), 1.0)
    torch.testing.assert_close(reverberant(click, alone), click, atol=1e-6, rtol=0)


def test_reverberation_lasts_as_long_as_was_asked() -> None:
    short, long = (shoeboxes(torch.full((4,), t), torch.full((4,), 1.0), 16_000, rng()) for t in (0.15, 0.4))
    late = [float(h[:, DIRECT + 1600 :].square().sum() / h.square().sum()) for h in (short, long)]  # after 0.1 s
    assert late[1] > 4 * late[0]


def test_only_the_band_of_loudspeaker_and_microphone_is_left() -> None:
    clips = hiss(8)
    after = recorded(clips, low_hz=400.0, high_hz=3000.0, **QUIET)
    power = [
        torch.fft.rfft(x[:, 0]).abs().square()[:, :8000].unflatten(-1, (-1, 100)).sum(-1) for x in (clips.audio, after)
    ]
    gain = 10 * (power[1] / power[0]).log10()  # dB, in bands of 100 Hz
    passed = gain[:, 10:20].mean(-1)
    assert (gain[:, 0] < passed - 12).all()
    assert (gain[:, 75:].mean(-1) < passed - 6).all()


def test_noise_lies_as_far_below_as_was_asked() -> None:
    clips = hiss(8)
    quiet, noisy = (recorded(clips, lowest_db=db, highest_db=db) for db in (80.0, 10.0))
    difference = (noisy * (quiet * noisy).sum((1, 2), True) / noisy.square().sum((1, 2), True) - quiet).square()
    ratio = 10 * (quiet.square().sum((1, 2)) / difference.sum((1, 2))).log10()
    assert (ratio - 10.4).abs().max() < 1  # the level is set after the noise: 10 log(1 + 10) dB


def test_each_batch_meets_other_rooms_and_clips_share_them() -> None:
    clips = hiss(12)
    flat = {"low_hz": 0.0, "high_hz": 1e9, **QUIET}
    first, other = (recorded(clips, seed, rooms=2, **flat) for seed in (0, 1))
    assert (first - other).abs().amax((1, 2)).min() > 1e-3
    distance = torch.cdist(first[:, 0], first[:, 0]) / first.norm(dim=(1, 2))
    assert len(torch.unique(distance < 0.01, dim=0)) == 2


def test_the_published_set_is_recorded_once_or_each_batch() -> None:
    clips = hiss(2)
    plugin = built()
    assert plugin.transform(clips, rng()) is clips
    once = built(each_batch=False)
    assert once.augment(clips, rng()) is clips
    assert torch.equal(once.transform(clips, rng()).audio, plugin.augment(clips, rng()).audio)


@pytest.mark.parametrize("samples", [1, 5, 100])
def test_short_and_silent_clips_pass(samples: int) -> None:
    loud = Clips.of(torch.full((2, 1, samples), 0.9), 8000)
    assert recorded(loud).shape == loud.audio.shape
    silent = Clips.of(torch.zeros(1, 2, samples), 8000, lengths=torch.tensor([samples // 2]))
    assert (recorded(silent) == 0).all()


def test_gradients_pass() -> None:
    clips = hiss(2)
    leaf = clips.audio.clone().requires_grad_()
    built().augment(clips.with_audio(leaf), rng()).audio.square().sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
    assert leaf.grad.abs().max() > 0


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert built().inventory() == {"pyroomacoustics": ""}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "cloakbench[rooms]" in built().inventory()["pyroomacoustics"]


@pytest.mark.parametrize(
    "given",
    [{"rooms": 0}, {"shortest": 0.0}, {"shortest": 1.0}, {"distance": 0.0}, {"high_hz": 100.0}, {"lowest_db": 90.0}],
    ids=str,
)
def test_what_cannot_be_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        built(**given)
