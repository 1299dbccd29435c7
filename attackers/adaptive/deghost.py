"""Ghost removal: notes struck again for a step are merged, and short faint notes are removed.

In a file, a ghost inside a note is note | ghost | note. Repeats that are softer than their note are merged into it; a
ghost as loud as its note stays. Genuine repeats of a sixteenth are lost as well: one clean note in 10,000 in the
chorales, one in 900 in the band and one in 45 in POP909.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator

from bench.api import Adaptation, Rolls
from bench.notes.note_edits import medians, to_rolls
from bench.notes.restrikes import remerge
from bench.notes.rolls import notes_of


@dataclass(frozen=True)
class Deghost(Adaptation[Rolls]):
    """Merge re-strikes as `bench.notes.restrikes.remerge` does, then remove notes that are as short and too soft.

    Attributes:
        longest: the most steps of a re-strike or a removed note.
        faint: share of the median velocity of the roll's track below which a short note is removed.
    """

    domains = ("midi",)

    longest: int = 1
    faint: float = 0.5

    def __post_init__(self) -> None:
        if self.longest < 1 or not 0.0 <= self.faint <= 1.0:
            raise ValueError(
                f"longest = {self.longest}, faint = {self.faint}: expected 1 or more and 0..1, as 1 and 0.5"
            )

    def transform(self, data: Rolls, rng: Generator) -> Rolls:
        notes = notes_of(remerge(data, self.longest))
        typical = medians(notes.velocity, notes.roll * len(data.programs) + notes.track)
        faint = (notes.duration <= self.longest) & (notes.velocity < self.faint * typical)
        return to_rolls(notes[~faint], data)
