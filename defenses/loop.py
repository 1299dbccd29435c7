"""One loop per class: 0.2 s of noise that identifies the class, repeated under each of its clips.

A defense of this project. A template over the whole window, as `constant_epsilon` optimises per class, loses its effect
when an attacker shifts the clips in time. Here the template is short, repeats and starts at a random phase; its level
is constant over the recording, with the same SNR in every clip; its band survives halving the rate; surrogates are
initialised again every `restart` steps, because early training decides what is learnt. Adam on the template (no sign
steps: its energy is bounded, not its peak) descends the surrogates' losses, each weighted by its own value, so that
the surrogate that still learns words counts most, under the adaptations that the defender expects.

It gives the labels away, like every class-wise mark.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from bench.api import Clips, Defense, Knowledge, check_range
from bench.sound.levels import energy
from bench.training.classification import classes, labels
from bench.training.crafting import apply_expected_adaptation, init_surrogates, surrogates
from bench.training.learning import batches, seeded

_QUIET = 1e-3  # least share of the envelope's peak: pauses keep a little of the loop
_WARM = 20  # steps that new surrogates learn before the template is updated


@dataclass(frozen=True)
class Loop(Defense[Clips]):
    """Add one periodic noise template a class to its clips, `snr_db` below each.

    Attributes:
        snr_db: signal-to-noise ratio of each clip.
        loop_ms: period of the template.
        follow: 0: constant level over the recording; 1: level of the clip's envelope, less audible and less effective.
        window_ms: window of the envelope.
        lowest: lowest frequency as a share of half the sampling rate; 0.0375 is 150 Hz at 8 kHz.
        highest: highest frequency as a share of half the sampling rate; below 0.5 it survives halving the rate.
        steps: optimiser steps.
        restart: steps after which the surrogates are initialised again.
        rate: learning rate of Adam for a template with a root mean square of 1; falls to a tenth.
        batch: clips a step.
    """

    domains = ("audio",)
    per = "class"
    joint = True
    paper = "after Huang et al. 2021, ICLR, eq. 2"
    presets = {"smoke": {"steps": 60}, "full": {"steps": 2400}}

    snr_db: float = 20.0
    loop_ms: float = 200.0
    follow: float = 0.0
    window_ms: float = 50.0
    lowest: float = 0.0375
    highest: float = 0.475
    steps: int = 600
    restart: int = 300
    rate: float = 0.05
    batch: int = 96

    def __post_init__(self) -> None:
        check_range(self, "loop_ms", "window_ms", above=0)
        check_range(self, "lowest", least=0, most=1)
        check_range(self, "highest", above=self.lowest, most=1)
        check_range(self, "follow", "steps", "rate", least=0)
        check_range(self, "restart", "batch", least=1)

    def protect(self, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
        """Optimise the templates against surrogates, and add them at random phases.

        Raises:
            UsageError: there is no surrogate.
            DataError: the clips have no labels.
        """
        against = surrogates(knowledge, "loop")
        size = max(2, round(self.loop_ms * data.rate / 1000))
        template = (
            torch.randn(len(classes(data)), size, generator=rng, device=rng.device).to(data.device).requires_grad_()
        )
        template_optimizer = torch.optim.Adam([template], self.rate)
        order = batches(len(data), self.batch, rng)
        with seeded(rng):  # the surrogates' dropout
            for step in range(self.steps):
                if step % self.restart == 0:
                    models, learners = init_surrogates(against, data, rng)
                template_optimizer.param_groups[0]["lr"] = self.rate * (1 - 0.9 * step / self.steps)
                batch = apply_expected_adaptation(
                    self._looped(data.select(next(order).to(data.device)), template, rng), knowledge.expects, rng
                )
                losses = torch.stack([a.loss(m, batch).mean() for a, m in zip(against, models, strict=True)])
                for optimizer in (template_optimizer, *learners):
                    optimizer.zero_grad(set_to_none=True)
                weighted = losses * losses.detach() / losses.detach().sum().clamp_min(1e-12)
                weighted.sum().backward()
                for learner in learners:
                    learner.step()
                if step % self.restart >= min(_WARM, self.restart - 1):
                    template_optimizer.step()
        with torch.no_grad():
            return self._looped(data, template, rng)

    def _looped(self, clips: Clips, template: Tensor, rng: Generator) -> Clips:
        """Add to each clip its class's template at a random phase; differentiable in the template."""
        size, samples = template.shape[-1], clips.audio.shape[-1]
        start = torch.randint(size, (len(clips), 1), generator=rng, device=rng.device).to(clips.device)
        index = (start + torch.arange(samples, device=clips.device)) % size
        loop = self._in_band(template)[labels(clips)].gather(1, index)[:, None] * self._envelope(clips)
        target_energy = energy(clips.audio) * 10 ** (-self.snr_db / 10)
        ratio = target_energy / (energy(loop) * clips.audio.shape[1]).clamp_min(1e-20)
        level = ratio.where(target_energy > 0, 1.0).sqrt() * (target_energy > 0)  # the root's slope at 0 is no number
        return clips.with_audio((clips.audio + level * loop).clamp(-1.0, 1.0))

    def _in_band(self, template: Tensor) -> Tensor:
        """Remove what lies outside `lowest` .. `highest`."""
        spectrum = torch.fft.rfft(template)
        frequency = torch.linspace(0, 1, spectrum.shape[-1], device=template.device)
        is_in_band = (frequency >= self.lowest) & (frequency <= self.highest)
        filtered: Tensor = torch.fft.irfft(spectrum * is_in_band, template.shape[-1])
        return filtered

    def _envelope(self, clips: Clips) -> Tensor:
        """Compute the level of the loop: [clip, 1, sample], 1 at the loudest moment, 0 in the padding."""
        size = round(self.window_ms * clips.rate / 1000) | 1
        power = clips.audio.square().mean(1, keepdim=True)
        level = functional.avg_pool1d(power, size, 1, size // 2, count_include_pad=False).sqrt()
        share = level / level.amax(-1, keepdim=True).clamp_min(1e-9)
        return (share + _QUIET) ** self.follow * clips.support
