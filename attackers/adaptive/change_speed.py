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
        drawn = torch.randint(len(self.factors), (len(batch),), generator=rng, device=rng.device).tolist()
        sounds, lengths = [], []
        for clip, choice in enumerate(drawn):
            factor = self.factors[choice]
            sound = resample(batch.audio[clip], round(factor * _STEPS), _STEPS)[..., :samples]
            sounds.append(functional.pad(sound, (0, samples - sound.shape[-1])))
            lengths.append(min(samples, max(1, round(int(batch.lengths[clip]) / factor))))
        length = torch.tensor(lengths, device=batch.device).where(batch.lengths > 0, 0)
        changed = replace(batch.with_audio(torch.stack(sounds)), lengths=length)
        return changed.with_audio(changed.audio.clamp(-1.0, 1.0) * changed.support)
