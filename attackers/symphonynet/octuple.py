"""OctupleMIDI tokens of rolls: a note is one token that holds everything about itself.

Zeng et al., "MusicBERT", Findings of ACL 2021, section 3.1: time signature, tempo, measure, position, instrument,
pitch, duration, velocity. Other than there, and for the same transformer as MMR: a note states by how many measures it
is later than the one before it ("advance"), since windows begin anywhere, and its track, since two tracks may have one
instrument; velocities are those of `Tokens`, read only if the attacker reads them. Metre and tempo are one a roll: they
are read and not predicted, so that a note's nats are of the same things as in MMR. Notes of a position stand in order
of pitch, whatever their tracks are.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from bench.api import Rolls

from .encoding import INSTRUMENTS, LONGEST, PITCHES, Tokens, encodable_notes, sequences

ADVANCES = 16  # measures; later notes have 15
METRES = 32  # beats a measure
TEMPI = 49  # twelve to the doubling, from 16 beats a minute on
FIELDS = ("advance", "position", "pitch", "duration", "track", "instrument")  # those that are predicted


def encoded(rolls: Rolls) -> Tokens:
    """Encode rolls as octuples, one token a note; differentiable in velocities."""
    bar, notes = rolls.steps_per_beat * rolls.beats_per_bar, encodable_notes(rolls)
    program = torch.tensor(rolls.programs, device=rolls.device)[notes.track]
    major = (notes.roll * rolls.velocity.shape[2] + notes.start) * PITCHES + notes.pitch
    minor = (notes.duration * INSTRUMENTS + program) * len(rolls.programs) + notes.track
    tokens = sequences(
        len(rolls), bar, notes.roll, notes.start, (major, minor),
        fields={
            **{name: values[notes.roll] for name, values in of_roll(rolls).items()},
            "position": notes.start % bar,
            "pitch": notes.pitch,
            "duration": notes.duration - 1,
            "track": notes.track,
            "instrument": program,
        },
        velocity=notes.velocity,
        notes=torch.ones_like(notes.roll),
    )  # fmt: skip
    return Tokens(**{**vars(tokens), "fields": {**tokens.fields, "advance": _advances(tokens)}})


def of_roll(rolls: Rolls) -> dict[str, Tensor]:
    """Return the fields that all notes of a roll share: "metre" and "tempo", int64 [roll] each."""
    tempo = ((rolls.tempo / 16).log2() * 12).round().clamp(0, TEMPI - 1).long()
    return {"metre": torch.full_like(tempo, min(rolls.beats_per_bar, METRES - 1)), "tempo": tempo}


def vocabulary(bar: int, tracks: int) -> dict[str, int]:
    """Return how many values each field has, for measures of `bar` steps in `tracks` tracks."""
    return {
        "metre": METRES, "tempo": TEMPI, "advance": ADVANCES, "position": bar, "pitch": PITCHES,
        "duration": LONGEST, "track": tracks, "instrument": INSTRUMENTS,
    }  # fmt: skip


def _advances(tokens: Tokens) -> Tensor:
    """Count the measures from the previous note to each, at most 15: int64 [roll, token]."""
    previous = functional.pad(tokens.measure, (1, 0))[:, :-1]
    return torch.where(tokens.inside, (tokens.measure - previous).clamp(max=ADVANCES - 1), -1)
