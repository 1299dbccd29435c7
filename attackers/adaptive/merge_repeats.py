"""Repeats merged whatever their loudness: touching notes become one, if either is short.

`deghost` takes back ghosts that are softer than their note. A defender who makes them as loud (`ghosts` with
`level="equal"`) escapes it, not this.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator
from torch.nn import functional

from bench.api import Adaptation, Rolls
from bench.notes.restrikes import merged, touching
from bench.notes.rolls import notes_of


@dataclass(frozen=True)
class MergeRepeats(Adaptation[Rolls]):
    """Merge notes of one pitch that touch, where either lasts at most `longest` steps; the first gives the velocity.

    Genuine repeats of that length without a gap are lost as well.

    Attributes:
        longest: steps.
    """

    domains = ("midi",)
    preprocess = True

    longest: int = 1

    def __post_init__(self) -> None:
        if self.longest < 1:
            raise ValueError(f"longest = {self.longest}, expected 1 or more, nearest is 1")

    def transform(self, data: Rolls, rng: Generator) -> Rolls:
        notes = notes_of(data)
        short = notes.duration <= self.longest
        beside = functional.pad(short[:-1], (1, 0))  # whether the note before is short
        return merged(data, notes, touching(notes) & (short | beside))
