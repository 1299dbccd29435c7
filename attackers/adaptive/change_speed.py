"""Speed perturbation: every clip of a batch is played faster or slower.

That moves pitch and formants too. Marks at fixed frequencies or places of a class do not line up any more. It is the
usual augmentation of speech recognition, and costs little on clean recordings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Generator
from torch.nn import functional

from bench.api import Adaptation, Clips
from bench.sound.resampling import resample

_STEPS = 1000  # of a factor: sample rates are whole numbers


@dataclass(frozen=True)
class ChangeSpeed(Adaptation[Clips]):
    """Resample each clip by a factor that is drawn for every batch; what no longer fits is cut off.

    Attributes:
        factors: speeds to draw from; 1 leaves a clip as it is.
    """

    domains = ("audio",)
    paper = "Ko, Peddinti, Povey, Khudanpur 2015, Interspeech"

    factors: tuple[float, ...] = (0.9, 0.95, 1.05, 1.1)

    def __post_init__(self) -> None:
        if not self.factors or not all(0.5 <= factor <= 2.0 for factor in self.factors):
            raise ValueError(f"factors = {self.factors}, expected one or more from 0.5 to 2, such as 0.9 and 1.1")

    def augment(self, batch: Clips, rng: Generator) -> Clips:
        samples = batch.audio.shape[-1]
        drawn = torch.randint(len(self.factors), (len(batch),), generator=rng, device=rng.device).to(batch.device)
        audio, lengths = batch.audio, batch.lengths
        for choice, factor in enumerate(self.factors):
            rows = (drawn == choice).nonzero()[:, 0]
            if not len(rows):
                continue
            sound = resample(batch.audio[rows], round(factor * _STEPS), _STEPS)[..., :samples]
            audio = audio.index_copy(0, rows, functional.pad(sound, (0, samples - sound.shape[-1])))
            shorter = (batch.lengths[rows] / factor).round().long().clamp(1, samples)
            lengths = lengths.index_copy(0, rows, shorter)
        changed = replace(batch.with_audio(audio), lengths=lengths.where(batch.lengths > 0, 0))
        return changed.with_audio(changed.audio.clamp(-1.0, 1.0) * changed.support)
