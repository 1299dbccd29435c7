"""The dynamic mask's released code as it runs: noise that starts from a clipped copy of the recording.

The released implementation hands x + delta to a function that expects delta. Every pass of the descent therefore begins
from clip(x + delta, +-bound), and since 20 steps of bound / 25 cannot undo a whole bound, the noise keeps the sign of
the recording wherever that is loud: it is a memoryless waveshaper, audible as distortion. The paper's accuracies of
14 % come from it, as means over ten epochs, so it is here under a name that says what it is.

One detail is left out: the very first gradient of a pass is taken at clip(x + delta), not at 2 x + delta.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Generator

from bench.api import Clips, Defense, Knowledge, check_range
from bench.sound.segments import stepped_mask
from bench.training.crafting import Noise, Schedule, min_min, noise_bound, surrogates


@dataclass(frozen=True)
class SignalCopy(Defense[Clips]):
    """Add error-minimising noise that is reset to a clipped copy of the recording before every pass.

    Attributes:
        epsilon: largest bound on |noise|, full scale 1.
        mask: "table", the six levels of the paper's Table 1, or "constant", none.
        segment_ms: length of a segment of the mask.
        padding: allow noise in the zero padding; published: True, where the copy of silence is optimised noise.
        rounds: passes over the set, at most.
        learner_steps: optimiser steps of the surrogates a round.
        noise_steps: sign steps of the noise, a batch and round.
        step: size of a sign step, relative to the bound.
        stop: loss of the surrogates, in nats, at which to stop.
        batch: clips a step.
        lr: learning rate of the surrogates.
    """

    domains = ("audio",)
    per = "clip"
    joint = True
    paper = "Dynamic Epsilon applied Masks in Unlearnable Audio, the released code"
    presets = {"smoke": {"rounds": 1, "noise_steps": 8}, "full": {"rounds": 30}}

    epsilon: float = 0.13
    mask: Literal["table", "constant"] = "table"
    segment_ms: float = 50.0
    padding: bool = False
    rounds: int = 4
    learner_steps: int = 20
    noise_steps: int = 20
    step: float = 0.04
    stop: float = 0.08
    batch: int = 256
    lr: float = 0.01

    def __post_init__(self) -> None:
        check_range(self, "epsilon", least=0, most=1)
        check_range(self, "segment_ms", above=0)
        check_range(self, "rounds", "learner_steps", "noise_steps", "step", "stop", "lr", least=0)
        check_range(self, "batch", least=1)

    def protect(self, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
        """Add the noise of the released code.

        Raises:
            UsageError: there is no surrogate.
        """
        bound = noise_bound(data, self.epsilon, padding=self.padding)
        if self.mask == "table":
            bound = bound * stepped_mask(data.audio, max(1, round(self.segment_ms * data.rate / 1000)))
        noise = Noise.silent(data, bound, "clip")
        schedule = Schedule(
            rounds=self.rounds, learner_steps=self.learner_steps, noise_steps=self.noise_steps, step=self.step,
            stop=self.stop, batch=self.batch, lr=self.lr, restart="signal",
        )  # fmt: skip
        min_min(noise, data, surrogates(knowledge, "signal_copy"), rng, schedule, knowledge.expects, knowledge.log)
        return noise.everywhere(data)
