"""Random equalisation that changes in time, drawn for each batch.

Against perturbations that are filters which change within the clip, such as an equaliser whose sign flips every 60 ms.
`eq_augment` filters a whole clip alike, and draws no such filter.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from bench.api import Adaptation, Clips, check_range
from bench.sound.headroom import limited
from bench.sound.spectra import hop_size
from bench.sound.time_filters import equalise_frames, frame_count


@dataclass(frozen=True)
class TimeVaryingEq(Adaptation[Clips]):
    """Apply to each clip a sequence of random zero-phase equalisers, one after another.

    A curve is linear in decibels between points evenly spread in mel, as in `eq_augment`. Each clip begins at a random
    place within its first curve. Gains are applied to windows of about 32 ms, so that much faster changes are averaged.

    Attributes:
        decibels: largest gain in either direction, at least 0; the strength: 3 is mild, 8 colours each syllable anew.
        milliseconds: how long a curve lasts, at least 10.
        crossfade: share of that time, 0..1, in which it passes into the next one, along half a cosine.
        bands: points of a curve, at least 1.
    """

    domains = ("audio",)
    sweep = ("decibels", 2.0, 12.0)

    decibels: float = 6.0
    milliseconds: float = 60.0
    crossfade: float = 0.5
    bands: int = 12

    def __post_init__(self) -> None:
        check_range(self, "decibels", least=0)
        check_range(self, "milliseconds", least=10)
        check_range(self, "crossfade", least=0, most=1)
        check_range(self, "bands", least=1)

    def augment(self, batch: Clips, rng: Generator) -> Clips:
        frames = torch.arange(frame_count(batch.audio.shape[-1], batch.rate), device=batch.device)
        elapsed = frames * (1000 * hop_size(batch.rate) / batch.rate / self.milliseconds)  # in curves
        curves = int(elapsed[-1]) + 3
        start = torch.rand(len(batch), 1, generator=rng, device=rng.device).to(batch.device)
        drawn = torch.rand(len(batch), self.bands, curves, generator=rng, device=rng.device).to(batch.device)
        gains = self._in_time((2 * drawn - 1) * self.decibels, elapsed + start)
        filtered = equalise_frames(batch.audio, batch.rate, gains)
        return batch.with_audio(limited(filtered * batch.support))

    def _in_time(self, gains: Tensor, position: Tensor) -> Tensor:
        """Interpolate curves [clip, band, curve] at positions in time [clip, frame], in curves: [clip, band, frame]."""
        index = position.long().clamp(max=gains.shape[-1] - 2)
        fading = ((position - index - (1 - self.crossfade)) / max(self.crossfade, 1e-6)).clamp(0, 1)
        weight = (0.5 - 0.5 * torch.cos(torch.pi * fading))[:, None]
        at = index[:, None].expand(-1, gains.shape[1], -1)
        return gains.gather(-1, at) * (1 - weight) + gains.gather(-1, at + 1) * weight
