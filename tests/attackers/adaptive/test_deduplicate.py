"""Noisy copies leave, the first one stays; other items of the same kind stay."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from bench import plugins
from bench._kit import sets
from bench.api import Clips, Rolls, concatenate
from bench.errors import UsageError
from bench.notes.rolls import notes_of


def left(data: Clips | Rolls, **given: Any) -> tuple[str, ...]:
    plugin: Any = plugins.build("adaptations", "deduplicate", given)
    ids: tuple[str, ...] = plugin.transform(data, torch.Generator()).ids
    return ids


def renamed(data: Any) -> Any:
    return replace(data, ids=tuple(f"copy {name}" for name in data.ids))


def test_a_noisy_softer_copy_leaves_and_the_original_stays() -> None:
    clean = sets.tones(12)
    noise = 0.002 * torch.randn(clean.audio.shape, generator=torch.Generator().manual_seed(0)) * clean.support
    copies = renamed(clean.with_audio((0.5 * clean.audio + noise).clamp(-1, 1)))
    assert left(clean) == clean.ids
    assert left(concatenate(clean, copies), similarity=0.8) == clean.ids
    assert left(concatenate(clean, renamed(clean))) == clean.ids


def test_rolls_that_share_nearly_all_notes_are_copies() -> None:
    clean = sets.melodies(12)
    notes = notes_of(clean)
    first = notes[torch.cat([torch.ones(1, dtype=torch.bool), notes.roll.diff() > 0])]
    velocity = 0.7 * clean.velocity
    velocity[first.roll, first.track, first.start, first.pitch] = 0
    onset = clean.onset & (velocity > 0)
    copies = renamed(replace(clean, velocity=velocity, onset=onset))
    assert left(clean) == clean.ids
    assert left(concatenate(clean, copies)) == clean.ids
    assert len(left(concatenate(clean, copies), similarity=1.0)) == 24


def test_silent_items_and_single_ones_stay() -> None:
    silent = Clips.of(torch.zeros(3, 1, 100), 8000)
    assert left(silent) == silent.ids
    assert left(sets.tones(1)) == ("00000",)


@pytest.mark.parametrize("similarity", [0.0, 1.1])
def test_parameters_that_make_no_sense_are_refused(similarity: float) -> None:
    with pytest.raises(UsageError, match="expected"):
        plugins.build("adaptations", "deduplicate", {"similarity": similarity})
