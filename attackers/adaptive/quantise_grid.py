"""A coarser grid: notes begin and end on every second step, as by a sequencer's quantise function.

Ghosts of one step are merged with the note that they are in, or become notes like others; small differences of time are
removed. The price is that genuine sixteenths are lost as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Generator

from bench.api import Adaptation, Rolls
from bench.notes.note_edits import to_rolls
from bench.notes.rolls import notes_of


@dataclass(frozen=True)
class QuantiseGrid(Adaptation[Rolls]):
    """Move starts and ends of notes to the nearest multiple of some steps, halves to the later one.

    No note gets shorter than that, and none starts after the end of the music.

    Attributes:
        steps: steps of the coarser grid.
    """

    domains = ("midi",)
    sweep = ("steps", 2, 4)

    steps: int = 2

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps = {self.steps}, expected 1 or more, such as 2")

    def transform(self, data: Rolls, rng: Generator) -> Rolls:
        notes, size = notes_of(data), self.steps
        start, end = ((edge + size // 2) // size * size for edge in (notes.start, notes.end))
        start = torch.minimum(start, (data.lengths[notes.roll] - 1) // size * size)
        return to_rolls(replace(notes, start=start, duration=torch.maximum(end - start, start.new_tensor(size))), data)
