"""Error-maximising noise: adversarial examples against models of the clean clips, as training data.

Fowl et al., "Adversarial Examples Make Strong Poisons", NeurIPS 2021. Targeted, the noise makes each clip look like the
class after its own, and whoever trains on it learns the wrong features for every class; untargeted, it only leads away
from the true one. One step of the whole epsilon is FGSM (Goodfellow et al. 2015), several are PGD. Several surrogates
are several sources, whose mean loss is followed.
"""

from dataclasses import dataclass

from torch import Generator

from bench.api import Clips, Defense, Knowledge, check_range
from bench.training.crafting import Descent, Noise, mislead, noise_bound, surrogates


@dataclass(frozen=True)
class ErrorMaximizing(Defense[Clips]):
    """Raise the loss of models trained on the clean clips, or lower that of a wrong class, by noise within +-epsilon.

    Attributes:
        epsilon: bound on |noise|, full scale 1.
        targeted: lower the loss of a wrong class; False: raise that of the true one.
        shift: the wrong class is this many places after the true one.
        steps: sign steps; 1 with step = 1 is FGSM, more are PGD.
        step: size of a sign step, relative to epsilon.
        padding: allow noise in the zero padding.
        batch: clips a step.
    """

    domains = ("audio",)
    per = "clip"
    joint = True
    paper = "Fowl et al. 2021, NeurIPS"
    presets = {"smoke": {"steps": 5}, "full": {"steps": 100, "step": 0.05}}

    epsilon: float = 0.01
    targeted: bool = True
    shift: int = 1
    steps: int = 12
    step: float = 0.2
    padding: bool = False
    batch: int = 128

    def __post_init__(self) -> None:
        check_range(self, "epsilon", least=0, most=1)
        check_range(self, "steps", "step", least=0)
        check_range(self, "shift", "batch", least=1)

    def protect(self, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
        """Add noise that misleads the surrogates.

        Raises:
            UsageError: there is no surrogate.
            DataError: targets need labels, and there are none.
        """
        against = surrogates(knowledge, "error_maximizing")
        noise = Noise.silent(data, noise_bound(data, self.epsilon, padding=self.padding), "clip")
        descent = Descent(self.steps, self.step, self.batch)
        mislead(noise, data, against, rng, descent, knowledge.expects, shift=self.shift if self.targeted else 0)
        return noise.everywhere(data)
