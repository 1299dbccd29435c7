"""Features of any classifier, descent of any objective, and the adversary."""

from typing import Any

import pytest
import torch
from torch import nn

from bench import plugins
from bench._kit import sets
from bench.api import Attacker, Clips
from bench.errors import UsageError
from bench.training.crafting import Noise, noise_bound
from bench.training.objectives import adversarial, descend, features, hardened_surrogates

RATE = 8000


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(name: str, data: Clips) -> tuple[Attacker[Any], nn.Module]:
    attacker = plugins.build("attackers", name, {"epochs": 2})
    assert isinstance(attacker, Attacker)
    return attacker, attacker.model(data, rng()).eval()


@pytest.mark.parametrize("name", ["mfcc", "melcnn", "m5", "ridge"])
def test_features_are_what_the_head_is_given(name: str) -> None:
    data = sets.tones(4, RATE, 1.0)
    attacker, model = build(name, data)
    values, losses = features(attacker, model, data.with_audio(data.audio.clone().requires_grad_()))
    heads = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    assert torch.allclose(heads[-1](values), model(data.audio), atol=1e-4)
    assert torch.allclose(losses, attacker.loss(model, data), atol=1e-5)
    assert values.requires_grad
    assert not [layer for layer in model.modules() if layer._forward_pre_hooks]


def test_features_of_frames_are_averaged() -> None:
    data = sets.tones(3, RATE, 0.5)
    reader = sets.Reader()
    values, _ = features(reader, reader.model(data, rng()), data)
    assert values.shape == (3, reader.width)


class _Flat(sets.Reader):
    def loss(self, model: nn.Module, batch: Any) -> torch.Tensor:
        audio: torch.Tensor = batch.audio
        return audio.square().mean((1, 2))


def test_a_model_that_calls_no_layer_has_no_features() -> None:
    data = sets.tones(2, RATE, 0.5)
    flat = _Flat()
    with pytest.raises(UsageError, match="no features of _Flat"):
        features(flat, flat.model(data, rng()), data)


def test_the_descent_reaches_a_target_within_the_bound_whatever_the_order() -> None:
    data = sets.tones(5, RATE, 0.2)
    target = data.audio + 0.02 * data.audio.sign()
    made = []
    for order in (torch.arange(5), torch.tensor([3, 0, 4, 1, 2])):
        noise = Noise.silent(data, noise_bound(data, 0.01, padding=False), "clip")

        def distance(changed: Clips, index: torch.Tensor) -> torch.Tensor:
            return (changed.audio - target[index]).square().sum((1, 2))

        before = float((data.audio - target).square().sum((1, 2)).mean())
        assert descend(noise, data, distance, order, steps=6, step=0.2, batch=2) < before
        made.append(noise.everywhere(data).audio)
    assert torch.equal(made[0], made[1])
    assert torch.allclose(made[0] - data.audio, 0.01 * data.audio.sign(), atol=1e-6)


def test_an_objective_without_a_gradient_moves_nothing() -> None:
    data = sets.tones(2, RATE, 0.2)
    noise = Noise.silent(data, noise_bound(data, 0.01, padding=False), "clip")
    assert (
        descend(noise, data, lambda changed, index: torch.ones(2), torch.arange(2), steps=2, step=1.0, batch=2) == 1.0
    )
    assert not noise.unit.any()


def learnt(radius: float) -> tuple[Attacker[Any], nn.Module, Clips]:
    data = sets.tones(24, RATE, 0.5)
    attacker = plugins.build("attackers", "melcnn", {"epochs": 12, "batch": 8})
    assert isinstance(attacker, Attacker)
    return attacker, hardened_surrogates([attacker], data, rng(), radius, 2)[0], data


def mean_loss(attacker: Attacker[Any], model: nn.Module, data: Clips) -> float:
    with torch.no_grad():
        return float(attacker.loss(model, data).mean())


def test_the_adversary_raises_the_loss_more_than_its_random_start() -> None:
    attacker, model, data = learnt(0.0)
    noisy = {steps: adversarial(attacker, model, data, 0.01, steps, rng()) for steps in (0, 5)}
    losses = {steps: mean_loss(attacker, model, batch) for steps, batch in noisy.items()}
    assert losses[5] > 1.5 * losses[0]
    for batch in noisy.values():
        batch.check()
        assert float((batch.audio - data.audio).abs().max()) <= 0.01 + 1e-6


def test_a_hardened_surrogate_stands_the_adversary_better() -> None:
    losses = []
    for radius in (0.0, 0.003):
        attacker, model, data = learnt(radius)
        losses.append(mean_loss(attacker, model, adversarial(attacker, model, data, 0.003, 5, rng())))
    assert losses[1] < 0.4 * losses[0]
