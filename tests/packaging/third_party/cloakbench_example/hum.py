"""Mains hum: one low tone beneath every clip, each in a phase of its own."""

import math
from dataclasses import dataclass

import torch
from torch import Generator

from bench.api import Clips, Defense, Knowledge


@dataclass(frozen=True)
class Hum(Defense[Clips]):
    domains = ("audio",)
    per = "clip"

    hz: float = 50.0
    snr_db: float = 30.0  # of each clip, padding left out

    def protect(self, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
        time = torch.arange(data.audio.shape[-1], device=data.device) / data.rate
        phase = torch.rand(len(data), 1, 1, generator=rng, device=rng.device).to(data.device)
        tone = torch.sin(2 * math.pi * (self.hz * time + phase)) * data.support
        power = data.audio.square().sum((1, 2), keepdim=True) / data.lengths[:, None, None] / data.audio.shape[1]
        noise = tone * (2 * power).sqrt() * 10 ** (-self.snr_db / 20)
        return data.with_audio((data.audio + noise).clamp(-1, 1))
