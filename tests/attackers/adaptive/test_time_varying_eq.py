"""An equaliser that changes in time: within its bounds, another curve after its time, smooth in between."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bench import plugins
from bench.api import Clips
from bench.errors import UsageError

RATE = 16_000


def augmented(clips: Clips, seed: int = 0, **given: Any) -> Clips:
    plugin = plugins.build("adaptations", "time_varying_eq", given)
    batch: Clips = plugin.augment(clips, torch.Generator().manual_seed(seed))
    return batch.check("time_varying_eq")


def tone(clips: int, hz: float = 1000.0) -> Clips:
    time = torch.arange(2 * RATE) / RATE
    return Clips.of(0.1 * torch.sin(2 * torch.pi * hz * time).repeat(clips, 1, 1), RATE)


def levels(clips: Clips, milliseconds: int = 10) -> Tensor:
    """Level of the tone in dB, every few milliseconds, without the clip's ends: [clip, interval]."""
    samples = milliseconds * RATE // 1000
    power = clips.audio[:, 0].unfold(-1, samples, samples).square().mean(-1)
    return (10 * (power / 0.005).log10())[:, 10:-10]


def test_gains_are_within_their_bounds_and_reach_them() -> None:
    gain = levels(augmented(tone(20), decibels=6.0, milliseconds=200.0))
    assert gain.abs().max() < 6.5
    assert gain.max() > 4.5
    assert gain.min() < -4.5


def test_a_curve_lasts_as_long_as_was_asked() -> None:
    long, short = (levels(augmented(tone(30), milliseconds=ms)) for ms in (1000.0, 100.0))
    steps = [float(gain.diff(dim=1).abs().mean()) for gain in (long, short)]
    assert steps[1] > 5 * steps[0]
    flat = (long.diff(dim=1).abs() < 0.05).float().mean()
    assert 0.35 < flat < 0.75  # half of the time a curve stands still


def test_clips_begin_at_places_of_their_own() -> None:
    moving = levels(augmented(tone(40), milliseconds=1000.0)).diff(dim=1).abs() > 0.05
    share = moving.float().mean(0)  # at each time, of the clips whose curve changes
    assert share.min() > 0.05
    assert share.max() < 0.9


def test_a_crossfade_has_no_jumps() -> None:
    smooth, sudden = (
        levels(augmented(tone(20), milliseconds=400.0, crossfade=share)).diff(dim=1).abs().max() for share in (1.0, 0.0)
    )
    assert smooth < 1.0
    assert sudden > 2 * smooth


def test_no_decibels_change_nothing() -> None:
    noise = 0.2 * torch.randn(2, 2, 5000, generator=torch.Generator().manual_seed(1)).clamp(-3, 3)
    same = augmented(Clips.of(noise, RATE), decibels=0.0).audio
    torch.testing.assert_close(same, noise, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "given", [{"decibels": -1.0}, {"milliseconds": 5.0}, {"crossfade": 1.5}, {"bands": 0}], ids=str
)
def test_what_cannot_be_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        plugins.build("adaptations", "time_varying_eq", given)
