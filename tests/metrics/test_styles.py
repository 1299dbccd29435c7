"""A roll belongs to a style if its nearest real rolls do; random notes and mixed tracks belong to none as often."""

import math
from dataclasses import replace

import pytest
import torch

from bench import plugins
from bench.api import Rolls
from bench.metrics.styles import style_purity
from bench.metrics.symbolic import random_notes, shuffled_tracks


@pytest.fixture(scope="module")
def band() -> Rolls:
    made: Rolls = plugins.build("datasets", "band", {"test_rolls": 200}, "small").load("test")
    return made


def test_real_music_belongs_to_a_style_and_disorder_less_often(band: Rolls) -> None:
    rng = torch.Generator().manual_seed(0)
    real = style_purity(band, band)
    assert real > 0.5, "by chance it would be 1 / 16"
    assert style_purity(band, random_notes(band, rng)) < real - 0.1
    assert style_purity(band, shuffled_tracks(band, rng)) < real - 0.1


def test_a_roll_is_no_neighbour_of_its_own(band: Rolls) -> None:
    """With labels dealt at random, neighbours agree by chance: 1 / 4 of the time for two of four styles."""
    assert band.labels is not None
    dealt = replace(band, labels=band.labels[torch.randperm(200, generator=torch.Generator().manual_seed(1))])
    assert style_purity(dealt, dealt, neighbours=2) == pytest.approx(0.25, abs=0.12)


def test_without_two_classes_there_is_no_answer(band: Rolls) -> None:
    assert math.isnan(style_purity(replace(band, labels=None), band))
    assert math.isnan(style_purity(replace(band, labels=torch.zeros(200, dtype=torch.int64)), band))
