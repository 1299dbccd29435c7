"""The recurrent network predicts frames: its likelihood is right, causal, blind where it says so, and it learns."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional

from bench import plugins
from tests.attackers.examples import rng, rolls

pytestmark = pytest.mark.numeric


def attacker(**parameters: Any) -> Any:
    return plugins.build("attackers", "pianoroll_gru", parameters, preset="smoke")


def test_the_prior_is_what_counting_gives() -> None:
    data, gru = rolls(), attacker()
    model = gru.model(data, rng())
    gru.prior(model, data)
    played = (data.velocity > 0).double().sum(1).clamp(max=1)
    whole = replace(
        data, velocity=data.velocity.sum(1, keepdim=True).clamp(max=1), onset=data.onset.any(1, keepdim=True),
        programs=(0,), tracks=(),
    )  # fmt: skip
    model = gru.model(whole, rng())
    gru.prior(model, whole)
    inside = data.support[:, 0].double()
    before = functional.pad(played, (0, 0, 1, 0))[:, :-1]
    nats = torch.zeros(len(data), dtype=torch.float64)
    for state in (0.0, 1.0):
        mine = (before == state).double() * inside
        chance = ((played * mine).sum((0, 1)) + 0.5) / (mine.sum((0, 1)) + 1.0)
        cells = -(played * chance.log() + (1 - played) * (1 - chance).log()) * mine
        nats += cells[..., 24:108].sum((1, 2)) / data.lengths
    assert gru.loss(model, whole).detach().double().numpy() == pytest.approx(nats.numpy(), rel=1e-4)


def test_it_does_not_see_what_is_to_come() -> None:
    data, gru = rolls(1), attacker()
    model = gru.model(data, rng())
    later = data.velocity.clone()
    later[:, :, 33:] = 0.0
    with torch.no_grad():
        whole, cut = (
            model(replace(data, velocity=v).velocity[..., 24:108].transpose(1, 2).flatten(2))[0]
            for v in (data.velocity, later)
        )
    assert torch.equal(whole[:, :33], cut[:, :33])
    assert not torch.equal(whole[:, 33:], cut[:, 33:])


@pytest.mark.parametrize("velocity", [True, False])
def test_what_it_reads_of_velocities_is_what_it_says(velocity: bool) -> None:
    data, gru = rolls(), attacker(velocity=velocity)
    model = gru.model(data, rng())
    louder = replace(data, velocity=(data.velocity * 1.3).clamp(max=1))
    assert torch.equal(gru.loss(model, data), gru.loss(model, louder)) != velocity
    assert torch.equal(gru.view(data), gru.view(louder)) != velocity
    assert len(gru.view(data)) == int((data.velocity > 0).sum())


def test_the_gradient_in_the_velocities_is_the_slope() -> None:
    data, gru = rolls(1), attacker()
    data = replace(data, velocity=data.velocity * 0.9)
    model = gru.learn(data, data, rng())
    at = data.velocity.clone().requires_grad_()
    (slope,) = torch.autograd.grad(gru.loss(model, replace(data, velocity=at)).sum(), at)
    direction = slope.sign() * (data.velocity > 0)
    with torch.no_grad():
        ends = [gru.loss(model, replace(data, velocity=at + d * direction)).sum() for d in (-0.003, 0.003)]
    assert float((slope * direction).sum()) == pytest.approx(float(ends[1] - ends[0]) / 0.006, rel=0.05)


def test_it_generates_legal_rolls_within_the_length() -> None:
    data, gru = rolls(), attacker(generated=3)
    model = gru.model(data, rng())
    gru.prior(model, data)
    with torch.no_grad():
        made = gru.generate(model, data, rng(1))
    made.check("generated")
    assert made.ids == data.ids[:3]
    assert made.onset.any()
    assert not ((made.velocity > 0) & ~made.support).any()


def test_rolls_of_another_pitch_range_are_cut_and_padded() -> None:
    data, gru = rolls(), attacker()
    narrow = replace(data, velocity=data.velocity[..., 30:100], onset=data.onset[..., 30:100], lowest=30)
    model = gru.model(data, rng())
    wide = data.velocity.clone()
    wide[..., :30], wide[..., 100:] = 0, 0
    assert torch.equal(gru.loss(model, narrow), gru.loss(model, replace(data, velocity=wide, onset=data.onset)))
