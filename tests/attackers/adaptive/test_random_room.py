"""Random rooms: the decay and the ratio that were asked for, behind a direct path that is not delayed."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bench import plugins
from bench.api import Clips
from bench.errors import UsageError

RATE = 16_000
AT = 1000  # sample of the click


def responses(clips: int, **given: Any) -> Tensor:
    """What becomes of a click: [clip, sample from the click on]; and nothing before it."""
    audio = torch.zeros(clips, 1, AT + RATE)
    audio[..., AT] = 0.5
    plugin = plugins.build("adaptations", "random_room", given)
    heard = plugin.augment(Clips.of(audio, RATE), torch.Generator().manual_seed(0)).check("random_room").audio
    level = heard.norm(dim=(1, 2))
    torch.testing.assert_close(level, torch.full_like(level, 0.5), atol=1e-3, rtol=0)  # as loud as before
    assert heard[..., :AT].abs().max() < 1e-5
    result: Tensor = heard[:, 0, AT:]
    return result


def test_direct_and_reverberant_energy_are_in_the_ratio_that_was_asked() -> None:
    ratio = responses(60, lowest_db=3.0, highest_db=9.0, longest=0.3).square()
    decibels = 10 * (ratio[:, 0] / ratio[:, 1:].sum(-1)).log10()
    assert decibels.min() > 2.9
    assert decibels.max() < 9.1
    assert decibels.std() > 1


@pytest.mark.parametrize("seconds", [0.2, 0.5])
def test_the_reverberation_decays_by_60_db_in_its_time(seconds: float) -> None:
    tail = responses(20, shortest=seconds, longest=seconds)[:, 1:].square().mean(0)
    half = round(seconds * RATE / 2)
    decay = 10 * (tail[:400].mean() / tail[half : half + 400].mean()).log10()
    assert float(decay) == pytest.approx(30, abs=1.5)


def test_rooms_differ_and_reverberation_times_stay_within_their_bounds() -> None:
    tails = responses(40, shortest=0.1, longest=0.6)
    assert tails[:, round(0.6 * RATE) + 1 :].abs().max() < 1e-4
    early = tails[:, 1:1600].square().sum(-1) / tails[:, 1:].square().sum(-1)  # of 0.1 s
    assert early.max() > 0.98
    assert early.min() < 0.95
    assert not torch.equal(tails[0], tails[1])


@pytest.mark.parametrize(
    "given", [{"shortest": 0.0}, {"longest": 9.0}, {"shortest": 0.7}, {"lowest_db": 20.0}], ids=str
)
def test_what_cannot_be_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        plugins.build("adaptations", "random_room", given)
