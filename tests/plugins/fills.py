"""A defense that fills the padding, if it says so."""

from dataclasses import dataclass, replace

import torch

from bench.api import Clips, Defense, Knowledge


@dataclass(frozen=True)
class Fills(Defense[Clips]):
    padding: bool = True

    def protect(self, data: Clips, knowledge: Knowledge, rng: torch.Generator) -> Clips:
        noise = 0.01 * torch.randn(data.audio.shape, generator=rng)
        full = torch.full_like(data.lengths, data.audio.shape[-1])
        return replace(data.with_audio((data.audio + noise).clamp(-1, 1)), lengths=full)
