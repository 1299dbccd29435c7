"""Adversarial examples as training data: noise that misleads a model that has learnt the clean clips.

Fowl et al., "Adversarial Examples Make Strong Poisons", NeurIPS 2021. Targeted, the noise makes each clip look like the
class after its own, and whoever trains on it learns the wrong features for every class; untargeted, it only leads away
from the true one. One step of the whole epsilon is FGSM (Goodfellow et al. 2015), several are PGD. Several surrogates
are several sources, whose mean loss is followed.
"""

from dataclasses import dataclass

from torch import Generator

from bench.api import Clips, Defense, Knowledge
from bench.training.crafting import Descent, Noise, mislead, noise_bound, surrogates


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
        noise = Noise.silent(data, noise_bound(data, self.epsilon, padding=self.padding), "clip")
        descent = Descent(self.steps, self.step, self.batch)
        mislead(noise, data, against, rng, descent, knowledge.expects, shift=self.shift if self.targeted else 0)
        return noise.everywhere(data)
