"""Adversarial training: every batch carries the noise that raises the current model's loss most.

Inside the radius of the defense's own noise this bounds the harm that the noise can do (Tao et al. 2021); it costs
`steps` more passes a batch, and some accuracy on clean data.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from bench.api import Adaptation, Attacker, Clips, Log
from bench.training import hardening


@dataclass(frozen=True)
class AdversarialTraining(Adaptation[Clips]):
    """Train on noise found by projected gradient ascent of the attacker's own loss.

    Noise lies in the recording only, and starts at random. Each clip is learned at the step with the highest loss, or
    clean where that is higher: with noise, a pause may be easier to predict.

    Attributes:
        epsilon: bound on |noise|, full scale 1.
        steps: signed gradient steps a batch.
        step: size of a step, relative to `epsilon`; 0: 2.5 / `steps`.
    """

    domains = ("audio",)
    sweep = ("epsilon", 0.0025, 0.02)
    paper = "Madry et al. 2018, ICLR; Tao et al. 2021, NeurIPS"

    epsilon: float = 0.01
    steps: int = 3
    step: float = 0.0

    def __post_init__(self) -> None:
        if self.epsilon < 0 or self.steps < 1 or self.step < 0:
            raise ValueError(
                f"epsilon = {self.epsilon}, steps = {self.steps}, step = {self.step}: expected at least 0, 1 and 0, "
                "such as 0.01, 3 and 0"
            )

    def train(
        self, attacker: Attacker[Clips], train: Clips, validation: Clips, rng: Generator, *, log: Log
    ) -> nn.Module:
        return hardening.learn(attacker, functools.partial(self._worst, attacker, rng=rng), train, validation, rng, log)

    def _worst(self, attacker: Attacker[Clips], model: nn.Module, batch: Clips, rng: Generator) -> Clips:
        """Return the batch with the noise within `epsilon` of the highest loss; clips without any stay clean."""
        sound = batch.audio.detach()
        size = self.epsilon * (self.step or 2.5 / self.steps)
        start = torch.rand(sound.shape, generator=rng, device=rng.device).to(sound.device)
        noise = (2 * start - 1) * self.epsilon
        with hardening.evaluating(model):
            worst_audio, highest_loss = sound, _losses(attacker, model, batch, sound)
            for step in range(self.steps + 1):
                noisy = ((sound + noise) * batch.support).clamp(-1.0, 1.0)
                if step == self.steps:
                    losses = _losses(attacker, model, batch, noisy)
                else:
                    noisy.requires_grad_()
                    losses = attacker.loss(model, batch.with_audio(noisy))
                    (gradient,) = torch.autograd.grad(losses.sum(), noisy)
                    noisy, losses = noisy.detach(), losses.detach()
                    noise = (noise + size * gradient.sign()).clamp(-self.epsilon, self.epsilon)
                is_higher = losses > highest_loss
                worst_audio = torch.where(is_higher[:, None, None], noisy, worst_audio)
                highest_loss = torch.where(is_higher, losses, highest_loss)
        return batch.with_audio(worst_audio)


def _losses(attacker: Attacker[Clips], model: nn.Module, batch: Clips, audio: Tensor) -> Tensor:
    """Compute the loss of the batch at other audio, without a gradient: [clip]."""
    with torch.no_grad():
        return attacker.loss(model, batch.with_audio(audio))
