"""bfloat16, checkpointing and recurrent gradients change what is computed by rounding alone, and only where asked."""

from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from bench import plugins
from bench._kit import sets
from bench.api import Data, Epoch
from bench.training.acceleration import differentiable_recurrence, uses_bfloat16

LARGE = {"musicgen": {"steps": 4, "batch": 2}, "symphonynet": {"steps": 8}, "ast": {"epochs": 4}}
ROUNDING = 2.0**-8  # of bfloat16, to the nearest: relative


def rng() -> Generator:
    return Generator().manual_seed(0)


def trained(name: str, **given: Any) -> tuple[nn.Module, list[Epoch], Data]:
    attacker = plugins.build("attackers", name, {**LARGE[name], **given}, preset="smoke")
    train, validation, test = sets.material(attacker.domains[0])
    epochs: list[Epoch] = []
    model = attacker.learn(train, validation, rng(), log=epochs.append)
    return model, epochs, test


def norms_computed(name: str, **given: Any) -> int:
    """How many layer normalisations a training step computes."""
    attacker = plugins.build("attackers", name, {**LARGE[name], **given}, preset="smoke")
    few = sets.example(attacker.domains[0])
    model = attacker.model(few, rng()).train()
    calls: list[None] = []
    for layer in model.modules():
        if isinstance(layer, nn.LayerNorm):
            layer.register_forward_hook(lambda *given: calls.append(None))
    attacker.loss(model, few).mean().backward()
    return len(calls)


def losses(epochs: list[Epoch]) -> Tensor:
    return torch.tensor([epoch.loss for epoch in epochs if epoch.loss is not None])


@pytest.mark.parametrize("name", LARGE)
def test_bfloat16_trains_to_the_same_losses_within_its_rounding(name: str) -> None:
    _, exact, _ = trained(name)
    model, rounded, _ = trained(name, precision="bfloat16")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    # Rounding of each layer adds up, and so does that of each step; the first loss is before any step.
    assert not torch.equal(losses(rounded), losses(exact))
    assert torch.allclose(losses(rounded), losses(exact), rtol=32 * ROUNDING)


@pytest.mark.parametrize("name", LARGE)
def test_layers_that_are_computed_again_give_the_same_gradient(name: str) -> None:
    """Once with and once without, up to the order in which the same numbers are added."""
    kept, exact, _ = trained(name)
    again, repeated, _ = trained(name, checkpointing=True)
    assert torch.allclose(losses(repeated), losses(exact), rtol=1e-4)
    assert again.state_dict().keys() == kept.state_dict().keys()
    assert norms_computed(name, checkpointing=True) > norms_computed(name)


@pytest.mark.parametrize("name", LARGE)
def test_the_full_preset_asks_for_both_and_small_ones_for_neither(name: str) -> None:
    for preset, expected in (("smoke", ("float32", False)), ("small", ("float32", False)), ("full", ("auto", True))):
        attacker = plugins.build("attackers", name, preset=preset)
        assert (attacker.precision, attacker.checkpointing) == expected


def test_auto_is_bfloat16_on_an_accelerator_alone() -> None:
    cases = {("auto", "cpu"): False, ("bfloat16", "cpu"): True, ("auto", "cuda"): True, ("float32", "cuda"): False}
    assert {case: uses_bfloat16(case[0], torch.device(case[1])) for case in cases} == cases  # type: ignore[arg-type]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_recurrent_layer_can_be_differentiated_in_evaluation_mode(dropout: float) -> None:
    """In training mode, or without cuDNN, and without dropout either way; afterwards all is as it was."""
    layer = nn.GRU(3, 4, 2, batch_first=True, dropout=dropout).eval()
    x = torch.randn(2, 5, 3, generator=rng())
    with differentiable_recurrence(layer):
        assert layer.training == (dropout == 0)
        assert torch.backends.cudnn.enabled == (dropout == 0)
        inside, _ = layer(x)
    assert not layer.training
    assert torch.backends.cudnn.enabled
    assert torch.equal(inside, layer(x)[0])


@pytest.mark.parametrize("name", ["musicgen", "pianoroll_gru"])
def test_attackers_with_recurrent_layers_are_differentiated_so(name: str) -> None:
    attacker = plugins.build("attackers", name, preset="smoke")
    few = sets.example(attacker.domains[0])
    model = attacker.model(few, rng()).eval()
    modes: list[bool] = []
    for layer in model.modules():
        if isinstance(layer, nn.RNNBase):
            layer.register_forward_hook(lambda layer, given, made: modes.append(layer.training))
    given = few.signal.clone().requires_grad_()
    (slope,) = torch.autograd.grad(attacker.loss(model, few.with_signal(given)).sum(), given)
    assert slope.abs().sum() > 0
    assert modes
    assert all(modes)
    assert not any(layer.training for layer in model.modules())
