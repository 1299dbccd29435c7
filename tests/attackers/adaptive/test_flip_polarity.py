"""Random polarity: the sign of whole clips, as often as was asked."""

from typing import Any

import pytest
import torch

from bench import plugins
from bench.api import Clips
from bench.errors import UsageError


def factors(clips: int, seed: int = 0, **given: Any) -> torch.Tensor:
    """The factor of each clip; it is the same for all of its samples."""
    noise = torch.randn(clips, 2, 50, generator=torch.Generator().manual_seed(9)).clamp(-3, 3) / 3
    plugin = plugins.build("adaptations", "flip_polarity", given)
    batch = Clips.of(noise, 8000)
    flipped = plugin.augment(batch, torch.Generator().manual_seed(seed)).check("flip_polarity")
    ratio = (flipped.audio * noise).sum((1, 2)) / noise.square().sum((1, 2))
    assert torch.equal(flipped.audio, noise * ratio.round()[:, None, None])
    result: torch.Tensor = ratio.round()
    return result


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.5, 1.0])
def test_as_many_clips_are_flipped_as_was_asked(probability: float) -> None:
    share = float((factors(2000, probability=probability) == -1).float().mean())
    assert share == pytest.approx(probability, abs=0.04)


def test_only_the_generator_decides() -> None:
    assert torch.equal(factors(40), factors(40))
    assert not torch.equal(factors(40), factors(40, seed=1))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match=r"expected 0\.\.1"):
        plugins.build("adaptations", "flip_polarity", {"probability": 1.5})
