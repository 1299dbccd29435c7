"""Worst of k: of k random versions of each clip, the one with the highest loss is trained on.

Error-maximising augmentation (UEraser-max): a shortcut lowers the loss of the versions that it survives in, so training
uses the others. It costs k more forward passes per batch.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import torch
from torch import Generator, nn

from bench.api import Adaptation, Attacker, Clips, Log, check_range
from bench.sound.augmentation import amplified, equalised, noisy, shifted
from bench.training import hardening


@dataclass(frozen=True)
class WorstOf(Adaptation[Clips]):
    """Train on the version with the highest loss of `k` random versions of every clip.

    Each version is shifted, amplified, equalised and noisy at random, as by `shift_gain`, `eq_augment` and `add_noise`.

    Attributes:
        k: versions of each clip.
        milliseconds: largest shift in either direction.
        decibels: largest gain in either direction.
        equaliser_db: largest gain of the equaliser in either direction.
        lowest_db: lowest signal-to-noise ratio.
        highest_db: highest signal-to-noise ratio.
    """

    domains = ("audio",)
    sweep = ("k", 2, 5)
    paper = "Qin et al. 2023, arXiv:2303.15127"

    k: int = 3
    milliseconds: float = 100.0
    decibels: float = 6.0
    equaliser_db: float = 8.0
    lowest_db: float = 10.0
    highest_db: float = 30.0

    def __post_init__(self) -> None:
        check_range(self, "decibels", "equaliser_db", least=0)
        if self.k < 1 or self.milliseconds < 0 or self.lowest_db > self.highest_db:
            raise ValueError(
                f"k = {self.k}, milliseconds = {self.milliseconds}, {self.lowest_db}..{self.highest_db} dB: "
                "expected at least 1, at least 0, and the lower ratio first, such as 3, 100 and 10..30"
            )

    def train(
        self, attacker: Attacker[Clips], train: Clips, validation: Clips, rng: Generator, *, log: Log
    ) -> nn.Module:
        return hardening.learn(attacker, functools.partial(self._worst, attacker, rng=rng), train, validation, rng, log)

    def _worst(self, attacker: Attacker[Clips], model: nn.Module, batch: Clips, rng: Generator) -> Clips:
        """Select for each clip its version with the highest loss."""
        versions = [self._variant(batch, rng) for _ in range(self.k)]
        with hardening.evaluating(model), torch.no_grad():
            losses = torch.stack([attacker.loss(model, version) for version in versions])
        version_index = losses.nan_to_num(-torch.inf, torch.inf, -torch.inf).argmax(0)
        clip = torch.arange(len(batch), device=batch.device)
        audio = torch.stack([version.audio for version in versions])[version_index, clip]
        lengths = torch.stack([version.lengths for version in versions])[version_index, clip]
        return replace(batch.with_audio(audio), lengths=lengths)

    def _variant(self, batch: Clips, rng: Generator) -> Clips:
        """Draw a random version of every clip."""
        shifted_batch = amplified(shifted(batch, self.milliseconds / 1000, rng), self.decibels, rng)
        return noisy(equalised(shifted_batch, self.equaliser_db, 12, rng), self.lowest_db, self.highest_db, rng)
