"""AAC: every clip is encoded at a bit rate of streaming services and decoded before training.

FFmpeg's encoder (AAC-LC) codes it, through PyAV. Its transform begins one frame before the recording, which delays
what is decoded by 1,024 samples; they are cut off. Clips of other rates are resampled to the nearest higher one that
AAC has, and back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Generator

from bench.api import Adaptation, Clips, check_range
from bench.errors import DataError
from bench.sound.recoding import at_rate, nearest_rate, one_by_one

_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000)
_FRAME = 1024  # samples of a frame, and of the delay
_MOST_BITS = 6  # of a sample and channel: 6,144 of a frame
_LAYOUTS = ("mono", "stereo")


@dataclass(frozen=True)
class Aac(Adaptation[Clips]):
    """Encode clips as AAC, and decode them.

    Attributes:
        kbps: bit rate of a channel, kbit/s, 8 to 256: the lower, the more is lost. AAC has no more than 6 bits a sample
            (48 kbit/s at 8 kHz), which is taken where it is lower.

    Raises:
        DataError: when applied, clips have more than two channels.
    """

    domains = ("audio",)
    preprocess = True
    sweep = ("kbps", 96, 16)
    paper = "ISO/IEC 14496-3:2009; Bosi et al. 1997, JAES 45 (ISO/IEC MPEG-2 Advanced Audio Coding)"

    kbps: int = 32

    def __post_init__(self) -> None:
        check_range(self, "kbps", least=8, most=256)

    def transform(self, data: Clips, rng: Generator) -> Clips:
        if data.audio.shape[1] > len(_LAYOUTS):
            raise DataError(f"aac: the audio has {data.audio.shape[1]} channels, expected 1 or 2")
        rate = nearest_rate(data.rate, _RATES)
        return at_rate(
            data, rate, lambda audio, lengths: one_by_one(audio, lengths, lambda sound: self._coded(sound, rate))
        )

    def _coded(self, sound: np.ndarray, rate: int) -> np.ndarray:
        """Encode and decode one recording [channel, sample]."""
        import av

        channels, samples = sound.shape
        encoder: Any = av.CodecContext.create("aac", "w")
        encoder.sample_rate, encoder.format, encoder.layout = rate, "fltp", _LAYOUTS[channels - 1]
        encoder.bit_rate = channels * min(1000 * self.kbps, _MOST_BITS * rate)
        encoder.open()
        decoder: Any = av.CodecContext.create("aac", "r")
        decoder.extradata = encoder.extradata
        padded = np.pad(sound, ((0, 0), (0, -samples % _FRAME)))
        packets = []
        for start in range(0, padded.shape[1], _FRAME):
            block = np.ascontiguousarray(padded[:, start : start + _FRAME])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=_LAYOUTS[channels - 1])
            frame.sample_rate, frame.pts = rate, start
            packets += encoder.encode(frame)
        packets += encoder.encode(None)
        decoded = np.concatenate(
            [frame.to_ndarray() for packet in (*packets, None) for frame in decoder.decode(packet)], 1
        )
        return decoded[:, _FRAME : _FRAME + samples]
