"""Repeats merged whatever their loudness: touching notes become one, if either is short.

`deghost` takes back ghosts that are softer than their note. A defender who makes them as loud (`ghosts` with
`level="equal"`) escapes it, not this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Generator

from bench.api import Adaptation, Rolls
from bench.notes.rolls import notes_of
from bench.notes.velocities import sustained


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
        notes = notes_of(data)  # ordered by pitch, then time
        same = torch.stack([notes.roll, notes.track, notes.pitch]).diff(dim=1).eq(0).all(0)
        short = notes.duration <= self.longest
        joined = torch.zeros_like(short)
        joined[1:] = same & (notes.end[:-1] == notes.start[1:]) & (short[:-1] | short[1:])
        onset = torch.zeros_like(data.onset)
        first = ~joined
        onset[notes.roll[first], notes.track[first], notes.start[first], notes.pitch[first] - data.lowest] = True
        return sustained(replace(data, onset=onset), data.velocity)
