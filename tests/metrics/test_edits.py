"""What was edited, by hand: louder, added, removed, split and lengthened notes, and pairs that are none."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from bench.api import Rolls
from bench.errors import DataError
from bench.metrics import edits as module
from bench.metrics.edits import edits

Make = Callable[..., Rolls]
CLEAN = [(0, 0, 0, 4, 60, 40 / 127), (0, 0, 4, 4, 60, 60 / 127), (0, 1, 0, 8, 48, 80 / 127), (0, 1, 8, 4, 50, 1.0)]


def of_one(clean: Rolls, protected: Rolls) -> dict[str, float]:
    return {name: float(values[0]) for name, values in edits(clean, protected).items()}


def test_nothing_changed_is_zero(make_rolls: Make) -> None:
    rolls = make_rolls(CLEAN, "piano bass")
    found = of_one(rolls, rolls)
    assert found == dict.fromkeys(found, 0.0)
    assert set(found) == {
        "velocity_change", "velocity_peak", "velocity_gain_db", "notes_added", "notes_removed", "notes_altered",
        "sounding_change",
    }  # fmt: skip


def test_velocities_are_in_midi_units_and_the_gain_follows_the_dls_law(make_rolls: Make) -> None:
    louder = [(*CLEAN[0][:5], 50 / 127), (*CLEAN[1][:5], 30 / 127), *CLEAN[2:]]
    found = of_one(make_rolls(CLEAN, "piano bass"), make_rolls(louder, "piano bass"))
    assert found["velocity_change"] == pytest.approx((10 + 30) / 4, abs=1e-4)
    assert found["velocity_peak"] == pytest.approx(30, abs=1e-4)
    assert found["velocity_gain_db"] == pytest.approx((40 * math.log10(50 / 40) + 40 * math.log10(30 / 60)) / 4)
    assert [found[name] for name in ("notes_added", "notes_removed", "notes_altered", "sounding_change")] == [0.0] * 4


def test_a_ghost_splits_a_note_into_one_altered_and_two_added(make_rolls: Make) -> None:
    """note | re-strike | note: the same cells sound, so only the count of notes and durations tells."""
    split = [*CLEAN[:2], (0, 1, 0, 3, 48, 80 / 127), (0, 1, 3, 1, 48, 30 / 127), (0, 1, 4, 4, 48, 80 / 127), CLEAN[3]]
    found = of_one(make_rolls(CLEAN, "piano bass"), make_rolls(split, "piano bass"))
    assert found["notes_added"] == 2 / 4
    assert found["notes_altered"] == 1 / 4
    assert found["notes_removed"] == 0.0
    assert found["sounding_change"] == 0.0
    assert found["velocity_change"] == 0.0


def test_moved_removed_and_longer_notes(make_rolls: Make) -> None:
    moved = [CLEAN[0], (0, 0, 5, 3, 60, 60 / 127), (0, 1, 0, 10, 48, 80 / 127)]
    found = of_one(make_rolls(CLEAN, "piano bass"), make_rolls(moved, "piano bass"))
    assert found["notes_added"] == 1 / 4  # it begins elsewhere
    assert found["notes_removed"] == 2 / 4
    assert found["notes_altered"] == 1 / 4
    assert found["sounding_change"] == (1 + 4 + 2) / 20


def test_notes_of_another_track_or_pitch_are_other_notes(make_rolls: Make) -> None:
    swapped = [(0, 1, 0, 4, 60, 0.9), (0, 0, 0, 4, 61, 0.9)]
    found = of_one(make_rolls(CLEAN[:1], "piano bass"), make_rolls(swapped, "piano bass"))
    assert found["notes_added"] == 2.0
    assert found["notes_removed"] == 1.0
    assert math.isnan(found["velocity_change"])
    assert math.isnan(found["velocity_peak"])
    assert math.isnan(found["velocity_gain_db"])


def test_each_roll_has_its_own_numbers_and_an_empty_one_none(make_rolls: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*CLEAN, (2, 0, 0, 4, 70, 0.5)]
    clean, protected = (make_rolls(each, "piano bass", rolls=3) for each in (rows, [*CLEAN, (1, 0, 0, 4, 70, 0.5)]))
    found = edits(clean, protected)
    assert found["notes_removed"].dtype == torch.float64
    torch.testing.assert_close(found["notes_removed"], torch.tensor([0, math.nan, 1.0]).double(), equal_nan=True)
    torch.testing.assert_close(found["notes_added"], torch.tensor([0, math.nan, 0.0]).double(), equal_nan=True)
    torch.testing.assert_close(found["sounding_change"], torch.tensor([0, math.nan, 1.0]).double(), equal_nan=True)
    torch.testing.assert_close(found["velocity_peak"], torch.tensor([0, math.nan, math.nan]).double(), equal_nan=True)
    monkeypatch.setattr(module, "_CELLS_PER_BLOCK", 1)
    torch.testing.assert_close(edits(clean, protected), found, equal_nan=True)


def test_everything_removed(make_rolls: Make) -> None:
    found = of_one(make_rolls(CLEAN, "piano bass"), make_rolls([], "piano bass"))
    assert (found["notes_removed"], found["notes_added"], found["sounding_change"]) == (1.0, 0.0, 1.0)
    assert math.isnan(found["velocity_change"])


def test_sets_that_do_not_pair(make_rolls: Make) -> None:
    rolls = make_rolls(CLEAN, "piano bass", rolls=2)
    for other in (rolls.select([1, 0]), rolls.select([0]), rolls.select([]), replace(rolls, steps_per_beat=8)):
        with pytest.raises(DataError, match="do not match"):
            edits(rolls, other)
    with pytest.raises(DataError, match="no rolls"):
        edits(rolls.select([]), rolls.select([]))
