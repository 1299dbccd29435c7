"""Jittered onsets: in each batch some notes begin some steps earlier or later, with their duration.

A pattern of fixed positions in the beat, such as ghosts at one place, is seen at others as well. The grid of the music
is blurred alike, which costs rhythm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Generator

from bench.api import Adaptation, Rolls, check_range
from bench.notes.note_edits import to_rolls
from bench.notes.rolls import notes_of


@dataclass(frozen=True)
class TimeJitter(Adaptation[Rolls]):
    """Move notes at random by whole steps within the music; of overlaps of one pitch, the later note ends the earlier.

    Attributes:
        steps: largest move either way.
        probability: that a note is moved, 0..1.
    """

    domains = ("midi",)
    sweep = ("probability", 0.05, 0.5)

    steps: int = 1
    probability: float = 0.2

    def __post_init__(self) -> None:
        check_range(self, "steps", least=1)
        check_range(self, "probability", least=0, most=1)

    def augment(self, batch: Rolls, rng: Generator) -> Rolls:
        notes = notes_of(batch)
        draw = torch.rand(3, len(notes), generator=rng, device=rng.device).to(batch.device)
        distance = (draw[0] * self.steps).long().clamp_max(self.steps - 1) + 1
        move = torch.where(draw[1] < 0.5, -distance, distance) * (draw[2] < self.probability)
        latest = (batch.lengths[notes.roll] - notes.duration).clamp_min(0)
        start = torch.minimum((notes.start + move).clamp_min(0), torch.maximum(latest, notes.start))
        return to_rolls(replace(notes, start=start), batch)
