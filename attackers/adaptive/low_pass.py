"""A zero-phase low-pass filter, at a quarter of the sampling rate by default.

Most information about words lies below 2 to 4 kHz, and perturbations above are the least audible.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Generator, Tensor

from bench.api import Adaptation, Clips
from bench.errors import DataError
from bench.sound.spectra import filtered


@dataclass(frozen=True)
class LowPass(Adaptation[Clips]):
    """Filter clips: full amplitude 10 % below the cutoff, half of it there, none from 10 % above.

    Attributes:
        hz: cutoff frequency; 0: a quarter of the clips' sampling rate.

    Raises:
        DataError: when applied, the cutoff is not under half the sampling rate.
    """

    domains = ("audio",)
    preprocess = True

    hz: float = 0.0

    def __post_init__(self) -> None:
        if self.hz < 0:
            raise ValueError(f"hz = {self.hz}, expected 0 (a quarter of the rate) or more, such as 2000")

    def transform(self, data: Clips, rng: Generator) -> Clips:
        cutoff = self.hz or data.rate / 4
        if cutoff >= data.rate / 2:
            raise DataError(
                f"hz = {cutoff:g} at {data.rate} samples a second, expected less than {data.rate / 2:g}: "
                f"try {data.rate / 4:g}"
            )

        def response(hz: Tensor) -> Tensor:
            position = ((hz / cutoff - 0.9) / 0.2).clamp(0.0, 1.0)
            return 0.5 + 0.5 * (math.pi * position).cos()

        return data.with_audio(filtered(data.audio, data.rate, response).clamp(-1.0, 1.0) * data.support)
