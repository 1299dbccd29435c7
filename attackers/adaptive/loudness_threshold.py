"""Soft notes removed: those below a share of the median velocity of their track.

Masked notes are much softer than the music around them. The threshold follows each track, and other velocities stay;
`binarise` has one threshold for all and makes all notes equally loud.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator

from bench.api import Adaptation, Rolls, check_range
from bench.notes.note_edits import medians, to_rolls
from bench.notes.rolls import notes_of


@dataclass(frozen=True)
class LoudnessThreshold(Adaptation[Rolls]):
    """Remove notes softer than `share` of the median velocity of the notes of their track in their roll.

    The median counts the published notes, those that a defense added among them.

    Attributes:
        share: 0..1; more removes louder notes. At 1 nearly half of a track's notes leave.
    """

    domains = ("midi",)
    preprocess = True
    sweep = ("share", 0.2, 0.9)

    share: float = 0.5

    def __post_init__(self) -> None:
        check_range(self, "share", least=0, most=1)

    def transform(self, data: Rolls, rng: Generator) -> Rolls:
        notes = notes_of(data)
        typical = medians(notes.velocity, notes.roll * len(data.programs) + notes.track)
        return to_rolls(notes[notes.velocity >= self.share * typical], data)
