"""Random velocities: each window's dominant note gets louder at random, within HarmonyCloak's bounds.

This is HarmonyCloak's mode "velocity" before any optimisation, the baseline for what optimising adds: v' =
min(127, v + delta), delta uniform between the threshold in quiet H(f), as a velocity, and the velocity M of the
window's dominant note ("paper", up to +12 dB) or M lowered by 14.5 + z dB, z its rate in Bark ("masked").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Generator

from bench.api import Defense, Knowledge, Rolls, check_range
from bench.notes.note_edits import maskers, to_rolls
from bench.notes.rolls import notes_of


@dataclass(frozen=True)
class RandomVelocity(Defense[Rolls]):
    """Raise the velocity of dominant notes at random; other notes, and all onsets and durations, stay.

    Attributes:
        bound: upper bound, "paper" (the velocity of the dominant note) or "masked" (below it by the offset).
        masking_offset_db: how far below the dominant note the bound "masked" lies, before its rate in Bark is added.
        level_127_db: dB SPL at the listener of a note of velocity 127.
        window_beats: length of a window; 0: a bar.
    """

    domains = ("midi",)

    bound: Literal["paper", "masked"] = "paper"
    masking_offset_db: float = 14.5
    level_127_db: float = 80.0
    window_beats: float = 0.0

    def __post_init__(self) -> None:
        check_range(self, "window_beats", "masking_offset_db", least=0)

    def protect(self, data: Rolls, knowledge: Knowledge, rng: Generator) -> Rolls:
        beats = self.window_beats or data.beats_per_bar
        offset, bark = (0.0, 0.0) if self.bound == "paper" else (self.masking_offset_db, 1.0)
        bounds = maskers(data, max(1, round(beats * data.steps_per_beat)), self.level_127_db, offset, bark)
        notes = notes_of(data)
        is_dominant, low, high = bounds.at_notes(notes, data.lowest)
        share = torch.rand(len(notes), generator=rng, device=rng.device).to(data.device)
        velocity = ((notes.velocity + low + (high - low) * share) * 127).round().clamp(max=127) / 127
        return to_rolls(replace(notes, velocity=torch.where(is_dominant, velocity, notes.velocity)), data)
