"""Thinned rolls: in each batch every note is dropped with some probability.

A model cannot rely on single notes that a defense added, since they are as often absent as all others; what is implied
by many notes survives. It is dropout of the input (Srivastava et al., JMLR 15, 2014), a note at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from bench.api import Adaptation, Rolls
from bench.notes.note_edits import to_rolls
from bench.notes.rolls import notes_of


@dataclass(frozen=True)
class ThinOut(Adaptation[Rolls]):
    """Drop notes at random; a roll of which no note would remain stays whole.

    Attributes:
        probability: that a note is dropped, 0 to under 1.
    """

    domains = ("midi",)
    sweep = ("probability", 0.05, 0.5)
    paper = "Srivastava et al. 2014, JMLR 15 (Dropout)"

    probability: float = 0.15

    def __post_init__(self) -> None:
        if not 0.0 <= self.probability < 1.0:
            raise ValueError(f"probability = {self.probability}, expected 0 to under 1, such as 0.15")

    def augment(self, batch: Rolls, rng: Generator) -> Rolls:
        notes = notes_of(batch)
        draw = torch.rand(len(notes), generator=rng, device=rng.device).to(batch.device)
        keep = draw >= self.probability
        remaining = notes.roll[keep].bincount(minlength=len(batch))
        return to_rolls(notes[keep | (remaining == 0)[notes.roll]], batch)
