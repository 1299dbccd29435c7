"""A code in the velocities: each encodes the pitch class of the next note, within a few MIDI units.

A shortcut for models that read velocities: v' is the velocity nearest to v whose remainder by `modulus` is the pitch
class of the next note, plus a key. A model that learns the code need not learn music, and clean music has no such
code. It needs no surrogate, changes no onset, pitch or duration, and changes loudness by about one decibel; models
that do not read velocities are unaffected.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Generator

from bench.api import Defense, Knowledge, Rolls
from bench.notes.note_edits import to_rolls
from bench.notes.rolls import notes_of


@dataclass(frozen=True)
class Lookahead(Defense[Rolls]):
    """Encode in each velocity the pitch class of the next note in the order of onset, track, pitch.

    The last note of a roll keeps its velocity.

    Attributes:
        modulus: of the code, 12..64; velocities change by up to half of it.
        key: is added to the pitch class.
    """

    domains = ("midi",)
    deterministic = True

    modulus: int = 17
    key: int = 0

    def __post_init__(self) -> None:
        if not 12 <= self.modulus <= 64:
            raise ValueError(f"modulus = {self.modulus}, expected 12..64, nearest is {min(max(self.modulus, 12), 64)}")

    def protect(self, data: Rolls, knowledge: Knowledge, rng: Generator) -> Rolls:
        notes = notes_of(data)
        _, tracks, steps, _ = data.velocity.shape
        order = (((notes.roll * steps + notes.start) * tracks + notes.track) * 128 + notes.pitch).argsort()
        notes = notes[order]
        has_next = notes.roll[1:] == notes.roll[:-1]
        code = (notes.pitch[1:] % 12 + self.key) % self.modulus
        original = (notes.velocity[:-1] * 127).round().long().clamp(1, 127)
        half = self.modulus // 2
        coded_velocity = original + (code - original + half) % self.modulus - half
        coded_velocity = torch.where(
            coded_velocity < 1,
            coded_velocity + self.modulus,
            torch.where(coded_velocity > 127, coded_velocity - self.modulus, coded_velocity),
        )
        velocity = notes.velocity.clone()
        velocity[:-1] = torch.where(has_next, coded_velocity / 127, velocity[:-1])
        return to_rolls(replace(notes, velocity=velocity), data)
