"""Resampling to a lower rate and back before training, which removes the upper frequencies.

Sample alignment is kept, padding stays zero.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator
from torch.nn import functional

from bench.api import Adaptation, Clips
from bench.sound.resampling import resample


@dataclass(frozen=True)
class Resample(Adaptation[Clips]):
    """Resample clips to a lower rate and back.

    Attributes:
        fraction: the lower rate relative to the clips' rate, between 0 and 1; 0.5 takes 16 kHz to 8 kHz.
    """

    domains = ("audio",)
    preprocess = True

    fraction: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 < self.fraction < 1.0:
            raise ValueError(f"fraction = {self.fraction}, expected between 0 and 1, such as 0.5")

    def transform(self, data: Clips, rng: Generator) -> Clips:
        samples = data.audio.shape[-1]
        lower = max(1, round(data.rate * self.fraction))
        restored = resample(resample(data.audio, data.rate, lower), lower, data.rate)[..., :samples]
        padded = functional.pad(restored, (0, samples - restored.shape[-1]))
        return data.with_audio(padded.clamp(-1.0, 1.0) * data.support)  # the filter rings beyond the recording's end
