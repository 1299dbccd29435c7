"""Synchronous averaging: what clips of a class share, each at a lag of its own, is subtracted.

`class_average` finds a mark that lies at the same place in every clip. A mark that is moved cyclically from clip to
clip cancels out in that mean; here each clip is first moved to where it correlates best with the others. In
watermarking this is resynchronisation before the collusion attack of averaging.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from bench.api import Adaptation, Clips, check_range
from bench.sound.levels import energy
from bench.training.classification import labels

_REFERENCES = 6  # clips of a class with which the others are first aligned; the one that fits best is taken
_ROUNDS = 4  # of alignment with the mean of the others


@dataclass(frozen=True)
class SynchronousAverage(Adaptation[Clips]):
    """Subtract the mean waveform of a class from its clips, aligned at their start and then at the best cyclic lag.

    Correlations are weighted by the inverse root of the class's smoothed mean spectrum, so that no band of the
    recordings prevails. Each frequency of a mean is scaled by the share of its power that is more than chance: that of
    clips of the same spectra and random phases, aligned in the same way.

    Attributes:
        strength: share of the estimated mark that is subtracted, 0..1.
        fewest: a class of fewer clips is left alone.
    """

    domains = ("audio",)
    requires = ("labels",)
    sweep = ("strength", 0.25, 1.0)

    strength: float = 1.0
    fewest: int = 6

    def __post_init__(self) -> None:
        check_range(self, "strength", least=0, most=1)
        check_range(self, "fewest", least=3)

    def transform(self, data: Clips, rng: Generator) -> Clips:
        label, classes = labels(data), len(data.classes)
        by_class = _Classes(label, classes)
        audio, samples = data.audio, data.audio.shape[-1]
        enough = (by_class.count >= self.fewest)[label]
        for moved in (False, True):
            spectrum = torch.fft.rfft(audio / energy(audio).sqrt().clamp_min(1e-10))
            phase = torch.rand(spectrum.shape[::2], generator=rng, device=rng.device).to(data.device)[:, None]
            unrelated = torch.polar(spectrum.abs(), 2 * torch.pi * phase.expand(spectrum.shape).contiguous())
            power = by_class.mean(spectrum.abs().square())
            weight = _smooth(power.sum(1, keepdim=True)).clamp_min(1e-3 * power.mean().clamp_min(1e-20)).rsqrt()
            mean, turn = by_class.aligned(spectrum, weight, samples, moved)
            by_chance, _ = by_class.aligned(unrelated, weight, samples, moved)
            coherence = _total(by_chance) / power.sum((1, 2), keepdim=True).clamp_min(1e-20)
            shared = mean * (1 - coherence * power / mean.abs().square().clamp_min(1e-20)).clamp_min(0.0)
            mark = torch.fft.irfft(shared[label] * turn.conj(), samples) * data.support
            share = (audio * mark).sum((1, 2), keepdim=True) / energy(mark).clamp_min(1e-20)
            audio = audio - torch.where(enough, self.strength * share, 0.0) * mark
        return data.with_audio(audio.clamp(-1.0, 1.0))


class _Classes:
    """Means over the clips of each class, at lags that align them."""

    def __init__(self, label: Tensor, classes: int):
        """Count the classes' clips.

        Args:
            label: int64 [clip].
            classes: Number of classes.
        """
        self.label, self.classes = label, classes
        self.count = label.bincount(minlength=classes).view(-1, 1, 1)
        self.order = label.argsort(stable=True)
        self.first = (self.count.cumsum(0) - self.count)[:, 0, 0]

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of each class: [clip, ...] -> [class, ...]."""
        total = torch.zeros(self.classes, *values.shape[1:], dtype=values.dtype, device=values.device)
        return total.index_add(0, self.label, values) / self.count.clamp_min(1).view(-1, *[1] * (values.dim() - 1))

    def aligned(self, spectrum: Tensor, weight: Tensor, samples: int, moved: bool) -> tuple[Tensor, Tensor]:
        """Return the mean of each class of aligned clips, and the phases by which they were turned.

        Args:
            spectrum: Complex [clip, channel, bin].
            weight: Of each bin in correlations, [class, 1, bin].
            samples: Of the clips.
            moved: Whether clips are moved; else they stay aligned at their start.

        Returns:
            Complex [class, channel, bin] and [clip, 1, bin].
        """
        turn = torch.ones_like(spectrum[:, :1])
        if not moved:
            return self.mean(spectrum), turn
        best = torch.full((self.classes,), -1.0, device=weight.device)
        count = self.count[:, 0, 0].clamp_min(1)
        for number in range(_REFERENCES):
            clip = self.order[(self.first + number * count // _REFERENCES % count).clamp(max=len(self.order) - 1)]
            turned, peak = self._turn(spectrum, spectrum[clip][self.label], weight, samples)
            fit = self.mean(peak)
            turn = torch.where((fit > best)[self.label][:, None, None], turned, turn)
            best = torch.maximum(best, fit)
        for _ in range(_ROUNDS):
            own = spectrum * turn
            others = (self.mean(own) * self.count)[self.label] - own
            turn, _ = self._turn(spectrum, others, weight, samples)
        return self.mean(spectrum * turn), turn

    def _turn(self, spectrum: Tensor, reference: Tensor, weight: Tensor, samples: int) -> tuple[Tensor, Tensor]:
        """Find the phases that move each clip to where it correlates best with its reference, and the correlation."""
        cross = (reference * spectrum.conj() * weight[self.label]).sum(1)
        peak, lag = torch.fft.irfft(cross, samples).max(-1)
        bins = torch.arange(spectrum.shape[-1], device=spectrum.device)
        angle = -2 * torch.pi * (lag[:, None] * bins % samples).to(spectrum.real.dtype) / samples
        return torch.polar(torch.ones_like(angle), angle)[:, None], peak


def _total(spectrum: Tensor) -> Tensor:
    """Sum the power of each class: [class, channel, bin] -> [class, 1, 1]."""
    return spectrum.abs().square().sum((1, 2), keepdim=True)


def _smooth(power: Tensor) -> Tensor:
    """Average power over a fortieth of the bins around each one: [class, 1, bin]."""
    half = power.shape[-1] // 80
    return functional.avg_pool1d(power, 2 * half + 1, stride=1, padding=half, count_include_pad=False)
