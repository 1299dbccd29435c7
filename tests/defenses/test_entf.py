"""Entangled features."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from bench import plugins
from bench._kit import sets
from bench.api import Attacker, Clips, Knowledge
from bench.errors import DataError, UsageError
from bench.training.objectives import features, hardened_surrogates


def surrogate() -> Attacker[Any]:
    attacker = plugins.build("attackers", "melcnn", {"epochs": 6, "batch": 8})
    assert isinstance(attacker, Attacker)
    return attacker


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def protect(data: Clips, seed: int = 0, **params: Any) -> Clips:
    defense = plugins.build("defenses", "entf", {"hardened": False, "steps": 10, **params})
    protected = defense.protect(data, Knowledge("white-box", (surrogate(),)), rng(seed))
    assert isinstance(protected, Clips)
    return protected.check()


def own_and_other(data: Clips, clips: Clips) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances of features to the clean means of the own class and of the other, by the defender's own surrogate."""
    attacker = surrogate()
    (model,) = hardened_surrogates([attacker], data, rng(), 0.0, 0)
    with torch.no_grad():
        clean, values = (features(attacker, model, each)[0] for each in (data, clips))
    assert data.labels is not None
    means = torch.stack([clean[data.labels == label].mean(0) for label in (0, 1)])
    distance = torch.cdist(values, means)
    return distance.gather(1, data.labels[:, None])[:, 0], distance.gather(1, 1 - data.labels[:, None])[:, 0]


def test_push_takes_every_clip_away_from_its_class() -> None:
    data = sets.tones(16, 8000, 0.5)
    before, after = own_and_other(data, data)[0], own_and_other(data, protect(data))[0]
    assert (after > before).all()
    assert float(after.mean()) > 1.5 * float(before.mean())


def test_pull_takes_clips_to_the_other_class() -> None:
    data = sets.tones(16, 8000, 0.5)
    before, after = own_and_other(data, data)[1], own_and_other(data, protect(data, towards="pull"))[1]
    assert float(after.mean()) < 0.8 * float(before.mean())


def test_more_steps_go_further() -> None:
    data = sets.tones(16, 8000, 0.5)
    few, many = (float(own_and_other(data, protect(data, steps=steps))[0].mean()) for steps in (1, 10))
    assert few < many


def test_hardened_surrogates_give_other_noise_within_the_same_bound() -> None:
    data = sets.tones(12, 8000, 0.5)
    plain, hard = (protect(data, hardened=hardened, steps=3).audio - data.audio for hardened in (False, True))
    assert not torch.equal(plain, hard)
    for noise in (plain, hard):
        assert 0.002 < float(noise.abs().max()) <= 0.01 + 1e-6
        assert not (noise * ~data.support).any()


def test_one_class_alone_is_pushed_too() -> None:
    data = sets.tones(4, 8000, 0.5)
    alone = replace(data, labels=torch.zeros(4).long(), classes=("only",))
    assert (protect(alone, towards="pull", steps=2).audio != data.audio).flatten(1).any(1).all()


def test_surrogates_and_labels_are_needed() -> None:
    data = sets.tones(2, 8000, 0.3)
    with pytest.raises(UsageError, match="entf has no surrogate"):
        plugins.build("defenses", "entf").protect(data, Knowledge(), rng())
    with pytest.raises(DataError, match="no labels"):
        protect(replace(data, labels=None, classes=()))


@pytest.mark.parametrize("params", [{"epsilon": -0.1}, {"radius": 2.0}, {"steps": -1}, {"towards": "away"}])
def test_parameters_that_make_no_sense_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        plugins.build("defenses", "entf", params)
