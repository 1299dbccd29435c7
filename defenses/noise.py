"""White Gaussian noise at a stated signal-to-noise ratio: the floor that every defense must beat.

It is also the control "random noise at the same audibility": handed a protected set as `knowledge.reference`, it
copies the SNR of that set clip by clip. SNR is over the recording, channels together, padding left out. A silent clip
stays silent.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from bench.api import Clips, Knowledge
from bench.errors import DataError

_GAIN_STEPS = 16  # clipping eats noise: the gain is corrected until the SNR is right, to 0.1 dB where that is possible


@dataclass(frozen=True)
class Noise:
    domains: ClassVar[tuple[str, ...]] = ("audio",)
    control: ClassVar[str] = "matched"

    snr_db: float = 20.0  # of each clip; a `reference` in the knowledge replaces it

    def protect(self, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
        """The clips with noise, within -1..1. Raises `DataError` where the reference holds other clips."""
        reference: Clips | None = knowledge.reference
        noise = torch.randn(data.audio.shape, generator=rng, device=rng.device).to(data.device) * data.support
        signal = _energy(data.audio)
        wanted = (
            signal * 10 ** (-self.snr_db / 10) if reference is None else _energy(_like(reference, data) - data.audio)
        )
        wanted = wanted * (signal > 0)
        gain = (wanted / _energy(noise).clamp_min(1e-30)).sqrt()
        for _ in range(_GAIN_STEPS):
            reached = _energy((data.audio + gain * noise).clamp(-1, 1) - data.audio)
            gain = gain * (wanted / reached.clamp_min(1e-30)).sqrt().clamp(0.5, 2.0)
        return data.with_audio((data.audio + gain * noise).clamp(-1, 1))


def _energy(audio: Tensor) -> Tensor:
    """[clip, 1, 1]"""
    return audio.square().sum((1, 2), keepdim=True)


def _like(reference: Clips, data: Clips) -> Tensor:
    """The reference's audio in the order of the data's clips."""
    place = {name: at for at, name in enumerate(reference.ids)}
    missing = [name for name in data.ids if name not in place]
    if missing:
        raise DataError(f"noise: the reference set lacks clip '{missing[0]}', expected the same clips as the data")
    audio = reference.audio[[place[name] for name in data.ids]]
    if audio.shape != data.audio.shape:
        raise DataError(f"noise: the reference has shape {tuple(audio.shape)}, expected {tuple(data.audio.shape)}")
    return audio
