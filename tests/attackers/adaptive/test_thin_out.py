"""Notes are dropped at the given rate, anew in each batch, and never all of a roll."""

from typing import Any

import pytest
import torch

from bench import plugins
from bench._kit import sets
from bench.api import Rolls
from bench.errors import UsageError
from bench.notes.rolls import notes_of


def melodies(items: int = 24) -> Rolls:
    return sets.melodies(items)


def thinned(data: Rolls, seed: int = 0, **given: Any) -> Rolls:
    plugin: Any = plugins.build("adaptations", "thin_out", given)
    out: Rolls = plugin.augment(data, torch.Generator().manual_seed(seed))
    return out.check("thin_out")


def test_the_share_that_leaves_is_the_probability() -> None:
    data = melodies()
    for probability in (0.0, 0.15, 0.5):
        made = thinned(data, probability=probability)
        share = 1 - len(notes_of(made)) / len(notes_of(data))
        assert share == pytest.approx(probability, abs=0.04)
        assert ((made.velocity > 0) <= (data.velocity > 0)).all(), "nothing is added"


def test_what_remains_is_unchanged_and_every_draw_differs() -> None:
    data = melodies()
    one, other = thinned(data), thinned(data, seed=1)
    assert not torch.equal(one.velocity, other.velocity)
    sounds = one.velocity > 0
    assert torch.equal(one.velocity[sounds], data.velocity[sounds])


def test_no_roll_loses_all_its_notes() -> None:
    made = thinned(melodies(), probability=0.999)
    assert (made.velocity.flatten(1) > 0).any(1).all()


@pytest.mark.parametrize("probability", [-0.1, 1.0])
def test_parameters_that_make_no_sense_are_refused(probability: float) -> None:
    with pytest.raises(UsageError, match="expected"):
        plugins.build("adaptations", "thin_out", {"probability": probability})
