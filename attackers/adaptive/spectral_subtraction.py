"""Spectral subtraction: an estimate of the steady noise is subtracted from every frame's magnitude.

The noise is a low quantile over time of each band's power, since no pause is marked. Subtracting more than that
(Berouti et al.) and leaving a floor keeps single cells from standing out, which sounds like tones.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator

from bench.api import Adaptation, Clips, check_range
from bench.sound.gains import with_gain
from bench.sound.spectra import spectrum_with_floor


@dataclass(frozen=True)
class SpectralSubtraction(Adaptation[Clips]):
    """Subtract the noise floor's magnitude from that of each cell of the spectrogram.

    Attributes:
        quantile: the noise of a band is this quantile of its power over time, 0..1.
        strength: how many times the noise's magnitude is subtracted.
        reduction: largest attenuation, dB.
    """

    domains = ("audio",)
    preprocess = True
    sweep = ("strength", 0.5, 4.0)
    paper = "Boll 1979, IEEE TASSP 27; Berouti, Schwartz, Makhoul 1979, ICASSP"

    quantile: float = 0.05
    strength: float = 1.5
    reduction: float = 20.0

    def __post_init__(self) -> None:
        check_range(self, "quantile", least=0, most=1)
        check_range(self, "strength", "reduction", least=0)

    def transform(self, data: Clips, rng: Generator) -> Clips:
        cells, energy, noise = spectrum_with_floor(data.audio, data.lengths, data.rate, self.quantile)
        gain = 1.0 - self.strength * (noise / energy.clamp_min(1e-12)).sqrt()
        return with_gain(data, cells, gain.clamp_min(10.0 ** (-self.reduction / 20.0)))
