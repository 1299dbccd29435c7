"""Dynamic range compression and expansion at random, of every clip of every batch.

Soft and loud parts come closer together or move apart. Against perturbations whose level follows that of the recording,
such as masked ones, and against marks in its envelope.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from bench.api import Adaptation, Clips, check_range
from bench.sound.headroom import as_loud

_SILENT = 1e-12  # mean square: far below one step of 16 bits


@dataclass(frozen=True)
class Compress(Adaptation[Clips]):
    """Scale the level above a threshold by a factor in decibels, drawn for each clip; clips stay as loud as before.

    The ratio is drawn uniformly in its logarithm, from 1 / `ratio` (an expander) to `ratio` (a compressor). The level
    is the mean square of all channels over a window centred on the sample, so that nothing is delayed; gains do not
    depend on frequency.

    Attributes:
        ratio: highest ratio of the levels in decibels before and after, 1..20; the strength: 2 is mild, 8 almost
            levels a recording.
        threshold: decibels from the recording's highest level down to the threshold, at least 0.
        milliseconds: length of the window, at least 1; below 10 the waveform itself is distorted.
    """

    domains = ("audio",)
    sweep = ("ratio", 1.5, 10.0)
    paper = "Giannoulis, Massberg, Reiss 2012, JAES (Digital dynamic range compressor design)"

    ratio: float = 4.0
    threshold: float = 40.0
    milliseconds: float = 20.0

    def __post_init__(self) -> None:
        check_range(self, "ratio", least=1, most=20)
        check_range(self, "threshold", least=0)
        check_range(self, "milliseconds", least=1)

    def augment(self, batch: Clips, rng: Generator) -> Clips:
        drawn = torch.rand(len(batch), 1, 1, generator=rng, device=rng.device).to(batch.device)
        slope = torch.exp(-(2 * drawn - 1) * math.log(self.ratio))  # of the level after over that before, dB
        level = self._level(batch)
        above = (level - level.amax(-1, keepdim=True) + self.threshold).clamp_min(0.0)
        gain = 10.0 ** ((slope - 1) * (above - self.threshold) / 20.0)  # 1 at the highest level
        return batch.with_audio(as_loud(batch.audio * gain, batch.audio))

    def _level(self, batch: Clips) -> Tensor:
        """Return the level around each sample, dB: [clip, 1, sample]."""
        width = max(1, round(self.milliseconds * batch.rate / 1000)) | 1  # odd
        power = batch.audio.square().mean(1, keepdim=True)
        both = torch.cat([power, batch.support.to(power.dtype)], 1)  # windows end where the recording does
        total, inside = functional.avg_pool1d(both, width, stride=1, padding=width // 2).split(1, 1)
        level: Tensor = 10 * (total / inside.clamp_min(1 / width) + _SILENT).log10()
        return level
