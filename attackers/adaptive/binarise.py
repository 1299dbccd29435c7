"""Binary rolls above a threshold: soft notes are removed, all others get one velocity.

This is how MuseGAN's training data are made (booleans), with a threshold in place of "any sound at all", which removes
notes that were added softly enough to be masked. A re-strike leaves a gap of one step in a held note; `deghost` closes
such gaps.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator

from bench.api import Adaptation, Rolls
from bench.notes.note_edits import to_rolls
from bench.notes.rolls import notes_of


@dataclass(frozen=True)
class Binarise(Adaptation[Rolls]):
    """Remove soft notes and set all others to one velocity.

    Clean chorales and the band have no note below 30; HarmonyCloak's under the masking offset have none above 51.

    Attributes:
        threshold: MIDI velocity below which a note is removed.
        velocity: MIDI velocity of all others.
    """

    domains = ("midi",)
    sweep = ("threshold", 10, 60)
    paper = "Dong et al. 2018, AAAI"

    threshold: int = 30
    velocity: int = 64

    def __post_init__(self) -> None:
        if not 1 <= self.velocity <= 127 or not 0 <= self.threshold <= 127:
            raise ValueError(
                f"threshold = {self.threshold}, velocity = {self.velocity}: expected 0..127 and 1..127, as 30 and 64"
            )

    def transform(self, data: Rolls, rng: Generator) -> Rolls:
        notes = notes_of(data)
        loud_notes = notes[notes.velocity * 127 >= self.threshold - 0.5]
        loud_notes.velocity.fill_(self.velocity / 127)
        return to_rolls(loud_notes, data)
