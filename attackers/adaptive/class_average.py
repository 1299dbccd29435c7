"""The class average projected out: what all clips of a class share is taken from each of them.

A mark that every clip of a class carries at the same place survives the mean over the class, where different
recordings cancel out. The attacker knows the labels. In watermarking this is the collusion attack of averaging (Cox et
al., "Digital Watermarking and Steganography", 2008, chapter 10).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from bench.api import Adaptation, Clips
from bench.sound.levels import energy
from bench.training.classification import labels


@dataclass(frozen=True)
class ClassAverage(Adaptation[Clips]):
    """Project the mean waveform of its class out of every clip.

    The mean is over clips of equal energy; each of its frequencies is scaled by the share of its power that is more
    than unrelated clips would leave.

    Attributes:
        fewest: a class of fewer clips is left alone.
    """

    domains = ("audio",)
    requires = ("labels",)

    fewest: int = 4

    def __post_init__(self) -> None:
        if self.fewest < 2:
            raise ValueError(f"fewest = {self.fewest}, expected 2 or more, nearest is 2")

    def transform(self, data: Clips, rng: Generator) -> Clips:
        label, classes = labels(data), len(data.classes)
        level = data.audio / energy(data.audio).sqrt().clamp_min(1e-10)
        spectrum = torch.fft.rfft(level)  # [clip, channel, bin]
        shape = (classes, *spectrum.shape[1:])
        count = label.bincount(minlength=classes).clamp_min(1).view(-1, 1, 1)
        mean = torch.zeros(shape, dtype=spectrum.dtype, device=data.device).index_add(0, label, spectrum) / count
        power = torch.zeros(shape, device=data.device).index_add(0, label, spectrum.abs().square()) / count
        # The mean of n unrelated recordings has a share 1/n of their power: what it has beyond that is shared.
        chance = (power - mean.abs().square()) / (count - 1).clamp_min(1)
        shared = mean * (1 - chance / mean.abs().square().clamp_min(1e-20)).clamp_min(0.0)
        mark = torch.fft.irfft(shared, data.audio.shape[-1])[label] * data.support
        share = (data.audio * mark).sum((1, 2), keepdim=True) / energy(mark).clamp_min(1e-20)
        share = torch.where(count[label] >= self.fewest, share, 0.0)
        return data.with_audio((data.audio - share * mark).clamp(-1.0, 1.0))
