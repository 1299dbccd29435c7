"""Soft re-strikes of held notes (ghosts), at random or fixed positions; needs no surrogate model.

The baselines of HarmonyCloak's mode "ghost". A ghost is one step of the beat's dominant note, written as a file can
hold it: note | ghost | note. In the suite midi, "fixed" has the lower training loss and denies more learning than
"random". The adaptation `deghost` removes both: it merges repeats that are softer than their note, which those of
`level="equal"` with a masking offset of 0 dB are not; `merge_repeats` merges those too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional

from bench.api import Defense, Knowledge, Rolls, check_range
from bench.notes.note_edits import maskers
from bench.notes.restrikes import split
from bench.notes.velocities import SOFTEST, beginnings, rounded


@dataclass(frozen=True)
class Ghosts(Defense[Rolls]):
    """Strike held notes again for one step (a ghost), where a beat's dominant pitch sounds and does not begin.

    Ghosts lie off the beat. Their velocity lies between the threshold in quiet H(f) and the dominant note's velocity M,
    lowered by the masking offset; where that leaves no range there is no ghost.

    Attributes:
        pattern: "random" positions, or "fixed": the same beats and the same position in each.
        density: share of the beats with a ghost; for "random", of the beats where one is possible.
        place: position of a "fixed" ghost in the beat, between 0 and 1, rounded to a step.
        level: "random" velocities, uniform between the bounds, or "equal", all at the upper one.
        masking_offset_db: how far the upper bound lies below the masking note.
        level_127_db: dB SPL at the listener of a note of velocity 127.
    """

    domains = ("midi",)

    pattern: Literal["random", "fixed"] = "random"
    density: float = 0.5
    place: float = 0.5
    level: Literal["random", "equal"] = "random"
    masking_offset_db: float = 16.0
    level_127_db: float = 80.0

    def __post_init__(self) -> None:
        check_range(self, "masking_offset_db", least=0)
        if not 0.0 < self.density <= 1.0 or not 0.0 < self.place < 1.0:
            raise ValueError(
                f"density = {self.density}, place = {self.place}: expected 0 < density <= 1 and 0 < place < 1, "
                "such as 0.5 and 0.5"
            )

    def protect(self, data: Rolls, knowledge: Knowledge, rng: Generator) -> Rolls:
        beat, steps = data.steps_per_beat, data.velocity.shape[2]
        bounds = maskers(data, beat, self.level_127_db, self.masking_offset_db)
        is_held = (data.velocity > 0) & ~beginnings(data)
        beat_index = torch.arange(steps, device=data.device) // beat
        pitch = bounds.pitch.clamp(min=0)[..., beat_index, None]  # [roll, track, step, 1]
        legal = is_held.gather(3, pitch)[..., 0] & bounds.open[..., beat_index]
        uniform, chance, loudness = (
            torch.rand(shape, generator=rng, device=rng.device).to(data.device)
            for shape in ((*legal.shape[:2], len(beat_index)), bounds.low.shape, bounds.low.shape)
        )
        ghost_steps = (
            self._random(legal, uniform, chance, beat) if self.pattern == "random" else self._fixed(legal, beat)
        )
        share = loudness if self.level == "random" else torch.ones_like(loudness)
        velocity = rounded(bounds.low + (bounds.high - bounds.low) * share).clamp(min=SOFTEST)
        ghost_cells = torch.zeros_like(is_held).scatter(3, pitch, ghost_steps[..., None])
        return split(data, ghost_cells, velocity[..., beat_index, None].expand_as(data.velocity))

    def _random(self, legal: Tensor, uniform: Tensor, chance: Tensor, beat: int) -> Tensor:
        """Choose one of a beat's legal steps off the beat, in `density` of the beats: bool [roll, track, step]."""
        is_off_beat = torch.arange(legal.shape[2], device=legal.device) % beat > 0
        score = functional.pad(uniform.add(1).mul(legal & is_off_beat), (0, -legal.shape[2] % beat))
        score = score.view(*chance.shape, beat)
        best = (score == score.amax(3, keepdim=True)) & (score > 0) & (chance < self.density)[..., None]
        ghost_steps: Tensor = best.flatten(2)[..., : legal.shape[2]]
        return ghost_steps

    def _fixed(self, legal: Tensor, beat: int) -> Tensor:
        """Choose one step of every beat, or of evenly spaced beats by `density`: bool [roll, track, step]."""
        step = torch.arange(legal.shape[2], device=legal.device)
        number = (step // beat).double()
        is_chosen_beat = ((number + 1) * self.density + 1e-9).floor() > (number * self.density + 1e-9).floor()
        step_in_beat = min(max(1, round(self.place * beat)), beat - 1)
        ghost_steps: Tensor = legal & is_chosen_beat & (step % beat == step_in_beat) & (step % beat > 0)
        return ghost_steps
