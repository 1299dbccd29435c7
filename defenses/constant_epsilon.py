"""Error-minimising noise under one bound: the reference method for unlearnable examples.

Huang et al., "Unlearnable Examples: Making Personal Data Unexploitable", ICLR 2021, eq. 2: surrogates learn from the
protected clips while the noise lowers their loss. `per = "class"` makes one
noise for all clips of a class, which is stronger, cheaper, and gives the labels away.

The published code for speech alternates 20 batches with 20 sign steps of epsilon / 25, to a loss of .08; here fewer and
larger steps reach a loss of .01 in a quarter of the time. Noise lies within the recording: in the padding it marks the
class for whoever reads it, and is gone by trimming (`padding = true` shows that).

For rolls the noise changes the velocities of notes by at most epsilon (of 0..1), in whole MIDI velocities; onsets,
pitches and durations stay.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Generator

from bench.api import Data, Defense, Knowledge, check_range
from bench.training.crafting import Noise, Schedule, min_min, noise_bound, surrogates


@dataclass(frozen=True)
class ConstantEpsilon(Defense[Data]):
    """Lower the training loss of surrogates by noise within +-epsilon (Huang et al. 2021, eq. 2).

    Attributes:
        epsilon: bound on |noise|, full scale 1; for rolls, on the change of velocity, 0..1.
        per: one noise for each "clip", or for each "class".
        padding: allow noise in the zero padding.
        rounds: passes over the set, at most; each trains the surrogates, then the noise.
        learner_steps: optimiser steps of the surrogates a round.
        noise_steps: sign steps of the noise, a batch and round.
        step: size of a sign step, relative to epsilon.
        stop: loss of the surrogates, in nats, at which to stop.
        batch: clips a step.
        lr: learning rate of the surrogates; 0: their own.
        alternation: update surrogates and noise in turn ("alternating"), or by one backward pass ("joint").
    """

    domains = ("audio", "midi")
    joint = True
    paper = "Huang et al. 2021, ICLR"
    presets = {"smoke": {"rounds": 3}, "full": {"rounds": 30, "noise_steps": 20}}

    epsilon: float = 0.08
    per: Literal["clip", "class"] = "clip"
    padding: bool = False
    rounds: int = 6
    learner_steps: int = 20
    noise_steps: int = 4
    step: float = 0.35
    stop: float = 0.01
    batch: int = 128
    lr: float = 0.0
    alternation: Literal["alternating", "joint"] = "alternating"

    def __post_init__(self) -> None:
        check_range(self, "epsilon", least=0, most=1)
        check_range(self, "rounds", "learner_steps", "noise_steps", "step", "stop", "lr", least=0)
        check_range(self, "batch", least=1)

    def protect(self, data: Data, knowledge: Knowledge, rng: Generator) -> Data:
        """Add noise that surrogates learn from as fast as possible.

        Raises:
            UsageError: there is no surrogate.
            DataError: noise per class needs labels, and there are none.
        """
        noise = Noise.silent(data, noise_bound(data, self.epsilon, padding=self.padding), self.per)
        schedule = Schedule(
            rounds=self.rounds, learner_steps=self.learner_steps, noise_steps=self.noise_steps, step=self.step,
            stop=self.stop, batch=self.batch, lr=self.lr, alternation=self.alternation,
        )  # fmt: skip
        against = surrogates(knowledge, "constant_epsilon", data.domain)
        min_min(noise, data, against, rng, schedule, knowledge.expects, knowledge.log)
        return noise.everywhere(data)
