"""Quantisation: every sample is rounded to a few bits, linearly or by the mu-law of telephony.

Removes noise under half a step. Silence stays silent; the gradient is straight-through.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from bench.api import Adaptation, Clips


@dataclass(frozen=True)
class Quantise(Adaptation[Clips]):
    """Round samples to 2^bits - 1 levels, symmetric about zero.

    Attributes:
        bits: bits of a sample, 2..16.
        law: "linear" levels, or "mu", with mu = 2^bits - 1 (ITU-T G.711 at 8 bits).
    """

    domains = ("audio",)
    preprocess = True
    sweep = ("bits", 12, 4)

    bits: int = 8
    law: Literal["linear", "mu"] = "linear"

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 16:
            raise ValueError(f"bits = {self.bits}, expected 2..16, nearest is {min(max(self.bits, 2), 16)}")
        if self.law not in ("linear", "mu"):
            raise ValueError(f"law = {self.law!r}, expected 'linear' or 'mu'")

    def transform(self, data: Clips, rng: Generator) -> Clips:
        sound = data.audio.detach()
        rounded = (
            self._rounded(sound) if self.law == "linear" else _expanded(self._rounded(self._compressed(sound)), self)
        )
        return data.with_audio(data.audio + (rounded - sound) if data.audio.requires_grad else rounded)

    @property
    def _mu(self) -> int:
        """The constant of the mu-law."""
        return int(2**self.bits) - 1

    def _rounded(self, sound: Tensor) -> Tensor:
        """Round samples in -1..1 to the nearest level."""
        top = 2 ** (self.bits - 1) - 1
        rounded: Tensor = (sound * top).round() / top
        return rounded

    def _compressed(self, sound: Tensor) -> Tensor:
        """Compress samples by the mu-law."""
        return sound.sign() * torch.log1p(self._mu * sound.abs()) / math.log1p(self._mu)


def _expanded(compressed: Tensor, law: Quantise) -> Tensor:
    """Expand compressed samples by the inverse of the mu-law."""
    return compressed.sign() * torch.expm1(compressed.abs() * math.log1p(law._mu)) / law._mu
