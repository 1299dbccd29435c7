"""Random polarity: some clips of every batch are multiplied by -1, which nobody hears.

Against additive perturbations that a model of the waveform reads by their sign. Power spectra do not change.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from bench.api import Adaptation, Clips, check_range


@dataclass(frozen=True)
class FlipPolarity(Adaptation[Clips]):
    """Flip the sign of all samples of a clip with a given probability.

    Attributes:
        probability: of a flip, 0..1; the strength: 0.5 leaves no information in the sign.
    """

    domains = ("audio",)
    sweep = ("probability", 0.1, 0.5)

    probability: float = 0.5

    def __post_init__(self) -> None:
        check_range(self, "probability", least=0, most=1)

    def augment(self, batch: Clips, rng: Generator) -> Clips:
        flipped = torch.rand(len(batch), 1, 1, generator=rng, device=rng.device).to(batch.device) < self.probability
        return batch.with_audio(torch.where(flipped, -batch.audio, batch.audio))
