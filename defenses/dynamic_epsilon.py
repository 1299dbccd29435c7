"""Error-minimising noise whose bound follows the loudness of the recording.

"Dynamic Epsilon applied Masks in Unlearnable Audio": the recording is cut into segments, and the mean amplitude of each
looks up its share of the largest epsilon, .13, in a table of six levels (Table 1). `mask = "continuous"` is the same
idea without segments and steps: a moving average and a power law.

The table's thresholds are absolute amplitudes, made for recordings at SpeechCommands' level. What is optimised is the
min-min objective of `constant_epsilon`; what the paper's code computes instead is in `signal_copy`.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Generator, Tensor

from bench.api import Clips, Defense, Knowledge, check_range
from bench.sound.segments import continuous_mask, stepped_mask
from bench.training.crafting import Noise, Schedule, min_min, noise_bound, surrogates


@dataclass(frozen=True)
class DynamicEpsilon(Defense[Clips]):
    """Add error-minimising noise below `epsilon` times a mask that follows the recording's loudness.

    Attributes:
        epsilon: largest bound on |noise|, full scale 1.
        mask: "table", the six levels of the paper's Table 1, or "continuous", a power law of a moving average.
        segment_ms: length of a segment, or of the moving average; 50 is 800 samples at 16 kHz, the paper also has 62.5.
        full: continuous mask: amplitude from which all of epsilon is allowed.
        exponent: continuous mask: exponent of the power law below that.
        floor: continuous mask: smallest share of epsilon.
        per: one noise for each "clip", or for each "class".
        padding: allow noise in the zero padding.
        rounds: passes over the set, at most; each trains the surrogates, then the noise.
        learner_steps: optimiser steps of the surrogates a round.
        noise_steps: sign steps of the noise, a batch and round.
        step: size of a sign step, relative to the bound.
        stop: loss of the surrogates, in nats, at which to stop.
        batch: clips a step.
        lr: learning rate of the surrogates; 0: their own.
        alternation: update surrogates and noise in turn ("alternating"), or by one backward pass ("joint").
    """

    domains = ("audio",)
    joint = True
    paper = "Dynamic Epsilon applied Masks in Unlearnable Audio"
    presets = {"smoke": {"rounds": 3}, "full": {"rounds": 30, "noise_steps": 20}}

    epsilon: float = 0.13
    mask: Literal["table", "continuous"] = "table"
    segment_ms: float = 50.0
    full: float = 0.1
    exponent: float = 1.1
    floor: float = 0.0385
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
        check_range(self, "segment_ms", "full", "exponent", above=0)
        check_range(self, "floor", least=0, most=1)
        check_range(self, "rounds", "learner_steps", "noise_steps", "step", "stop", "lr", least=0)
        check_range(self, "batch", least=1)

    def protect(self, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
        """Add noise that surrogates learn from as fast as possible.

        Raises:
            UsageError: there is no surrogate.
            DataError: noise per class needs labels, and there are none.
        """
        bound = noise_bound(data, self.epsilon, padding=self.padding) * self._mask(data)
        noise = Noise.silent(data, bound, self.per)
        schedule = Schedule(
            rounds=self.rounds, learner_steps=self.learner_steps, noise_steps=self.noise_steps, step=self.step,
            stop=self.stop, batch=self.batch, lr=self.lr, alternation=self.alternation,
        )  # fmt: skip
        min_min(noise, data, surrogates(knowledge, "dynamic_epsilon"), rng, schedule, knowledge.expects, knowledge.log)
        return noise.everywhere(data)

    def _mask(self, data: Clips) -> Tensor:
        """Compute the share of epsilon that is allowed: [clip, 1, sample] in 0..1."""
        size = max(1, round(self.segment_ms * data.rate / 1000))
        if self.mask == "table":
            return stepped_mask(data.audio, size)
        return continuous_mask(data.audio, size, self.full, self.exponent, self.floor)
