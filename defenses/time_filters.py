"""Class-wise equalisers that change in time: an audio form of convolution-based unlearnable examples.

Sadasivan et al. (CVPR 2023) blur every image by a filter of its class. A fixed filter of sound adds a constant to each
cepstral coefficient, which cepstral mean subtraction removes. Here a class has a sequence of equalisers, each followed
by its inverse, so that the mean over time is 0 dB and nothing is subtracted. Each clip begins at a random place in its
class's sequence: clips of a class share the filters, not their places in time.

The change is a filter, not noise, and a signal-to-noise ratio says little of how audible it is: with the defaults that
of spoken words is about 7 dB. It gives the labels away.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from bench.api import Clips, Defense, Knowledge, check_range
from bench.sound.headroom import as_loud
from bench.sound.sequences import in_turn, with_inverses
from bench.training.classification import classes, labels


@dataclass(frozen=True)
class TimeFilters(Defense[Clips]):
    """Filter each clip by its class's sequence of equalisers, from a random place in the sequence.

    A curve is `decibels` up or down, at random, at each of `bands` points evenly spaced in mel. Each clip keeps its
    energy, less where it would clip. The clips need labels.

    Attributes:
        decibels: gain of a band, up or down, at least 0; the strength: 3 is mild, 6 colours each syllable anew.
        milliseconds: how long a curve lasts, at least 10; longer is closer to a fixed filter.
        bands: points of a curve, at least 1.
        curves: curves that a class draws, at least 1; the sequence has twice as many.
    """

    domains = ("audio",)
    per = "class"
    paper = "after Sadasivan, Soltanolkotabi, Feizi 2023, CVPR (CUDA: Convolution-based Unlearnable Datasets)"

    decibels: float = 6.0
    milliseconds: float = 60.0
    bands: int = 12
    curves: int = 1

    def __post_init__(self) -> None:
        check_range(self, "decibels", least=0)
        check_range(self, "milliseconds", least=10)
        check_range(self, "bands", "curves", least=1)

    def protect(self, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
        """Filter the clips.

        Raises:
            DataError: the clips have no labels.
        """
        label = labels(data)
        shape = (len(classes(data)), self.curves, self.bands)
        signs = 2.0 * torch.randint(0, 2, shape, generator=rng, device=rng.device).to(data.device) - 1.0
        start = torch.rand(len(data), generator=rng, device=rng.device).to(data.device)
        sequence = with_inverses(self.decibels * signs)[label]
        audio = in_turn(data.audio, data.rate, sequence, self.milliseconds, start) * data.support
        return data.with_audio(as_loud(audio, data.audio))
