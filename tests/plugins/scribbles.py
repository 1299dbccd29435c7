"""Everything at once: cells fall silent, sound, are struck anew and change their velocity, each by chance."""

from dataclasses import dataclass, replace

import torch

from bench.api import Defense, Knowledge, Rolls


@dataclass(frozen=True)
class Scribbles(Defense[Rolls]):
    domains = ("midi",)

    share: float = 0.1

    def protect(self, data: Rolls, knowledge: Knowledge, rng: torch.Generator) -> Rolls:
        shape = data.velocity.shape
        louder, silent, struck = (torch.rand(shape, generator=rng) < self.share for _ in range(3))
        # New notes lie on pitches that the piece uses, next to its own.
        near = (data.velocity > 0).any(2, keepdim=True) & data.support
        random = (torch.rand(shape, generator=rng) * 126 + 1).round() / 127
        velocity = torch.where(louder & near, random, data.velocity).masked_fill(silent, 0.0)
        return replace(data, velocity=velocity, onset=(data.onset ^ struck) & (velocity > 0))
