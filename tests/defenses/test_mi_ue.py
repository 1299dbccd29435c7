"""Noise that makes the features of a class alike."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from bench import plugins
from bench._kit import sets
from bench.api import Attacker, Clips, Epoch, Knowledge
from bench.errors import DataError, UsageError
from bench.training.objectives import features, hardened_surrogates


def surrogate() -> Attacker[Any]:
    attacker = plugins.build("attackers", "melcnn", {"epochs": 6, "batch": 8})
    assert isinstance(attacker, Attacker)
    return attacker


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def protect(data: Clips, seed: int = 0, log: list[Epoch] | None = None, **params: Any) -> Clips:
    defense = plugins.build("defenses", "mi_ue", {"rounds": 3, "learner_steps": 5, **params})
    knowledge = Knowledge("white-box", (surrogate(),), log=(log if log is not None else []).append)
    protected = defense.protect(data, knowledge, rng(seed))
    assert isinstance(protected, Clips)
    return protected.check()


def likeness(clips: Clips) -> float:
    """Mean cosine similarity within classes minus that between classes, by a surrogate that learnt from the clips."""
    attacker = surrogate()
    (model,) = hardened_surrogates([attacker], clips, rng(), 0.0, 0)
    with torch.no_grad():
        unit = torch.nn.functional.normalize(features(attacker, model, clips)[0], dim=1)
    assert clips.labels is not None
    same = clips.labels[:, None] == clips.labels
    similarity = unit @ unit.T
    return float(similarity[same & ~torch.eye(len(same)).bool()].mean() - similarity[~same].mean())


def test_clips_of_a_class_become_alike_to_who_learns_from_them() -> None:
    data = sets.tones(16, 8000, 0.5)
    assert likeness(protect(data, epsilon=0.02)) > likeness(data) + 0.05


def test_the_objective_falls_and_is_logged() -> None:
    log: list[Epoch] = []
    protect(sets.tones(16, 8000, 0.5), log=log, rounds=6)
    assert [line.step for line in log] == [1, 2, 3, 4, 5, 6]
    losses = [line.loss for line in log]
    assert losses[-1] is not None
    assert losses[0] is not None
    assert losses[-1] < 0.9 * losses[0]


def test_the_noise_keeps_its_bound_and_the_padding() -> None:
    data = sets.tones(6, 16000, 0.5, 2)
    noise = protect(data, epsilon=0.004).audio - data.audio
    assert 0.003 < float(noise.abs().max()) <= 0.004 + 1e-6
    assert not (noise * ~data.support).any()


def test_a_clip_that_is_alone_in_its_class_is_no_error() -> None:
    """There is nothing that it could resemble; the others have each other."""
    data = replace(sets.tones(3, 8000, 0.5), labels=torch.tensor([0, 0, 1]))
    changed = (protect(data).audio != data.audio).flatten(1).any(1)
    assert changed.tolist()[:2] == [True, True]


def test_surrogates_and_labels_are_needed() -> None:
    data = sets.tones(2, 8000, 0.3)
    with pytest.raises(UsageError, match="mi_ue has no surrogate"):
        plugins.build("defenses", "mi_ue").protect(data, Knowledge(), rng())
    with pytest.raises(DataError, match="no labels"):
        protect(replace(data, labels=None, classes=()))


@pytest.mark.parametrize("params", [{"epsilon": -0.1}, {"temperature": 0.0}, {"rounds": -1}, {"batch": 1}])
def test_parameters_that_make_no_sense_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        plugins.build("defenses", "mi_ue", params)
