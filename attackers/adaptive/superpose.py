"""Mixed rolls: each roll of a batch is mixed with others, plus Laplace noise, as in DP-InstaHide.

Borgnia et al., "DP-InstaHide: Provably Defusing Poisoning and Backdoor Attacks with Differentially Private Data
Augmentations", arXiv:2103.02079: mixing k examples and adding Laplace noise hides what is specific to one of them. For
rolls, the mixture holds the notes of all k, each at 1 / k of its velocity as pixels are; a model which reads no
velocities sees notes that do not belong together, which costs quality as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Generator

from bench.api import Adaptation, Rolls
from bench.notes.velocities import SOFTEST, beginnings, rounded, sustained


@dataclass(frozen=True)
class Superpose(Adaptation[Rolls]):
    """Mix rolls of a batch and add noise to the velocities.

    Attributes:
        mixed: how many rolls are mixed into each.
        laplace: scale of the Laplace noise, MIDI velocities.
    """

    domains = ("midi",)
    sweep = ("mixed", 2, 4)
    paper = "Borgnia et al. 2021, arXiv:2103.02079"

    mixed: int = 2
    laplace: float = 8.0

    def __post_init__(self) -> None:
        if self.mixed < 1 or self.laplace < 0:
            raise ValueError(
                f"mixed = {self.mixed}, laplace = {self.laplace}: expected 1 or more, and 0 or more, such as 2 and 8"
            )

    def augment(self, batch: Rolls, rng: Generator) -> Rolls:
        """Return the batch with every roll mixed with others; what lies beyond a roll's own length is silent."""
        velocity, onset = batch.velocity / self.mixed, beginnings(batch)
        for _ in range(self.mixed - 1):
            partner = torch.randperm(len(batch), generator=rng, device=rng.device).to(batch.device)
            velocity = velocity + batch.velocity[partner] / self.mixed * batch.support
            onset = onset | (beginnings(batch)[partner] & batch.support)
        uniform = torch.rand(velocity.shape, generator=rng, device=rng.device).to(batch.device) - 0.5
        noise = -uniform.sign() * (1 - 2 * uniform.abs()).clamp(min=1e-6).log() * self.laplace / 127
        mixture = replace(batch, velocity=velocity, onset=onset)
        return sustained(mixture, rounded((velocity + noise).clamp(min=SOFTEST)))
