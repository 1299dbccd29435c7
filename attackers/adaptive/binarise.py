"""Binary rolls above a threshold: soft notes are left out, all others get one velocity.

How MuseGAN's training data are made (booleans), with a threshold in place of "any sound at all": a note that was added
softly enough to pass unheard does not pass this. What re-strikes leave behind, a gap of one step in a held note, is
what `deghost` mends.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator

from bench.api import Adaptation, Rolls
from bench.notes.note_edits import to_rolls
from bench.notes.rolls import notes_of


@dataclass(frozen=True)
class Binarise(Adaptation[Rolls]):
    """Notes softer than `threshold` go, the others become `velocity`, both in MIDI units.

    Clean chorales and the band have no note under 30; HarmonyCloak's under the masking offset have none over 51.
    """

    domains = ("midi",)
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
        kept = notes[notes.velocity * 127 >= self.threshold - 0.5]
        kept.velocity.fill_(self.velocity / 127)
        return to_rolls(kept, data)
