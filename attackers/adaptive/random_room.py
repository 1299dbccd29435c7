"""Random reverberation: every clip of a batch is heard in a room of its own.

The response is noise that decays exponentially (Moorer 1979; Polack 1988): every frequency of every clip gets another
gain and phase. Against perturbations that are filters or echoes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from bench.api import Adaptation, Clips, check_range
from bench.sound.headroom import as_loud
from bench.sound.rooms import decaying_noise, reverberant


@dataclass(frozen=True)
class RandomRoom(Adaptation[Clips]):
    """Convolve each clip with a random response whose direct path is not delayed; levels and lengths stay.

    The reverberation time is drawn uniformly in its logarithm, the direct-to-reverberant ratio uniformly in decibels.

    Attributes:
        shortest: shortest reverberation time (decay by 60 dB), seconds, above 0.
        longest: longest one, at most 5.
        lowest_db: lowest ratio of direct to reverberant energy; the strength: 12 is hardly heard, 0 is a live room.
        highest_db: highest ratio.
    """

    domains = ("audio",)
    sweep = ("longest", 0.2, 1.0)
    paper = "Moorer 1979, Computer Music Journal (About this reverberation business)"

    shortest: float = 0.1
    longest: float = 0.6
    lowest_db: float = 0.0
    highest_db: float = 12.0

    def __post_init__(self) -> None:
        check_range(self, "shortest", "longest", above=0, most=5)
        if self.shortest > self.longest or self.lowest_db > self.highest_db:
            raise ValueError(
                f"shortest = {self.shortest}, longest = {self.longest}, lowest_db = {self.lowest_db}, highest_db = "
                f"{self.highest_db}: expected the lower first, such as 0.1 and 0.6, 0 and 12"
            )

    def augment(self, batch: Clips, rng: Generator) -> Clips:
        drawn = torch.rand(2, len(batch), generator=rng, device=rng.device).to(batch.device)
        seconds = self.shortest * (self.longest / self.shortest) ** drawn[0]
        ratios = self.lowest_db + (self.highest_db - self.lowest_db) * drawn[1]
        responses = decaying_noise(seconds, ratios, batch.rate, rng)
        return batch.with_audio(as_loud(reverberant(batch.audio, responses) * batch.support, batch.audio))
