"""Short trainings, per-item losses and gradients, and items left out."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Generator, nn

from bench._kit import sets
from bench.api import Clips
from bench.training.filtering import gradient_sketch, losses, shortened, without


def rng(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def numbered(items: int, labels: list[int] | None = None) -> Clips:
    index = None if labels is None else torch.tensor(labels)
    return Clips.of(torch.zeros(items, 1, 4), 8000, labels=index, classes=("a", "b") if labels else ())


def test_an_attacker_gets_a_share_of_its_epochs() -> None:
    assert shortened(sets.Reader(epochs=20), 0.2).epochs == 4
    assert shortened(sets.Reader(epochs=20), 0.001).epochs == 1


def test_what_counts_steps_gets_a_share_of_its_steps_and_what_counts_nothing_stays() -> None:
    @dataclasses.dataclass(frozen=True)
    class Steps(sets.Reader):
        epochs: Any = None
        steps: int = 50

    @dataclasses.dataclass(frozen=True)
    class Neither(sets.Reader):
        epochs: Any = None

    short: Any = shortened(Steps(), 0.5)
    assert (short.steps, short.epochs) == (25, None)
    assert shortened(Neither(), 0.5) == Neither()


def test_losses_are_those_of_the_attacker_and_move_no_mode() -> None:
    train, _, _ = sets.material("audio")
    attacker = sets.Reader()
    model = attacker.model(train, rng()).train()
    torch.testing.assert_close(losses(attacker, model, train, rng()), attacker.loss(model, train).detach().double())
    assert model.training


def test_a_loss_that_is_not_finite_is_the_largest() -> None:
    class Broken(sets.Reader):
        def loss(self, model: nn.Module, batch: Any) -> torch.Tensor:
            return torch.tensor([1.0, torch.nan, torch.inf])

    found = losses(Broken(), nn.Linear(1, 1), numbered(3), rng())
    assert found[0] == 1.0
    assert (found[1:] > 1e38).all()
    assert found.isfinite().all()


def test_the_sketch_is_the_gradient_along_random_directions() -> None:
    train, _, _ = sets.material("audio")
    attacker = sets.Reader()
    model = attacker.model(train, rng())
    before = [weight.detach().clone() for weight in model.parameters()]
    sketch = gradient_sketch(attacker, model, train, 3, rng(1))
    assert sketch.shape == (len(train), 3)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    draws = rng(1)
    direction = [torch.randn(weight.shape, generator=draws) for weight in before]
    for item in (0, 7):
        slopes = torch.autograd.grad(attacker.loss(model, train)[item], list(model.parameters()))
        expected = sum(float((slope * way).sum()) for slope, way in zip(slopes, direction, strict=True))
        assert float(sketch[item, 0]) == pytest.approx(expected, rel=0.1, abs=0.05 * float(sketch[:, 0].abs().amax()))


def test_the_most_suspicious_items_leave_and_the_budget_stays() -> None:
    rest = without(numbered(5), torch.tensor([0.0, 3.0, 1.0, 2.0, -1.0]), 2)
    assert rest.ids == ("00000", "00002", "00004")
    assert rest.epoch_items == 5


def test_one_of_each_class_and_what_is_beyond_suspicion_stay() -> None:
    values = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])
    assert without(numbered(5, [0, 0, 1, 1, 1]), values, 5).ids == ("00001", "00004")
    assert without(numbered(5), values, 9).ids == ("00004",)
    assert without(numbered(5), torch.full((5,), -torch.inf), 5).ids == numbered(5).ids
