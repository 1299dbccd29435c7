"""Adversarial training: every batch carries the noise that is worst for the model as it is now.

Inside the radius of the defense's own noise this bounds the harm that the noise can do (Tao et al. 2021); it costs
`steps` more passes a batch, and some accuracy on clean data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, nn

from bench import hardening
from bench.api import Attacker, Clips, Log


@dataclass(frozen=True)
class AdversarialTraining:
    """Projected gradient ascent of the attacker's own loss: `steps` signed steps within `epsilon` (full scale 1).

    Noise lies in the recording only, and starts at random. step: the size of one in `epsilon`s; 0: 2.5 / `steps`.
    """

    domains: ClassVar[tuple[str, ...]] = ("audio",)
    paper: ClassVar[str] = "Madry et al. 2018, ICLR; Tao et al. 2021, NeurIPS"

    epsilon: float = 0.01
    steps: int = 3
    step: float = 0.0

    def __post_init__(self) -> None:
        if self.epsilon < 0 or self.steps < 1 or self.step < 0:
            raise ValueError(
                f"epsilon = {self.epsilon}, steps = {self.steps}, step = {self.step}: expected at least 0, 1 and 0, "
                "such as 0.01, 3 and 0"
            )

    def train(self, attacker: Attacker, train: Any, validation: Any, rng: Generator, *, log: Log) -> nn.Module:
        def harden(attacker: Attacker, model: nn.Module, batch: Clips) -> Clips:
            return self.worst(attacker, model, batch, rng)

        return hardening.learn(attacker, harden, train, validation, rng, log)

    def worst(self, attacker: Attacker, model: nn.Module, batch: Clips, rng: Generator) -> Clips:
        """The batch with noise within `epsilon` that raises the attacker's loss of the model."""
        sound = batch.audio.detach()
        size = self.epsilon * (self.step or 2.5 / self.steps)
        start = torch.rand(sound.shape, generator=rng, device=rng.device).to(sound.device)
        noise = (2 * start - 1) * self.epsilon
        with hardening.evaluating(model):
            for _ in range(self.steps):
                heard = ((sound + noise) * batch.support).clamp(-1.0, 1.0).requires_grad_()
                (slope,) = torch.autograd.grad(attacker.loss(model, batch.with_audio(heard)).sum(), heard)
                noise = (noise + size * slope.sign()).clamp(-self.epsilon, self.epsilon)
        return batch.with_audio(((sound + noise) * batch.support).clamp(-1.0, 1.0))
