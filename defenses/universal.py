"""Universal perturbation: one noise for all clips, or one a class, that misleads trained models.

Universal adversarial perturbations (Moosavi-Dezfooli et al., CVPR 2017; of audio classifiers, Abdoli et al. 2019), by
sign steps on random batches in place of the published per-clip search. A single
perturbation carries no information about the class, so it is the control for a class-wise one.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Generator

from bench.api import Clips, Defense, Knowledge, check_range
from bench.training.crafting import Descent, Noise, mislead, noise_bound, surrogates


@dataclass(frozen=True)
class Universal(Defense[Clips]):
    """Raise the loss of models trained on the clean clips by one noise within +-epsilon for all, or for each class.

    Attributes:
        epsilon: bound on |noise|, full scale 1.
        per: one noise for the whole "set", or for each "class".
        targeted: lower the loss of the next class, which only noise for one class can do.
        steps: sign steps, one batch each.
        step: size of a sign step, relative to epsilon.
        padding: allow noise in the zero padding.
        batch: clips a step.
    """

    domains = ("audio",)
    joint = True
    paper = "Moosavi-Dezfooli et al. 2017, CVPR; Abdoli et al. 2019"
    presets = {"smoke": {"steps": 10}, "full": {"steps": 400, "step": 0.05}}

    epsilon: float = 0.01
    per: Literal["set", "class"] = "set"
    targeted: bool = False
    steps: int = 40
    step: float = 0.1
    padding: bool = False
    batch: int = 64

    def __post_init__(self) -> None:
        check_range(self, "epsilon", least=0, most=1)
        check_range(self, "steps", "step", least=0)
        check_range(self, "batch", least=1)

    def protect(self, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
        """Add noise that misleads the surrogates.

        Raises:
            UsageError: there is no surrogate.
            DataError: noise per class needs labels, and there are none.
        """
        against = surrogates(knowledge, "universal")
        noise = Noise.silent(data, noise_bound(data, self.epsilon, padding=self.padding), self.per)
        descent = Descent(self.steps, self.step, self.batch)
        mislead(noise, data, against, rng, descent, knowledge.expects, shift=int(self.targeted))
        return noise.everywhere(data)
