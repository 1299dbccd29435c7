"""Notes move by whole steps within the music, at the given rate, and keep pitch, velocity and duration."""

from typing import Any

import pytest
import torch

from bench import plugins
from bench.api import Rolls
from bench.errors import UsageError
from bench.notes.rolls import Notes, grid, notes_of


def apart(notes: int = 80, duration: int = 2) -> Rolls:
    """Notes of pitches of their own, far from each other's."""
    rows = [(0, 0, 8 * (n % 10), duration, 24 + n, (40 + n % 60) / 127) for n in range(notes)]
    velocity, onset = grid(Notes.of(rows), 1, 1, 84, 24, 84)
    return Rolls(velocity, onset, (0,), ("a",), ("a",), torch.tensor([74]), torch.tensor([120.0]), lowest=24)


def moves(data: Rolls, seed: int = 0, **given: Any) -> torch.Tensor:
    """By how many steps each note was moved."""
    plugin: Any = plugins.build("adaptations", "time_jitter", given)
    made = notes_of(plugin.augment(data, torch.Generator().manual_seed(seed)).check("time_jitter"))
    before = notes_of(data)
    assert torch.equal(made.pitch, before.pitch)
    assert torch.equal(made.duration, before.duration)
    assert torch.equal(made.velocity, before.velocity)
    return made.start - before.start


def test_notes_move_by_at_most_the_steps_at_the_given_rate() -> None:
    data = apart()
    drawn = torch.cat([moves(data, seed) for seed in range(10)])
    assert set(drawn.tolist()) == {-1, 0, 1}
    assert float((drawn != 0).float().mean()) == pytest.approx(0.19, abs=0.05)  # those at the ends stay half the time
    assert set(moves(data, steps=3, probability=1.0).tolist()) == {-3, -2, -1, 0, 1, 2, 3}
    assert not moves(data, probability=0.0).any()


def test_every_draw_differs() -> None:
    assert not torch.equal(moves(apart()), moves(apart(), seed=1))


def test_a_note_at_the_end_stays_in_the_music() -> None:
    assert (moves(apart(), probability=1.0, steps=8)[9::10] <= 0).all(), "at step 72 of 74"


@pytest.mark.parametrize("given", [{"steps": 0}, {"probability": 1.1}])
def test_parameters_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        plugins.build("adaptations", "time_jitter", given)
