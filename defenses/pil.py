"""Noise that a linear classifier separates (perturbation-induced linearisation), without a network.

Liu, Chen, Zhang (ICLR 2026): a linear classifier without bias is trained on the clean clips, and a perturbation d of
each clip descends the sum of two objectives. The cross-entropy of d alone for the clip's class makes d, by itself, tell
the class to a linear model; the divergence of the classifier's output for x - d from uniform leaves it nothing of the
recording. x - d is published. Written from the abstract and summaries of the paper.

The paper's classifier reads pixels. The analogue is `input = "waveform"`; sound of a class has no common waveform, so
the default is the log-mel spectrum, minus its mean so that soft noise and loud speech are alike. The clips need labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional

from bench.api import Clips, Defense, Knowledge, check_range
from bench.sound.mel import LogMel
from bench.training.classification import classes, labels
from bench.training.crafting import Noise, noise_bound
from bench.training.learning import batches
from bench.training.objectives import descend

_LR = 0.01  # of Adam, for inputs of unit variance
_WEIGHT_DECAY = 1e-3
_STARTING = 0.5  # of the bound: the spectrum of no noise has no slope


@dataclass(frozen=True)
class Pil(Defense[Clips]):
    """Add to each clip noise within +-`epsilon` that a linear classifier separates by class.

    Attributes:
        epsilon: bound on |noise|, full scale 1; the strength: 0.01 is 22 dB below spoken words.
        input: of the linear classifier: "logmel" or "waveform".
        shortcut: weight of the cross-entropy of the noise alone; 0 only hides the recording from the classifier.
        learner_steps: optimiser steps of the classifier.
        steps: sign steps of the noise.
        step: size of a sign step, relative to `epsilon`.
        bands: mel bands of the input "logmel".
        batch: clips a step.
    """

    domains = ("audio",)
    per = "clip"
    joint = True
    paper = "Liu, Chen, Zhang 2026, ICLR (Perturbation-Induced Linearization)"
    presets = {"smoke": {"steps": 10, "learner_steps": 50}, "full": {"steps": 100, "step": 0.05}}

    epsilon: float = 0.01
    input: Literal["logmel", "waveform"] = "logmel"
    shortcut: float = 1.0
    learner_steps: int = 200
    steps: int = 40
    step: float = 0.1
    bands: int = 40
    batch: int = 128

    def __post_init__(self) -> None:
        check_range(self, "epsilon", least=0, most=1)
        check_range(self, "shortcut", "learner_steps", "steps", "step", least=0)
        check_range(self, "bands", "batch", least=1)

    def protect(self, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
        """Add noise that a linear classifier separates.

        Raises:
            DataError: the clips have no labels.
        """
        label = labels(data)
        classifier = self._trained(data, label, rng)
        noise = Noise.silent(data, noise_bound(data, self.epsilon, padding=False), "clip")
        start = 2 * torch.rand(noise.unit.shape, generator=rng, device=rng.device) - 1
        noise.unit.copy_(_STARTING * start.to(data.device))

        def objective(changed: Clips, index: Tensor) -> Tensor:
            perturbation = data.audio[index] - changed.audio  # d, where x - d is published
            logits = classifier(changed.audio)
            uniform = -functional.log_softmax(logits, 1).mean(1) - math.log(logits.shape[1])
            own = functional.cross_entropy(classifier(perturbation), label[index], reduction="none")
            return uniform + self.shortcut * own

        order = torch.arange(len(data), device=data.device)
        descend(noise, data, objective, order, steps=self.steps, step=self.step, batch=self.batch)
        return noise.everywhere(data)

    def _trained(self, data: Clips, label: Tensor, rng: Generator) -> Callable[[Tensor], Tensor]:
        """Train a linear classifier without bias on standardised inputs: audio -> logits."""
        read = self._reader(data)
        parts = torch.split(torch.arange(len(data), device=data.device), self.batch)
        with torch.no_grad():
            total = torch.stack([read(data.audio[part]).sum(0) for part in parts]).sum(0)
            mean = total / len(data)
            squares = torch.stack([(read(data.audio[part]) - mean).square().sum(0) for part in parts]).sum(0)
        scale = (squares / len(data)).mean().sqrt().clamp_min(1e-6)
        weight = torch.zeros(len(classes(data)), len(mean), device=data.device, requires_grad=True)

        def logits(audio: Tensor) -> Tensor:
            return functional.linear((read(audio) - mean) / scale, weight) / math.sqrt(len(mean))

        learner = torch.optim.Adam([weight], _LR, weight_decay=_WEIGHT_DECAY)
        order = batches(len(data), self.batch, rng)
        for _ in range(self.learner_steps):
            index = next(order).to(data.device)
            loss = functional.cross_entropy(logits(data.audio[index]), label[index])
            learner.zero_grad(set_to_none=True)
            loss.backward()
            learner.step()
        weight.requires_grad_(False)
        return logits

    def _reader(self, data: Clips) -> Callable[[Tensor], Tensor]:
        """Return the function from audio [clip, channel, sample] to the classifier's input [clip, value]."""
        if self.input == "waveform":
            return lambda audio: audio.flatten(1)
        spectrum = LogMel(data.rate, self.bands, 32.0).to(data.device)

        def logmel(audio: Tensor) -> Tensor:
            levels: Tensor = spectrum(audio)
            return (levels - levels.mean((1, 2), keepdim=True)).flatten(1)

        return logmel
