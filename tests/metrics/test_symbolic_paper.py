"""The mistakes of published code, each as a named wrong answer beside the right one."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from bench.api import Rolls
from bench.errors import DataError
from bench.metrics import symbolic

Make = Callable[..., Rolls]


def close(found: torch.Tensor, *expected: float) -> None:
    """One roll's values."""
    torch.testing.assert_close(found[0], torch.tensor(expected, dtype=torch.float64), equal_nan=True)


def test_v2_counts_the_bars_that_are_not_empty(make_rolls: Make) -> None:
    rolls = make_rolls([(0, 0, 0, 48, 60)], steps=64)
    close(symbolic.empty_bar_rate(rolls), 0.25)
    close(symbolic.paper_empty_bar_rate(rolls), 0.75)


def test_v2_counts_a_held_note_at_every_step_as_a_pitch_used(make_rolls: Make) -> None:
    rolls = make_rolls([(0, 0, 0, 16, 60)], steps=32)
    close(symbolic.pitches_used(rolls), 1.0)
    close(symbolic.paper_pitches_used(rolls), 16 / 2)
    close(symbolic.used_pitch_classes(rolls), 1.0)
    close(symbolic.paper_used_pitch_classes(rolls, "v2"), 16 / 2)
    close(symbolic.paper_used_pitch_classes(rolls, "v1"), 1.0)


def test_seven_neighbours_are_one_class_and_an_octave_is_two(make_rolls: Make) -> None:
    """84 pitches from C1 in 12 groups of 7: C1..F#1 are one, C2 and C3 are not."""
    neighbours = make_rolls([(0, 0, 0, 1, pitch) for pitch in range(24, 31)], lowest=24, pitches=84)
    close(symbolic.used_pitch_classes(neighbours), 7.0)
    close(symbolic.paper_used_pitch_classes(neighbours), 1.0)
    octave = make_rolls([(0, 0, 0, 4, 36), (0, 0, 0, 4, 48)], lowest=24, pitches=84)
    close(symbolic.used_pitch_classes(octave), 1.0)
    close(symbolic.paper_used_pitch_classes(octave), 2.0)


def test_v1_takes_notes_struck_again_for_one_and_cuts_them_at_the_bar(make_rolls: Make) -> None:
    struck = make_rolls([(0, 0, 0, 1, 60), (0, 0, 1, 1, 60), (0, 0, 4, 1, 60)])
    close(symbolic.qualified_notes(struck), 0.0)
    close(symbolic.paper_qualified_notes(struck), 0.5)
    tied = make_rolls([(0, 0, 15, 2, 60)], steps=32)
    close(symbolic.qualified_notes(tied), 1.0)
    close(symbolic.paper_qualified_notes(tied), 0.0)


def test_v2_finds_notes_of_one_step_qualified(make_rolls: Make) -> None:
    """Their length is counted in cells of the flattened roll: one step is 84 or 128 of them."""
    rolls = make_rolls([(0, 0, step, 1, 60 + step) for step in range(0, 16, 2)])
    close(symbolic.qualified_notes(rolls), 0.0)
    close(symbolic.paper_qualified_notes(rolls, "v2"), 1.0)


def test_v1_shifts_the_drum_pattern_until_it_fits(make_rolls: Make) -> None:
    late = make_rolls([(0, 0, step, 1, 38) for step in (1, 25, 49, 73)], "drums", steps=96, steps_per_beat=24)
    close(symbolic.drum_pattern(late), 0.0)
    close(symbolic.paper_drum_pattern(late, "v1"), 1.0)
    close(symbolic.paper_drum_pattern(late, "v2"), 0.1)
    mixed = make_rolls([(0, 0, step, 1, 38) for step in (0, 24, 49)], "drums", steps=96, steps_per_beat=24)
    close(symbolic.drum_pattern(mixed), 2 / 3)
    close(symbolic.paper_drum_pattern(mixed, "v1"), 2.3 / 3)


def test_v2_counts_cells_of_held_drums_and_lets_off_beats_pass_at_a_tenth(make_rolls: Make) -> None:
    held = make_rolls([(0, 0, 0, 2, 38)], "drums piano")
    close(symbolic.drum_pattern(held), 1.0, math.nan)
    close(symbolic.paper_drum_pattern(held, "v2"), 1.1 / 2, math.nan)
    close(symbolic.paper_drum_pattern(make_rolls([(0, 0, 1, 1, 38)], "drums"), "v2"), 0.1)
    with pytest.raises(DataError, match=r"bars of 16 steps .* v1, expected a multiple of 6"):
        symbolic.paper_drum_pattern(held, "v1")
    with pytest.raises(DataError, match=r"bars of 20 steps .* expected one of 16, 24"):
        symbolic.paper_drum_pattern(make_rolls([], "drums", beats_per_bar=5), "v2")


def test_tonal_distance_of_groups_takes_an_octave_for_something_else(make_rolls: Make) -> None:
    octave = make_rolls([(0, 0, 0, 16, 60), (0, 1, 0, 16, 48)], "piano bass", lowest=24, pitches=84)
    close(symbolic.tonal_distance(octave), 0.0)
    # Groups 36 // 7 = 5 and 24 // 7 = 3: two "semitones".
    matrix = symbolic.tonal_matrix()
    assert float(symbolic.paper_tonal_distance(octave)) == pytest.approx(float((matrix[:, 5] - matrix[:, 3]).norm()))
    neighbours = make_rolls([(0, 0, 0, 16, 24), (0, 1, 0, 16, 30)], "piano bass", lowest=24, pitches=84)
    close(symbolic.tonal_distance(neighbours), math.sqrt(8))
    close(symbolic.paper_tonal_distance(neighbours), 0.0)


def test_a_silent_beat_spoils_a_bar_in_v1_and_everything_in_v2(make_rolls: Make) -> None:
    rows = [(0, 0, 0, 12, 60), (0, 1, 0, 16, 54), (0, 0, 16, 16, 60), (0, 1, 16, 16, 60)]
    rolls = make_rolls(rows, "piano bass", steps=32, lowest=24, pitches=84)
    close(symbolic.tonal_distance(rolls), 3 * math.sqrt(8) / 7)
    close(symbolic.paper_tonal_distance(rolls, "v1"), 0.0)  # of the second bar alone
    close(symbolic.paper_tonal_distance(rolls, "v2"), math.nan)


def as_numbers(rolls: Rolls, track: int) -> np.ndarray:
    return (rolls.velocity[0, track] > 0).numpy().astype(int)


def test_pypianoroll_finds_no_distance_between_held_chords_and_sums_over_beats(make_rolls: Make) -> None:
    import pypianoroll.metrics as published

    held = make_rolls([(0, 0, 0, 48, 60), (0, 1, 0, 48, 54)], "piano bass", steps=48, steps_per_beat=12)
    close(symbolic.tonal_distance(held), math.sqrt(8))
    close(symbolic.paper_tonal_distance(held, "pypianoroll"), 0.0)
    moving = [(0, 0, step, 1, 20 + 7 * step % 90) for step in range(48)] + [(0, 1, 0, 48, 54)]
    again = [(roll, track, start + 48 * bar, *note) for bar in range(4) for roll, track, start, *note in moving]
    one, four = (
        make_rolls(rows, "piano bass", steps=steps, steps_per_beat=12) for rows, steps in ((moving, 48), (again, 192))
    )
    torch.testing.assert_close(symbolic.tonal_distance(one), symbolic.tonal_distance(four))
    for rolls in (held, one, four):
        expected = published.tonal_distance(as_numbers(rolls, 0), as_numbers(rolls, 1), 12)
        assert float(symbolic.paper_tonal_distance(rolls, "pypianoroll")) == pytest.approx(expected, abs=1e-9)
    ratio = symbolic.paper_tonal_distance(four, "pypianoroll") / symbolic.paper_tonal_distance(one, "pypianoroll")
    assert float(ratio) == pytest.approx(2.0)
    with pytest.raises(DataError, match="4 steps a beat"):
        symbolic.paper_tonal_distance(make_rolls([], "piano bass"), "pypianoroll")


def test_pypianoroll_itself_agrees(random_rolls: Make) -> None:
    import pypianoroll.metrics as published

    rolls = random_rolls(7, rolls=1, bars=2)
    one = random_rolls(8, rolls=1, bars=1)
    for track in range(3):
        roll = as_numbers(rolls, track)
        assert float(symbolic.paper_qualified_notes(rolls, "v2")[0, track]) == published.qualified_note_rate(roll, 2)
        assert float(symbolic.paper_empty_bar_rate(rolls)[0, track]) == published.empty_beat_rate(roll, 16)
        found = float(symbolic.paper_used_pitch_classes(one)[0, track])
        assert found == published.n_pitch_classes_used(as_numbers(one, track))
        assert found != float(symbolic.pitch_classes_used(one)[0, track])
