"""Notes far below the median of their track leave, whatever its level."""

from typing import Any

import pytest
import torch

from bench import plugins
from bench.api import Knowledge, Rolls
from bench.errors import UsageError
from bench.notes.rolls import Notes, grid, notes_of


def rolls(*rows: tuple[int, ...], tracks: int = 1) -> Rolls:
    """One roll from rows (track, start, duration, pitch, MIDI velocity)."""
    velocity, onset = grid(Notes.of([(0, *row[:4], row[4] / 127) for row in rows]), 1, tracks, 16, 24, 84)
    names, length = ("a",), torch.tensor([16])
    return Rolls(velocity, onset, (0,) * tracks, names, names, length, torch.tensor([120.0]), lowest=24)


def thresholded(data: Rolls, **given: Any) -> Rolls:
    plugin: Any = plugins.build("adaptations", "loudness_threshold", given)
    assert plugin.preprocess
    out: Rolls = plugin.transform(data, torch.Generator())
    return out.check("loudness_threshold")


def loud(data: Rolls) -> list[int]:
    notes = notes_of(data)
    return sorted((notes.velocity * 127).round().long().tolist())


def test_each_track_has_a_threshold_of_its_own() -> None:
    line = [(0, step, 1, 60, 100) for step in range(4)] + [(1, step, 1, 50, 30) for step in range(4)]
    data = rolls(*line, (0, 8, 2, 62, 49), (0, 10, 2, 62, 51), (1, 8, 2, 52, 14), (1, 10, 2, 52, 16), tracks=2)
    assert loud(thresholded(data)) == [16, 30, 30, 30, 30, 51, 100, 100, 100, 100]
    assert loud(thresholded(data, share=0.0)) == loud(data)
    assert loud(thresholded(data, share=1.0)) == [30] * 4 + [100] * 4


def test_many_masked_notes_leave_and_genuine_ones_stay() -> None:
    clean: Rolls = plugins.build("datasets", "band", {"domain": "midi", "rolls": 20}, "smoke").load("train")
    cloak = plugins.build("defenses", "harmonycloak", {"mode": "hold", "optimise": False})
    held = cloak.protect(clean, Knowledge(), torch.Generator().manual_seed(0))
    added = len(notes_of(held)) - len(notes_of(clean))
    assert added > 20
    assert len(notes_of(held)) - len(notes_of(thresholded(held))) > 0.3 * added  # as loud as masking lets them be
    assert len(notes_of(thresholded(clean))) == len(notes_of(clean))


def test_silence_passes() -> None:
    silent = rolls((0, 0, 1, 60, 80))
    silent = silent.with_signal(silent.velocity * 0)
    assert loud(thresholded(Rolls(**{**vars(silent), "onset": silent.onset & False}))) == []


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_parameters_that_make_no_sense_are_refused(share: float) -> None:
    with pytest.raises(UsageError, match="expected"):
        plugins.build("adaptations", "loudness_threshold", {"share": share})
