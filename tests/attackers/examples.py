"""Rolls and generators that the tests of the symbolic attackers share."""

from __future__ import annotations

from torch import Generator

from bench._kit import sets
from bench.api import Rolls


def rng(seed: int = 0) -> Generator:
    """Return a seeded generator."""
    return Generator().manual_seed(seed)


def rolls(items: int = 4) -> Rolls:
    """Return rolls of 4 bars, every third of them whole and the others of 2."""
    data = sets.example("midi", "several", items)
    assert isinstance(data, Rolls)
    return data
