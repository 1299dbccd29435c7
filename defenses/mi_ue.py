"""Noise that makes the features of a class alike, so that they say less of the recordings.

Zhu et al. (ICLR 2026) bound the mutual information between clean and published features by the covariance of the
published ones within a class, and lower that by a larger cosine similarity within classes. As in `constant_epsilon`,
surrogates learn from the published clips and the noise moves, in turns. Written from the abstract and reviews of the
paper: classes are kept apart by a contrastive form, in which the similarity to clips of the same class counts relative
to that of all clips of the batch (Khosla et al. 2020), as a mean over the surrogates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from bench.api import Clips, Defense, Epoch, Knowledge, check_range
from bench.training.classification import labels
from bench.training.crafting import (
    Noise,
    apply_expected_adaptation,
    frozen,
    init_surrogates,
    noise_bound,
    surrogates,
)
from bench.training.learning import batches, seeded
from bench.training.objectives import descend, features


@dataclass(frozen=True)
class MiUe(Defense[Clips]):
    """Raise the cosine similarity of features within each class by noise within +-`epsilon`. The clips need labels.

    Attributes:
        epsilon: bound on |noise|, full scale 1; the strength: 0.01 is 19 dB below spoken words.
        temperature: of the similarities, above 0; lower looks at the most similar clips only.
        rounds: passes over the set; each trains the surrogates, then moves the noise.
        learner_steps: optimiser steps of the surrogates a round.
        noise_steps: sign steps of the noise, a batch and round.
        step: size of a sign step, relative to `epsilon`.
        batch: clips a step; similarities are taken between the clips of a batch.
        lr: learning rate of the surrogates; 0: their own.
    """

    domains = ("audio",)
    per = "clip"
    joint = True
    paper = "Zhu, Miao, Dong, Gao 2026, ICLR (Why Do Unlearnable Examples Work: Mutual Information)"
    presets = {"smoke": {"rounds": 2}, "full": {"rounds": 30, "noise_steps": 20, "step": 0.1}}

    epsilon: float = 0.01
    temperature: float = 0.2
    rounds: int = 8
    learner_steps: int = 20
    noise_steps: int = 10
    step: float = 0.2
    batch: int = 128
    lr: float = 0.0

    def __post_init__(self) -> None:
        check_range(self, "epsilon", least=0, most=1)
        check_range(self, "temperature", above=0)
        check_range(self, "rounds", "learner_steps", "noise_steps", "step", "lr", least=0)
        check_range(self, "batch", least=2)

    def protect(self, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
        """Add noise that makes classes compact.

        Raises:
            UsageError: there is no surrogate.
            DataError: the clips have no labels.
        """
        label = labels(data)
        against = surrogates(knowledge, "mi_ue")
        noise = Noise.silent(data, noise_bound(data, self.epsilon, padding=False), "clip")
        with seeded(rng):  # the surrogates' dropout
            models, learners = init_surrogates(against, data, rng, self.lr)
            order = batches(len(data), self.batch, rng)

            def objective(changed: Clips, index: Tensor) -> Tensor:
                heard = apply_expected_adaptation(changed, knowledge.expects, rng)
                spaces = [features(a, m, heard)[0] for a, m in zip(against, models, strict=True)]
                return torch.stack([_spread(space, label[index], self.temperature) for space in spaces]).mean(0)

            for number in range(1, self.rounds + 1):
                for _ in range(self.learner_steps):
                    index = next(order).to(data.device)
                    published = noise.select(index).added(data.select(index))
                    batch = apply_expected_adaptation(published, knowledge.expects, rng)
                    for attacker, model, learner in zip(against, models, learners, strict=True):
                        learner.zero_grad(set_to_none=True)
                        attacker.loss(model, batch).mean().backward()
                        learner.step()
                with frozen(models):
                    shuffled = torch.randperm(len(data), generator=rng, device=rng.device)
                    value = descend(
                        noise, data, objective, shuffled, steps=self.noise_steps, step=self.step, batch=self.batch
                    )
                knowledge.log(Epoch(number, value))
        return noise.everywhere(data)


def _spread(values: Tensor, label: Tensor, temperature: float) -> Tensor:
    """Return how little each clip resembles its class, relative to all others: [clip], 0 where it is alone in a batch.

    It is the negative logarithm of the share that clips of the same class have in the exponentials of the similarities.
    """
    unit = functional.normalize(values, dim=1)
    similarity = unit @ unit.T / temperature
    itself = torch.eye(len(label), dtype=torch.bool, device=label.device)
    same = (label[:, None] == label) & ~itself
    alone = ~same.any(1)
    everyone = similarity.masked_fill(itself & ~alone[:, None], -torch.inf).logsumexp(1)
    alike = similarity.masked_fill(~same & ~alone[:, None], -torch.inf).logsumexp(1)
    return torch.where(alone, 0.0, everyone - alike)
