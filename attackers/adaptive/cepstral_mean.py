"""Cepstral mean normalisation as a filter: the mean log spectrum of each clip is flattened.

What a fixed filter adds to a recording is a constant of its log spectrum, which the mean over the active frames
contains (Atal, JASA 55, 1974). The result is a recording with its old phases, for attackers with any front end.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator

from bench.api import Adaptation, Clips, check_range
from bench.sound.envelopes import liftered, mean_levels, shaped


@dataclass(frozen=True)
class CepstralMean(Adaptation[Clips]):
    """Flatten the mean log spectrum of each clip by a zero-phase filter; its energy stays.

    Attributes:
        strength: share of the mean, in decibels, that is removed, 0..1; at 1 all clips have one mean spectrum.
        coefficients: cepstral coefficients of the mean that are removed; fewer remove smooth filters only, more remove
            what is sustained in the recording as well, such as a held note.
        limit: largest gain either way, dB, so that empty bands are not raised without end.
    """

    domains = ("audio",)
    preprocess = True
    sweep = ("strength", 0.25, 1.0)
    paper = "Atal 1974, JASA 55 (Effectiveness of linear prediction characteristics of the speech wave)"

    strength: float = 1.0
    coefficients: int = 24
    limit: float = 30.0

    def __post_init__(self) -> None:
        check_range(self, "strength", least=0, most=1)
        check_range(self, "coefficients", least=1)
        check_range(self, "limit", least=0)

    def transform(self, data: Clips, rng: Generator) -> Clips:
        mean = liftered(mean_levels(data), self.coefficients)
        return shaped(data, (-self.strength * mean).clamp(-self.limit, self.limit))
