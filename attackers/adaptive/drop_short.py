"""Short notes removed that stand alone, or whose pitch sounds directly before and after them.

`merge_repeats` lets such a note continue the one before it; here it is a rest. Notes that a defense adds where the
track is silent, which no merging finds, are removed as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator
from torch.nn import functional

from bench.api import Adaptation, Rolls, check_range
from bench.notes.note_edits import to_rolls
from bench.notes.restrikes import touching
from bench.notes.rolls import DRUMS, Notes, notes_of


@dataclass(frozen=True)
class DropShort(Adaptation[Rolls]):
    """Remove notes of at most `longest` steps that are enclosed by their own pitch or stand alone in their track.

    A note stands alone if no other note of its track sounds within `alone` steps of it. Drums have no durations and
    stay.

    Attributes:
        longest: steps; more removes more.
        alone: steps before the start and after the end of a note; fewer take more notes for alone.
    """

    domains = ("midi",)
    preprocess = True
    sweep = ("longest", 1, 4)

    longest: int = 1
    alone: int = 4

    def __post_init__(self) -> None:
        check_range(self, "longest", "alone", least=1)

    def transform(self, data: Rolls, rng: Generator) -> Rolls:
        notes = notes_of(data)
        begins = touching(notes)
        enclosed = begins & functional.pad(begins[1:], (0, 1))
        drums = torch.tensor([program == DRUMS for program in data.programs], device=data.device)
        short = (notes.duration <= self.longest) & ~drums[notes.track]
        return to_rolls(notes[~(short & (enclosed | _alone(notes, data, self.alone)))], data)


def _alone(notes: Notes, data: Rolls, steps: int) -> torch.Tensor:
    """Tell which notes have no other note of their track within so many steps: bool [note]."""
    sounding = (data.velocity.detach() > 0).sum(3)  # [roll, track, step]
    count = functional.pad(sounding.cumsum(2), (1, 0))
    begin, end = (notes.start - steps).clamp_min(0), (notes.end + steps).clamp_max(sounding.shape[2])
    around = count[notes.roll, notes.track, end] - count[notes.roll, notes.track, begin]
    return around == notes.duration
