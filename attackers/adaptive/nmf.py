"""Non-negative matrix factorisation: what a few spectra and their levels make up is kept of each clip.

Speech and music repeat few spectra; noise that changes from frame to frame takes many, and is left over. No clean
recording is needed, since the spectra are learned from the clip itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from bench.api import Adaptation, Clips, check_range
from bench.sound.gains import with_gain
from bench.sound.spectra import power, stft

_LEAST = 1e-8


@dataclass(frozen=True)
class Nmf(Adaptation[Clips]):
    """Filter clips by the ratio of the factorisation's magnitude to their own.

    The multiplicative updates lower the Kullback-Leibler divergence. They begin with frames evenly spread over the
    clip, so that the result is the same at every call.

    Attributes:
        components: number of spectra.
        steps: updates of spectra and levels.
    """

    domains = ("audio",)
    preprocess = True
    sweep = ("components", 48, 6)
    paper = "Lee and Seung 2001, NIPS; Smaragdis and Brown 2003, WASPAA"

    components: int = 24
    steps: int = 30

    def __post_init__(self) -> None:
        check_range(self, "components", "steps", least=1)

    def transform(self, data: Clips, rng: Generator) -> Clips:
        cells = stft(data.audio, data.rate)
        with torch.no_grad():
            magnitude = power(cells).sqrt()
            gain = (self._approximated(magnitude) / magnitude.clamp_min(_LEAST)).clamp(0.0, 1.0)
        return with_gain(data, cells, gain)

    def _approximated(self, magnitude: Tensor) -> Tensor:
        """Factorise spectrograms [clip, channel, bin, frame] and multiply the factors again."""
        level = magnitude.amax((-2, -1), keepdim=True).clamp_min(_LEAST)  # the updates know no scale
        target = magnitude / level + _LEAST
        count = min(self.components, target.shape[-1])
        frames = torch.linspace(0, target.shape[-1] - 1, count, device=target.device).round().long()
        # A part of the mean keeps components apart from 0, which no multiplication leaves.
        spectra = target[..., frames] + 0.1 * target.mean(-1, keepdim=True)
        levels = torch.ones(*target.shape[:2], count, target.shape[-1], device=target.device) / count
        for _ in range(self.steps):
            ratio = target / (spectra @ levels).clamp_min(_LEAST)
            levels = levels * (spectra.mT @ ratio) / spectra.sum(-2)[..., None].clamp_min(_LEAST)
            ratio = target / (spectra @ levels).clamp_min(_LEAST)
            spectra = spectra * (ratio @ levels.mT) / levels.sum(-1)[..., None, :].clamp_min(_LEAST)
        product: Tensor = (spectra @ levels) * level
        return product
