"""A note has one velocity, from its onset to its end, and a gradient that goes there."""

import torch

from bench.api import Rolls
from bench.notes.velocities import beginnings, rounded, sustained


def rolls() -> Rolls:
    velocity = torch.zeros(1, 1, 8, 2)
    velocity[0, 0, 1:4, 0] = 0.5  # a note without an onset flag, of three steps
    velocity[0, 0, 4:6, 0] = 0.8  # struck again
    velocity[0, 0, 7, 1] = 0.25
    onset = torch.zeros_like(velocity, dtype=torch.bool)
    onset[0, 0, 4, 0] = onset[0, 0, 7, 1] = True
    return Rolls(
        velocity, onset, (0,), ("a",), ("a",), torch.tensor([8]), torch.tensor([100.0]), lowest=60
    )  # fmt: skip


def test_a_note_begins_at_its_onset_and_after_silence() -> None:
    assert beginnings(rolls()).nonzero()[:, 2:].tolist() == [[1, 0], [4, 0], [7, 1]]


def test_a_note_keeps_the_velocity_of_its_onset() -> None:
    asked = torch.full((1, 1, 8, 2), 0.3)
    asked[0, 0, 1, 0], asked[0, 0, 4, 0], asked[0, 0, 7, 1] = 0.6, 0.7, 0.9
    got = sustained(rolls(), asked)
    assert got.velocity[0, 0, :, 0].tolist() == torch.tensor([0, 0.6, 0.6, 0.6, 0.7, 0.7, 0, 0]).tolist()
    assert got.velocity[0, 0, :, 1].tolist() == torch.tensor([0] * 7 + [0.9]).tolist()
    assert torch.equal(got.onset, beginnings(rolls()))


def test_the_gradient_of_a_note_gathers_at_its_onset() -> None:
    asked = rolls().velocity.clone().requires_grad_()
    sustained(rolls(), rounded(asked)).velocity.sum().backward()
    assert asked.grad is not None
    assert asked.grad[0, 0, :, 0].tolist() == [0, 3, 0, 0, 2, 0, 0, 0]
    assert asked.grad[0, 0, :, 1].tolist() == [0] * 7 + [1]


def test_rounding_stops_at_127_and_lets_the_gradient_pass() -> None:
    asked = torch.tensor([0.5, 1.3, 0.004], requires_grad=True)
    got = rounded(asked)
    assert (got * 127).tolist() == [64.0, 127.0, 1.0]
    got.sum().backward()
    assert asked.grad is not None
    assert asked.grad.tolist() == [1.0, 1.0, 1.0]
