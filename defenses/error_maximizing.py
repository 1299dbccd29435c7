"""Adversarial examples as training data: noise that misleads a model that has learnt the clean clips.

Fowl et al., "Adversarial Examples Make Strong Poisons", NeurIPS 2021. Targeted, the noise makes each clip look like the
class after its own, and whoever trains on it learns the wrong features for every class; untargeted, it only leads away
from the true one. One step of the whole epsilon is FGSM (Goodfellow et al. 2015), several are PGD. Several surrogates
are several sources, whose mean loss is followed.
"""

from dataclasses import dataclass

from torch import Generator

from bench.api import Clips, Defense, Knowledge
from bench.training.crafting import Descent, Noise, noise_bound, perturb, shifted_labels, surrogates, train_surrogates


@dataclass(frozen=True)
class ErrorMaximizing(Defense[Clips]):
    """max over |noise| <= epsilon of the loss of pretrained models, or min of that of a wrong class."""

    domains = ("audio",)
    per = "clip"
    joint = True
    paper = "Fowl et al. 2021, NeurIPS"
    presets = {"smoke": {"steps": 5}, "full": {"steps": 100, "step": 0.05}}

    epsilon: float = 0.01
    targeted: bool = True
    shift: int = 1  # the target is the class that many places on
    steps: int = 12  # 1, with step = 1, is FGSM
    step: float = 0.2  # of epsilon
    padding: bool = False
    batch: int = 128

    def protect(self, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
        """Raises `UsageError` without a surrogate, `DataError` where targets are asked for and there are no labels."""
        against = surrogates(knowledge, "error_maximizing")
        models = train_surrogates(against, data, rng)
        noise = Noise.silent(data, noise_bound(data, self.epsilon, padding=self.padding), "clip")
        targeted = self.targeted and self.shift % max(1, len(data.classes)) != 0
        perturb(
            noise, data, against, models, rng,
            Descent(self.steps, self.step, self.batch, upwards=not targeted), expects=knowledge.expects,
            target=(lambda clips: shifted_labels(clips, self.shift)) if targeted else (lambda clips: clips),
        )  # fmt: skip
        return noise.everywhere(data)
