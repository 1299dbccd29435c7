"""Vorbis: every clip is encoded as Ogg Vorbis and decoded before training.

Its model of masking and its transform differ from those of MP3, so noise that survives one codec need not survive the
other. The round trip keeps sample alignment, loudness and zero padding.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator

from bench.api import Adaptation, Clips, check_range
from bench.sound.codecs import vorbis


@dataclass(frozen=True)
class Vorbis(Adaptation[Clips]):
    """Encode clips as Ogg Vorbis, and decode them.

    Attributes:
        quality: 0 (lowest bit rate) to 1.
    """

    domains = ("audio",)
    preprocess = True
    sweep = ("quality", 0.5, 0.0)
    paper = "Xiph.Org 2015, Vorbis I specification"

    quality: float = 0.2

    def __post_init__(self) -> None:
        check_range(self, "quality", least=0, most=1)

    def transform(self, data: Clips, rng: Generator) -> Clips:
        return data.with_audio(vorbis(data.audio, data.rate, self.quality, data.lengths))
