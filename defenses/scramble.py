"""Scrambled sound: short segments in random order, the control that must score about 1."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator

from bench.api import Clips, Knowledge


@dataclass(frozen=True)
class Scramble:
    """What is left is the spectrum of short segments: an attacker who still learns from it learns timbre, not music.

    Segments are shuffled within their clip; what does not fill a segment at the end of a recording stays where it is.
    """

    segment_seconds: float = 0.05

    control: ClassVar[str] = "scramble"

    def protect(self, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
        size = max(1, round(self.segment_seconds * data.rate))
        whole = data.audio.shape[-1] // size
        full = (data.lengths // size)[:, None]
        place = torch.arange(whole, device=data.device)[None]
        # Full segments draw a key below 1 and so come first, in random order; the others keep their places behind them.
        keys = torch.rand(len(data), whole, generator=rng, device=data.device)
        order = torch.where(place < full, keys, 1.0 + place).argsort(dim=1)
        segments = data.audio[..., : whole * size].reshape(*data.audio.shape[:-1], whole, size)
        shuffled = segments.gather(2, order[:, None, :, None].expand_as(segments)).flatten(-2)
        return data.with_audio(torch.cat([shuffled, data.audio[..., whole * size :]], dim=-1))
