"""Ghosts are written as a file can hold them, and taken back; thresholds are those of the formula."""

from pathlib import Path

import pytest
import torch

from bench import plugins
from bench.api import Rolls
from bench.notes.restrikes import dominant, merged, remerge, split, threshold_velocity, touching
from bench.notes.rolls import Notes, grid, notes_of, read_midi, write_midi
from bench.notes.velocities import beginnings


def roll(*notes: tuple[int, int, int, int], steps: int = 16) -> Rolls:
    """(start, duration, pitch, velocity in MIDI units) of one track."""
    velocity, onset = grid(Notes.of([(0, 0, s, d, p, v / 127) for s, d, p, v in notes]), 1, 1, steps)
    return Rolls(velocity, onset, (0,), ("a",), ("a",), torch.tensor([steps]), torch.tensor([100.0]))


def table(rolls: Rolls) -> list[tuple[int, int, int, int]]:
    notes = notes_of(rolls)
    loud = (notes.velocity * 127).round().long()
    return sorted(zip(*(c.tolist() for c in (notes.start, notes.duration, notes.pitch, loud)), strict=True))


@pytest.mark.parametrize(
    ("level", "expected"),
    [(80, [33, 9, 4, 3, 2, 2, 2]), (70, [58, 15, 7, 5, 4, 3, 3]), (60, [102, 26, 12, 8, 6, 5, 4])],
)
def test_the_least_velocity_that_is_heard(level: float, expected: list[int]) -> None:
    """C1 to C7, by the formula: 127 * 10^((T_q - L) / 40), T_q(32.7 Hz) = 56.1 dB."""
    assert threshold_velocity(torch.tensor([24, 36, 48, 60, 72, 84, 96]), level).tolist() == expected


def test_the_dominant_pitch_has_the_largest_cumulative_velocity() -> None:
    rolls = roll((0, 3, 60, 50), (0, 1, 64, 127), (4, 2, 62, 10), (12, 4, 67, 1))
    assert dominant(rolls, 4).tolist() == [[[60, 62, -1, 67]]]
    assert dominant(rolls, 5).tolist() == [[[60, 62, 67, 67]]]


def test_a_ghost_is_three_notes_that_abut() -> None:
    rolls = roll((0, 8, 60, 80), (8, 4, 62, 70))
    where = torch.zeros_like(rolls.onset)
    where[0, 0, [0, 3, 11, 14], [60, 60, 62, 60]] = True  # an onset, inside, at the end, silent
    assert table(split(rolls, where, torch.full_like(rolls.velocity, 20 / 127))) == [
        (0, 3, 60, 80), (3, 1, 60, 20), (4, 4, 60, 80), (8, 3, 62, 70), (11, 1, 62, 20),
    ]  # fmt: skip


def test_the_gradient_of_a_ghost_is_its_own() -> None:
    rolls = roll((0, 8, 60, 80))
    where = torch.zeros_like(rolls.onset)
    where[0, 0, 3, 60] = True
    asked = torch.full_like(rolls.velocity, 0.2).requires_grad_()
    split(rolls, where, asked).velocity.sum().backward()
    assert asked.grad is not None
    assert asked.grad.nonzero().tolist() == [[0, 0, 3, 60]]


@pytest.mark.parametrize("name", ["chorales", "band"])
def test_ghosts_survive_a_file_and_are_taken_back(name: str, tmp_path: Path) -> None:
    rolls = plugins.build("datasets", name, {"domain": "midi", "rolls": 12}, "smoke").load("train")
    rng = torch.Generator().manual_seed(0)
    where = torch.rand(rolls.velocity.shape, generator=rng) < 0.15
    legal = where & (rolls.velocity > 0) & ~beginnings(rolls)
    spaced = legal & ~torch.nn.functional.pad(legal, (0, 0, 1, 0))[:, :, :-1]
    ghosts = split(rolls, spaced, torch.full_like(rolls.velocity, 13 / 127))
    write_midi(ghosts, 3, tmp_path / "ghosts.mid")
    again = read_midi(tmp_path / "ghosts.mid", rolls.steps_per_beat)
    low, high = rolls.lowest, rolls.lowest + rolls.velocity.shape[3]
    assert torch.equal(again.onset[0, ..., low:high], beginnings(ghosts)[3])
    genuine = remerge(rolls)
    back = remerge(ghosts)
    assert torch.equal(back.velocity > 0, rolls.velocity > 0)
    wrong = (back.onset != genuine.onset).sum() / genuine.onset.sum()
    assert wrong < 0.1, "where a genuine repeat is itself struck again a step later, it cannot be told apart"
    lost = (beginnings(rolls) & ~genuine.onset).sum() / beginnings(rolls).sum()
    assert lost < 0.05, "genuine repeats of a sixteenth are few"


def test_what_is_no_ghost_stays() -> None:
    rows = [(0, 1, 60, 80), (1, 3, 60, 70), (4, 2, 60, 60), (7, 1, 60, 50), (9, 4, 62, 40)]
    assert table(remerge(roll(*rows))) == rows
    assert table(remerge(roll((0, 4, 60, 80), (4, 1, 60, 9), (5, 3, 60, 80)))) == [(0, 8, 60, 80)]
    assert table(remerge(roll((0, 4, 60, 80), (4, 1, 60, 9), (5, 3, 60, 77)))) == [(0, 5, 60, 80), (5, 3, 60, 77)]


def test_notes_that_touch_can_be_merged() -> None:
    rolls = roll((0, 2, 60, 80), (2, 3, 60, 90), (6, 2, 60, 70), (2, 2, 62, 50))  # ordered by pitch, then time
    notes = notes_of(rolls)
    assert touching(notes).tolist() == [False, True, False, False]
    assert table(merged(rolls, notes, touching(notes))) == [(0, 5, 60, 80), (2, 2, 62, 50), (6, 2, 60, 70)]
