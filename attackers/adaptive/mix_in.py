"""Other clips mixed in: each clip of a batch gets a softer one of the same batch added to it.

Perturbations of two clips lie over each other, and neither is where its clip's label says. Labels stay those of the
louder clip, unlike mixup, so that every attacker can be trained so.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from bench.api import Adaptation, Clips
from bench.sound.levels import energy


@dataclass(frozen=True)
class MixIn(Adaptation[Clips]):
    """Add another clip of the batch to each, at a level drawn for each clip.

    Attributes:
        lowest: the other clip lies at least this many decibels below ...
        highest: ... and at most this many.
    """

    domains = ("audio",)
    sweep = ("lowest", 15.0, 0.0)
    paper = "Tokozume, Ushiku, Harada 2018, ICLR (between-class learning), without its labels"

    lowest: float = 5.0
    highest: float = 15.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.lowest <= self.highest:
            raise ValueError(
                f"lowest = {self.lowest}, highest = {self.highest}: expected 0 <= lowest <= highest, such as 5 and 15"
            )

    def augment(self, batch: Clips, rng: Generator) -> Clips:
        partner = torch.randperm(len(batch), generator=rng, device=rng.device).to(batch.device)
        drawn = torch.rand(len(batch), 1, 1, generator=rng, device=rng.device).to(batch.device)
        below = self.lowest + (self.highest - self.lowest) * drawn
        level = energy(batch.audio)
        other = batch.audio[partner] * batch.support
        gain = (level / energy(other).clamp_min(1e-20)).sqrt() * 10.0 ** (-below / 20.0)
        mixture = batch.audio + other * torch.where(energy(other) > 0, gain, 0.0)
        peak = mixture.abs().amax((1, 2), keepdim=True).clamp_min(1.0)
        return batch.with_audio(mixture / peak)
