"""Error-minimising noise under an adversary."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from bench import plugins
from bench._kit import sets
from bench.api import Attacker, Clips, Epoch, Knowledge
from bench.errors import DataError, UsageError

FAST = {"rounds": 5, "learner_steps": 5, "samples": 1, "attack_steps": 2, "stop": 0.0}


def surrogate(**params: Any) -> Attacker[Any]:
    attacker = plugins.build("attackers", "melcnn", {"epochs": 6, "batch": 8, **params})
    assert isinstance(attacker, Attacker)
    return attacker


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def protect(data: Clips, seed: int = 0, log: list[Epoch] | None = None, **params: Any) -> Clips:
    defense = plugins.build("defenses", "robust_minmin", {**FAST, **params})
    knowledge = Knowledge("white-box", (surrogate(),), log=(log if log is not None else []).append)
    protected = defense.protect(data, knowledge, rng(seed))
    assert isinstance(protected, Clips)
    return protected.check()


@pytest.mark.parametrize("attack", ["adversarial", "random"])
def test_the_loss_under_the_adversary_falls_and_is_logged(attack: str) -> None:
    """Below a tenth of a nat over six seeds; noise that carried nothing would leave ln 2."""
    log: list[Epoch] = []
    protect(sets.tones(12, 8000, 0.5), log=log, rounds=10, attack=attack)
    losses = [line.loss for line in log]
    assert len(losses) == 10
    assert losses[-1] is not None
    assert losses[-1] < 0.3


def test_it_stops_at_the_loss_that_is_asked_for() -> None:
    log: list[Epoch] = []
    protect(sets.tones(4, 8000, 0.5), log=log, stop=100.0)
    assert len(log) == 1


def test_the_noise_keeps_its_bound_and_the_padding() -> None:
    data = sets.tones(6, 16000, 0.5, 2)
    noise = protect(data, epsilon=0.004, radius=0.002, rounds=2).audio - data.audio
    assert 0.002 < float(noise.abs().max()) <= 0.004 + 1e-6
    assert not (noise * ~data.support).any()


def test_without_adversary_and_shift_the_noise_is_another() -> None:
    data = sets.tones(4, 8000, 0.5)
    plain = protect(data, radius=0.0, shift_ms=0.0, rounds=1)
    assert not torch.equal(plain.audio, protect(data, rounds=1).audio)


def test_surrogates_are_needed_and_labels_where_they_classify() -> None:
    data = sets.tones(2, 8000, 0.3)
    with pytest.raises(UsageError, match="robust_minmin has no surrogate"):
        plugins.build("defenses", "robust_minmin").protect(data, Knowledge(), rng())
    with pytest.raises(DataError, match="no labels"):
        protect(replace(data, labels=None, classes=()))


@pytest.mark.parametrize("params", [{"epsilon": -0.1}, {"radius": 0.02}, {"samples": 0}, {"attack": "none"}])
def test_parameters_that_make_no_sense_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        plugins.build("defenses", "robust_minmin", params)
