"""MP3: every clip is encoded at a constant bit rate and decoded before training.

A perceptual coder drops noise under the masking threshold first. The round trip keeps sample alignment, loudness and
zero padding.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator

from bench.api import Adaptation, Clips, check_range
from bench.sound.codecs import highest_kbps, mp3


@dataclass(frozen=True)
class Mp3(Adaptation[Clips]):
    """Encode clips as MP3 with LAME, and decode them.

    Attributes:
        kbps: bit rate for all channels together, one that exists at the clips' rate: 8 to 64 kbit/s below 16 kHz, 8 to
            160 below 32 kHz, 32 to 320 from there on. 0: the highest up to 128, which is 64 below 16 kHz.

    Raises:
        DataError: when applied, the rate has no such bit rate (the message names the nearest), or clips have more than
            two channels.
    """

    domains = ("audio",)
    preprocess = True

    kbps: int = 0

    def __post_init__(self) -> None:
        check_range(self, "kbps", least=0)

    def transform(self, data: Clips, rng: Generator) -> Clips:
        return data.with_audio(mp3(data.audio, data.rate, self.kbps or highest_kbps(data.rate), data.lengths))
