"""Compression and expansion: levels move by the ratio, above the threshold alone, and nothing is delayed."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bench import plugins
from bench.api import Clips
from bench.errors import UsageError

RATE = 8000
STEPS = torch.tensor([-10.0, -20.0, -30.0, -40.0, -50.0])  # dB, of tones of half a second each


def stairs(clips: int) -> Clips:
    time = torch.arange(RATE // 2) / RATE
    tone = torch.sin(2 * torch.pi * 500 * time) * 10 ** (STEPS[:, None] / 20)
    return Clips.of(tone.flatten().repeat(clips, 1, 1), RATE)


def changed(clips: Clips, **given: Any) -> Tensor:
    plugin = plugins.build("adaptations", "compress", given)
    batch: Clips = plugin.augment(clips, torch.Generator().manual_seed(0)).check("compress")
    return batch.audio


def levels(audio: Tensor) -> Tensor:
    """Level of each step's middle, relative to the first one: [clip, step]."""
    middle = audio[:, 0].unflatten(-1, (len(STEPS), -1))[..., 1000:3000]
    decibels = 20 * middle.norm(dim=-1).log10()
    relative: Tensor = decibels - decibels[:, :1]
    return relative


def test_levels_are_scaled_by_ratios_up_to_the_one_given() -> None:
    clips = stairs(200)
    after = levels(changed(clips, ratio=4.0, threshold=100.0))
    ratio = levels(clips.audio)[:, 1] / after[:, 1]
    assert 0.25 <= ratio.min() < 0.3
    assert 3.3 < ratio.max() < 4.01
    assert float(ratio.log().mean()) == pytest.approx(0, abs=0.2)  # compressed as often as expanded
    straight = after[:, 1:4] / after[:, 1:2]  # the same ratio at every level
    torch.testing.assert_close(straight, torch.tensor([[1.0, 2.0, 3.0]]).expand_as(straight), atol=0.05, rtol=0)


def test_below_the_threshold_the_gain_is_the_same() -> None:
    after = levels(changed(stairs(50), threshold=20.0))
    torch.testing.assert_close(after[:, 4] - after[:, 3], torch.full((50,), -10.0), atol=0.1, rtol=0)
    torch.testing.assert_close(after[:, 3] - after[:, 2], torch.full((50,), -10.0), atol=0.1, rtol=0)
    assert (after[:, 1] + 10).abs().max() > 3


def test_energy_stays_and_ratio_one_changes_nothing() -> None:
    clips = stairs(20)
    energy = changed(clips, threshold=60.0).square().sum((1, 2))
    assert (energy <= clips.audio.square().sum((1, 2)) * 1.001).all()
    torch.testing.assert_close(changed(clips, ratio=1.0), clips.audio, atol=1e-6, rtol=0)


def test_the_gain_turns_where_the_level_does() -> None:
    clips = stairs(10)
    gain = changed(clips)[:, 0].abs() / clips.audio[:, 0].abs().clamp_min(1e-9)
    heard = clips.audio[0, 0].abs() > 1e-3 * clips.audio[0, 0].abs().max()
    first = gain[:, heard & (torch.arange(gain.shape[-1]) < 3800)]
    assert (first / first[:, :1] - 1).abs().max() < 0.1  # until half a window before the step
    second = gain[:, heard & (torch.arange(gain.shape[-1]) > 4200) & (torch.arange(gain.shape[-1]) < 7800)]
    assert (second / second[:, :1] - 1).abs().max() < 0.1


@pytest.mark.parametrize("given", [{"ratio": 0.5}, {"threshold": -1.0}, {"milliseconds": 0.0}], ids=str)
def test_what_cannot_be_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        plugins.build("adaptations", "compress", given)
