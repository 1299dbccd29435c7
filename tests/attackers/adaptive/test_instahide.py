"""InstaHide: shares within their bounds, signs of clips or samples, and labels in the same shares."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator

from bench import plugins
from bench.api import silent_log
from bench.errors import UsageError

pytestmark = pytest.mark.numeric

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
Linear: Any = plugins.load("attackers", str(PLUGINS / "linear.py"))
Tones: Any = plugins.load("datasets", str(PLUGINS / "tones.py"))


def rng(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def build(**given: Any) -> Any:
    return plugins.build("adaptations", "instahide", given)


@pytest.mark.parametrize("mixed", [2, 4])
def test_shares_sum_to_one_and_none_exceeds_the_largest(mixed: int) -> None:
    mixture = build(mixed=mixed, largest=0.6)._hidden(Tones(clips=400).load("train"), rng()).check("instahide")
    assert mixture.shares.shape == mixture.part_labels.shape == (mixed, 400)
    torch.testing.assert_close(mixture.shares.sum(0), torch.ones(400))
    assert mixture.shares.min() >= 0
    assert mixture.shares.max() < 0.6001
    assert mixture.shares.amax(0).max() > 0.58
    assert float(mixture.shares.mean(1).std()) < 0.03  # no part is preferred


def test_the_polarity_of_each_part_is_drawn() -> None:
    clips = Tones(clips=200).load("train")
    mixture = build()._hidden(clips, rng())
    scale = (mixture.audio * clips.audio).sum((1, 2)) / clips.audio.square().sum((1, 2))
    assert 0.3 < float((scale > 0).float().mean()) < 0.7
    alone = mixture.part_labels[0] != mixture.part_labels[1]  # other tones are almost orthogonal
    torch.testing.assert_close(scale[alone].abs(), mixture.shares[0][alone], atol=0.1, rtol=0)


def test_signs_of_samples_keep_the_magnitude_of_each_sample_alone() -> None:
    clips = Tones(clips=8).load("train")
    mixture = build(flips="sample")._hidden(clips, rng())
    spectrum = torch.fft.rfft(mixture.audio[:, 0]).abs()
    flatness = spectrum.clamp_min(1e-9).log().mean(-1).exp() / spectrum.mean(-1)
    assert flatness.min() > 0.5  # white: no tone is left
    loud = clips.audio.square().mean() * (mixture.shares.square().sum(0).mean())
    assert float(mixture.audio.square().mean() / loud) == pytest.approx(1.0, abs=0.5)


def test_a_classifier_still_learns_and_the_generator_alone_decides() -> None:
    attacker, data = Linear(steps=60), Tones()
    model = build().train(attacker, data.load("train"), data.load("validation"), rng(), log=silent_log)
    assert attacker.quality(model, data.load("test"))["accuracy"].mean() > 0.9
    small = Tones(clips=6)
    weights = [
        build().train(Linear(steps=3), small.load("train"), small.load("validation"), rng(seed), log=silent_log).weight
        for seed in (0, 0, 1)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("given", [{"mixed": 1}, {"largest": 0.4}, {"mixed": 4, "largest": 1.1}], ids=str)
def test_what_cannot_be_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        build(**given)
