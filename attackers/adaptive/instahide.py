"""InstaHide: training on sums of k clips of random signs, with the mixture of their labels.

Made to hide training images from those who see the mixtures; as an augmentation it hides what is specific to one clip,
marks of a defense as well (`superpose` is its counterpart for notes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, nn

from bench.api import Adaptation, Attacker, Clips, Log, check_range
from bench.training import mixing


@dataclass(frozen=True)
class InstaHide(Adaptation[Clips]):
    """Mix each clip of a batch with others, in random shares and signs; the loss is that to the mixed label.

    It costs `mixed` passes a batch. The paper flips the sign of every pixel. A sample's sign is most of what a
    recording says, so that by default the polarity of each clip is flipped, which the waveform shows and power spectra
    do not.

    Attributes:
        mixed: clips in a mixture, at least 2; the strength: with more, each is softer. The paper has 4.
        largest: largest share of a clip, from 1 / `mixed` to 1. The paper has 0.65.
        flips: what has a sign of its own: "clip", each part of a mixture; "sample", each sample of it.
    """

    domains = ("audio",)
    requires = ("labels",)
    sweep = ("mixed", 2, 4)
    paper = "Huang, Song, Li, Arora 2020, ICML (InstaHide)"

    mixed: int = 2
    largest: float = 0.65
    flips: Literal["clip", "sample"] = "clip"

    def __post_init__(self) -> None:
        check_range(self, "mixed", least=2)
        check_range(self, "largest", least=1 / self.mixed, most=1)

    def train(
        self, attacker: Attacker[Clips], train: Clips, validation: Clips, rng: Generator, *, log: Log
    ) -> nn.Module:
        return mixing.learn(attacker, self._hidden, train, validation, rng, log)

    def _hidden(self, batch: Clips, rng: Generator) -> mixing.Mixture:
        """Mix a batch."""
        drawn = torch.rand(self.mixed, len(batch), generator=rng, device=rng.device).to(batch.device)
        shares = drawn / drawn.sum(0).clamp_min(1e-6)
        equal = 1 / self.mixed
        excess = ((self.largest - equal) / (shares.amax(0) - equal).clamp_min(1e-6)).clamp(max=1.0)
        shares = equal + (shares - equal) * excess  # the largest is `largest` at most, and the sum stays 1
        shape = (self.mixed, len(batch), 1, 1) if self.flips == "clip" else (1, *batch.audio.shape)
        signs = torch.randint(2, shape, generator=rng, device=rng.device).to(batch.device) * 2 - 1
        return mixing.mixed(batch, shares, shares[..., None, None] * signs, rng)
