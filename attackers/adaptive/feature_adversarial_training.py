"""Adversarial training in the log-mel spectrum: worst gains in decibels of each band and frame.

`adversarial_training` bounds the noise on a sample, within which no filter lies: a filter adds most where the recording
is loud. Here each band of each frame may be amplified or attenuated by as much, which bounds the change of the log-mel
spectrum, and so that of cepstra, its linear transform. It goes through the waveform, so that every attacker can
be trained so, whatever it reads.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from bench.api import Adaptation, Attacker, Clips, Log, check_range
from bench.sound.headroom import limited
from bench.sound.time_filters import equalise_frames, frame_count
from bench.training import hardening


@dataclass(frozen=True)
class FeatureAdversarialTraining(Adaptation[Clips]):
    """Train on gains of bands and frames found by projected gradient ascent of the attacker's own loss.

    Gains start at random. Each clip is learned at the step with the highest loss, or unchanged where that is higher.
    It costs `steps` + 2 more passes a batch.

    Attributes:
        decibels: bound on |gain|, at least 0; the strength: 1 costs little on clean clips, 2 some accuracy, and 6 in 40
            bands leaves little to learn. Fewer `bands` and more `milliseconds` stand a larger bound.
        bands: mel bands that have gains of their own, at least 1.
        milliseconds: distance of gains in time, above 0; between them they are linear. As long as the clips: one filter
            for each clip, the worst of those of `eq_augment`.
        steps: signed gradient steps a batch, at least 1.
        step: size of a step, relative to `decibels`; 0: 2.5 / `steps`.
    """

    domains = ("audio",)
    sweep = ("decibels", 0.5, 6.0)
    paper = "Madry et al. 2018, ICLR; Tao et al. 2021, NeurIPS"

    decibels: float = 2.0
    bands: int = 40
    milliseconds: float = 16.0
    steps: int = 3
    step: float = 0.0

    def __post_init__(self) -> None:
        check_range(self, "decibels", "step", least=0)
        check_range(self, "bands", "steps", least=1)
        check_range(self, "milliseconds", above=0)

    def train(
        self, attacker: Attacker[Clips], train: Clips, validation: Clips, rng: Generator, *, log: Log
    ) -> nn.Module:
        return hardening.learn(attacker, functools.partial(self._worst, attacker, rng=rng), train, validation, rng, log)

    def _worst(self, attacker: Attacker[Clips], model: nn.Module, batch: Clips, rng: Generator) -> Clips:
        """Return the batch under the gains of the highest loss; clips without any stay as they are."""
        size = self.decibels * (self.step or 2.5 / self.steps)
        frames = frame_count(batch.audio.shape[-1], batch.rate)
        times = max(1, round(batch.audio.shape[-1] / batch.rate * 1000 / self.milliseconds))
        shape = (len(batch), self.bands, min(times, frames))
        start = torch.rand(shape, generator=rng, device=rng.device).to(batch.device)
        gains = (2 * start - 1) * self.decibels
        with hardening.evaluating(model):
            with torch.no_grad():
                worst_audio, highest_loss = batch.audio.detach(), attacker.loss(model, batch)
            for step in range(self.steps + 1):
                last = step == self.steps
                gains.requires_grad_(not last)
                with torch.set_grad_enabled(not last):
                    filtered = self._filtered(batch, gains)
                    losses = attacker.loss(model, batch.with_audio(filtered))
                if not last:
                    (gradient,) = torch.autograd.grad(losses.sum(), gains)
                    gains = (gains.detach() + size * gradient.sign()).clamp(-self.decibels, self.decibels)
                is_higher = losses.detach() > highest_loss
                worst_audio = torch.where(is_higher[:, None, None], filtered.detach(), worst_audio)
                highest_loss = torch.where(is_higher, losses.detach(), highest_loss)
        return batch.with_audio(worst_audio)

    def _filtered(self, batch: Clips, gains: Tensor) -> Tensor:
        """Apply gains [clip, band, time], dB, to the recordings."""
        frames = frame_count(batch.audio.shape[-1], batch.rate)
        in_time = functional.interpolate(gains, size=frames, mode="linear")
        return limited(equalise_frames(batch.audio, batch.rate, in_time) * batch.support)
