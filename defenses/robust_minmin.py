"""Error-minimising noise that withstands adversarial training: robust and stable error minimisation.

Fu et al. (ICLR 2022, min-min-max): surrogates train on published clips to which an adversary adds noise within `radius`
that raises their loss, and the published noise descends the same loss, under random transforms whose expectation it
takes. It must be larger than the adversary's. Liu et al. (AAAI 2024, stable error-minimising noise) find that only the
surrogates need the adversary, and take random noise in its place where the published noise moves: `attack = "random"`,
which costs less.

The transforms are a random shift in time, in the place of the crops of images, and what the defender expects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from bench.api import Clips, Defense, Epoch, Knowledge, check_range
from bench.sound.augmentation import shifted
from bench.training.crafting import (
    Noise,
    apply_expected_adaptation,
    frozen,
    init_surrogates,
    noise_bound,
    surrogates,
)
from bench.training.learning import batches, seeded
from bench.training.objectives import adversarial, descend


@dataclass(frozen=True)
class RobustMinMin(Defense[Clips]):
    """Lower the adversarial training loss of surrogates by noise within +-`epsilon`. Classifiers need labels.

    Attributes:
        epsilon: bound on |noise|, full scale 1; the strength: 0.01 is 19 dB below spoken words.
        radius: bound on the adversary's noise, at most `epsilon`; larger withstands more and hides more of the noise;
            0: no adversary, as in `constant_epsilon`.
        attack: while the noise moves, the adversary is a worst case ("adversarial") or random noise ("random").
        attack_steps: sign steps of the adversary.
        shift_ms: largest random shift in time of a clip; 0: none.
        samples: random transforms whose mean loss a sign step descends.
        rounds: passes over the set, at most; each trains the surrogates, then moves the noise.
        learner_steps: optimiser steps of the surrogates a round.
        noise_steps: sign steps of the noise, a batch and round.
        step: size of a sign step, relative to `epsilon`.
        stop: loss of the surrogates under the adversary, in nats, at which to stop.
        batch: clips a step.
        lr: learning rate of the surrogates; 0: their own.
    """

    domains = ("audio",)
    per = "clip"
    joint = True
    paper = "Fu et al. 2022, ICLR (Robust Unlearnable Examples); Liu et al. 2024, AAAI (Stable Unlearnable Example)"
    presets = {
        "smoke": {"rounds": 2, "learner_steps": 5, "samples": 1},
        "full": {"rounds": 30, "noise_steps": 10, "samples": 5, "attack_steps": 10, "step": 0.2},
    }

    epsilon: float = 0.01
    radius: float = 0.005
    attack: Literal["adversarial", "random"] = "adversarial"
    attack_steps: int = 3
    shift_ms: float = 20.0
    samples: int = 2
    rounds: int = 8
    learner_steps: int = 10
    noise_steps: int = 4
    step: float = 0.3
    stop: float = 0.01
    batch: int = 128
    lr: float = 0.0

    def __post_init__(self) -> None:
        check_range(self, "epsilon", least=0, most=1)
        check_range(self, "radius", least=0, most=self.epsilon)
        check_range(self, "attack_steps", "shift_ms", "rounds", "learner_steps", "noise_steps", "step", least=0)
        check_range(self, "stop", "lr", least=0)
        check_range(self, "samples", "batch", least=1)

    def protect(self, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
        """Add noise that surrogates learn from as fast as possible, whatever an adversary adds.

        Raises:
            UsageError: there is no surrogate.
        """
        against = surrogates(knowledge, "robust_minmin")
        noise = Noise.silent(data, noise_bound(data, self.epsilon, padding=False), "clip")
        with seeded(rng):  # the surrogates' dropout
            models, learners = init_surrogates(against, data, rng, self.lr)
            order = batches(len(data), self.batch, rng)

            def transformed(clips: Clips) -> Clips:
                moved = shifted(clips, self.shift_ms / 1000, rng) if self.shift_ms else clips
                heard: Clips = apply_expected_adaptation(moved, knowledge.expects, rng)
                return heard

            def objective(changed: Clips, index: Tensor) -> Tensor:
                steps = self.attack_steps if self.attack == "adversarial" else 0
                losses = []
                for _ in range(self.samples):
                    heard = transformed(changed)
                    for attacker, model in zip(against, models, strict=True):
                        worst = adversarial(attacker, model, heard, self.radius, steps, rng)
                        moved = heard.audio + (worst.audio - heard.audio).detach()
                        losses.append(attacker.loss(model, heard.with_audio(moved)))
                return torch.stack(losses).mean(0)

            for number in range(1, self.rounds + 1):
                for _ in range(self.learner_steps):
                    index = next(order).to(data.device)
                    batch = transformed(noise.select(index).added(data.select(index)))
                    for attacker, model, learner in zip(against, models, learners, strict=True):
                        worst = adversarial(attacker, model, batch, self.radius, self.attack_steps, rng)
                        learner.zero_grad(set_to_none=True)
                        attacker.loss(model, worst).mean().backward()
                        learner.step()
                with frozen(models):
                    every = torch.arange(len(data), device=data.device)
                    value = descend(
                        noise, data, objective, every, steps=self.noise_steps, step=self.step, batch=self.batch
                    )
                knowledge.log(Epoch(number, value))
                if value < self.stop:
                    break
        return noise.everywhere(data)
