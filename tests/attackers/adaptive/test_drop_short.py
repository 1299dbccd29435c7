"""Short notes that are enclosed or alone leave; all others stay."""

from typing import Any

import pytest
import torch

from bench import plugins
from bench.api import Rolls
from bench.errors import UsageError
from bench.notes.restrikes import split
from bench.notes.rolls import DRUMS, Notes, grid, notes_of


def rolls(*rows: tuple[int, ...], programs: tuple[int, ...] = (0,), steps: int = 32) -> Rolls:
    """One roll from rows (track, start, duration, pitch)."""
    notes = Notes.of([(0, *row, 80 / 127) for row in rows])
    velocity, onset = grid(notes, 1, len(programs), steps, 24, 84)
    return Rolls(velocity, onset, programs, ("a",), ("a",), torch.tensor([steps]), torch.tensor([120.0]), lowest=24)


def left(data: Rolls, **given: Any) -> list[tuple[int, ...]]:
    plugin: Any = plugins.build("adaptations", "drop_short", given)
    assert plugin.preprocess
    notes = notes_of(plugin.transform(data, torch.Generator()).check("drop_short"))
    columns = (notes.track, notes.start, notes.duration, notes.pitch)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def test_a_short_note_between_notes_of_its_pitch_leaves() -> None:
    around = [(0, 0, 2, 60), (0, 3, 3, 60)]
    assert left(rolls(*around, (0, 2, 1, 60))) == around
    other = [*around, (0, 2, 1, 62)]
    assert left(rolls(*other)) == sorted(other)
    longer = [(0, 0, 2, 60), (0, 2, 2, 60), (0, 4, 3, 60)]
    assert left(rolls(*longer)) == longer
    assert left(rolls(*longer), longest=2) == [longer[0], longer[2]]


def test_a_short_note_far_from_all_others_of_its_track_leaves() -> None:
    line = [(0, 0, 2, 60), (0, 2, 2, 62), (1, 8, 4, 48), (1, 12, 4, 50)]
    assert left(rolls(*line, (0, 10, 1, 64), programs=(0, 0))) == line
    near = [*line, (0, 7, 1, 64)]  # a rest of three steps before it
    assert left(rolls(*near, programs=(0, 0))) == sorted(near)
    assert left(rolls(*near, programs=(0, 0)), alone=3) == line


def test_a_run_of_short_notes_and_drums_stay() -> None:
    run = [(0, step, 1, 60 + step) for step in range(8)]
    drums = [(1, 0, 1, 36), (1, 16, 1, 36)]
    assert left(rolls(*run, *drums, programs=(0, DRUMS))) == sorted([*run, *drums])


def test_ghosts_inside_notes_become_rests() -> None:
    clean = rolls((0, 0, 4, 60), (0, 4, 4, 62))
    where = torch.zeros_like(clean.onset)
    where[:, :, 1::4] = True
    assert left(split(clean, where, clean.velocity)) == [(0, 0, 1, 60), (0, 2, 2, 60), (0, 4, 1, 62), (0, 6, 2, 62)]


def test_music_loses_little() -> None:
    music: Rolls = plugins.build("datasets", "band", {"domain": "midi", "rolls": 20}, "smoke").load("train")
    assert len(left(music)) > 0.99 * len(notes_of(music))


@pytest.mark.parametrize("given", [{"longest": 0}, {"alone": 0}])
def test_parameters_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        plugins.build("adaptations", "drop_short", given)
