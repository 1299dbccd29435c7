"""Opus: every clip is encoded at a bit rate of telephony or streaming and decoded before training.

At low bit rates Opus codes speech by linear prediction (SILK), which models a voice and not the waveform. Clips of
other rates are resampled to the nearest higher one that Opus has, and back.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator

from bench.api import Adaptation, Clips, check_range
from bench.sound.codecs import opus, opus_rates
from bench.sound.recoding import at_rate, nearest_rate


@dataclass(frozen=True)
class Opus(Adaptation[Clips]):
    """Encode clips as Opus, and decode them.

    Attributes:
        kbps: bit rate of a channel, kbit/s, 6 to 256.
    """

    domains = ("audio",)
    preprocess = True
    sweep = ("kbps", 64, 6)
    paper = "Valin, Vos, Terriberry 2012, RFC 6716"

    kbps: int = 16

    def __post_init__(self) -> None:
        check_range(self, "kbps", least=6, most=256)

    def transform(self, data: Clips, rng: Generator) -> Clips:
        rate = nearest_rate(data.rate, opus_rates())
        return at_rate(data, rate, lambda audio, lengths: opus(audio, rate, self.kbps, lengths))
