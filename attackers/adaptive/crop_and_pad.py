"""Random crops: a stretch of every clip is kept and put at a random place, with silence around it.

Against perturbations that depend on a place in time or on the whole clip, such as a mark at its end. `shift_gain` moves
clips by less, and cuts off only what it moves out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Generator

from bench.api import Adaptation, Clips, check_range


@dataclass(frozen=True)
class CropAndPad(Adaptation[Clips]):
    """Keep a random stretch of each recording, at a random place within the set's window; lengths are updated.

    Attributes:
        least: shortest stretch, as a share of the recording, above 0, at most 1; the strength: 0.9 trims, 0.5 may cut
            a word in half. The longest is the whole recording.
    """

    domains = ("audio",)
    sweep = ("least", 0.95, 0.5)

    least: float = 0.75

    def __post_init__(self) -> None:
        check_range(self, "least", above=0, most=1)

    def augment(self, batch: Clips, rng: Generator) -> Clips:
        samples = batch.audio.shape[-1]
        share, begin, place = torch.rand(3, len(batch), generator=rng, device=rng.device).to(batch.device)
        kept = ((self.least + (1 - self.least) * share) * batch.lengths).round().long().clamp_min(1)
        kept = torch.minimum(kept, batch.lengths)
        first = (begin * (batch.lengths - kept + 1)).long().clamp(max=samples)
        start = (place * (samples - kept + 1)).long()
        steps = torch.arange(samples, device=batch.device) - start[:, None]
        within = ((steps >= 0) & (steps < kept[:, None]))[:, None]
        source = (steps + first[:, None]).clamp(0, max(0, samples - 1))[:, None].expand_as(batch.audio)
        return replace(batch.with_audio(batch.audio.gather(-1, source) * within), lengths=start + kept)
