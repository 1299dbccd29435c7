"""An inverse filter learnt from pairs: the mark of each class is subtracted, the rest is filtered.

The attacker protects its own clips by the public defense, whose random numbers it does not know. The pairs therefore
tell how strong a defense is at each frequency and how much of it all clips of a class share, and seldom which mark a
class has. That is estimated as the mean of the published clips of the class, at the frequencies where the pairs say
that a shared mark is stronger than what is left of the recordings in this mean. Where the mean residual of the pairs is
found in it, as with a defense that is the same for every seed, that residual is subtracted first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from bench.api import Adaptation, Clips, check_range
from bench.sound.levels import energy

_LEAST = 1e-12  # power of a bin
_ERRORS = 2.0  # standard errors by which a shared power must exceed 0
_FOUND = 4.0  # standard errors by which the residual of the pairs must be found in the published mean
_MOST_GAIN = 4.0
_LEAST_SPREAD = 0.1  # nepers, of the levels of the pairs, to see how noise depends on them


@dataclass(frozen=True)
class PairsWiener(Adaptation[Clips]):
    """Subtract what the clips of a class share by protection, then apply one linear filter to all clips.

    Without labels all clips count as one class. The filter has no delay and is the least-squares estimate of clean
    recordings from protected ones, frequency by frequency.

    Attributes:
        strength: share of the change that is made, 0 (none) to 1 (all).
        bandwidth: width over which spectra are averaged, Hz; wider is steadier and resolves tones less.
    """

    domains = ("audio",)
    requires = ("pairs",)
    sweep = ("strength", 0.25, 1.0)
    paper = "Wiener 1949 (Extrapolation of stationary time series); Cox et al. 1997, IEEE TIP 6"

    strength: float = 1.0
    bandwidth: float = 20.0

    def __post_init__(self) -> None:
        check_range(self, "strength", least=0, most=1)
        check_range(self, "bandwidth", above=0)

    def transform_with_pairs(self, data: Clips, clean: Clips, protected: Clips, rng: Generator) -> Clips:
        samples = data.audio.shape[-1]
        size = max(samples, clean.audio.shape[-1])
        labelled = data.labels is not None and clean.labels is not None
        label, pair_label = (
            items.labels if labelled and items.labels is not None else torch.zeros_like(items.lengths)
            for items in (data, clean)
        )
        classes = max(1, len(data.classes)) if labelled else 1
        width = 1 + 2 * round(self.bandwidth * size / data.rate / 2)  # bins
        exponent = _exponent(clean, protected)
        scale, pair_scale = (_level(items) ** exponent for items in (data, protected))
        residual = protected.with_audio((protected.audio - clean.audio) / pair_scale)
        sound, change = (torch.fft.rfft(audio, size) for audio in (clean.audio / pair_scale, residual.audio))
        shared = _shared(change, pair_label, classes, width)
        expected = torch.fft.rfft(_mean_by(pair_label, residual, classes), size)
        marks = self._marks(data.with_audio(data.audio / scale), label, size, expected, shared, width)
        without = data.audio - scale * torch.fft.irfft(marks, size)[label][..., :samples] * data.support
        restored = torch.fft.irfft(torch.fft.rfft(without, size) * _gain(sound, change, shared, width), size)
        changed = data.audio + self.strength * (restored[..., :samples] - data.audio)
        return data.with_audio(changed.clamp(-1.0, 1.0) * data.support)

    def _marks(self, scaled: Clips, label: Tensor, size: int, expected: Tensor, shared: Tensor, width: int) -> Tensor:
        """Estimate the mark of each class at scale 1, [class, channel, bin].

        Args:
            scaled: The published clips at scale 1.
            label: int64 [clip].
            size: Samples of a spectrum.
            expected: [class, channel, bin], the mean residual of the pairs.
            shared: [channel, bin], the power that residuals of a class share.
            width: Bins over which powers are averaged.
        """
        classes = len(expected)
        published = torch.fft.rfft(scaled.audio, size)
        count = label.bincount(minlength=classes).clamp_min(1).view(-1, 1, 1)
        mean = torch.fft.rfft(_mean_by(label, scaled, classes), size)
        power = _smooth(_sum_by(label, _power(published), classes) / count, width)
        chance = (power - shared).clamp_min(0) / count + _LEAST  # what unrelated recordings leave in the mean
        weight = 1 / (chance + shared)
        known = (_power(expected) * weight).sum((1, 2), keepdim=True)
        found = ((mean * expected.conj()).real * weight).sum((1, 2), keepdim=True) / known.clamp_min(_LEAST)
        found = torch.where(found * known.sqrt() > _FOUND, found.clamp(0, 2), 0.0)
        marks: Tensor = found * expected + shared / (shared + chance) * (mean - found * expected)
        return marks


def _shared(residual: Tensor, label: Tensor, classes: int, width: int) -> Tensor:
    """Estimate the power that residuals of one class share.

    Args:
        residual: complex [pair, channel, bin].
        label: int64 [pair].
        classes: Number of classes.
        width: Bins over which powers are averaged.

    Returns:
        [channel, bin]; 0 where it may be due to chance, and everywhere where no class has two pairs.
    """
    count = label.bincount(minlength=classes)
    power = _power(residual)
    couples = (count * (count - 1)).sum()
    common = _smooth((_power(_sum_by(label, residual, classes)).sum(0) - power.sum(0)) / couples.clamp_min(1), width)
    error = _smooth(power.mean(0), width) / (couples.clamp_min(1) / 2 * width).sqrt()
    return torch.where(couples > 0, (common - _ERRORS * error).clamp_min(0), 0.0)


def _gain(sound: Tensor, residual: Tensor, shared: Tensor, width: int) -> Tensor:
    """Compute the least-squares gain from protected to clean once the shared part is gone, [channel, bin]."""
    clean, cross = _power(sound).mean(0), (sound * residual.conj()).real.mean(0)
    own = (_smooth(_power(residual).mean(0), width) - shared).clamp_min(0)
    wanted = _smooth(clean + cross, width)
    gain = (wanted + _LEAST) / (wanted + _smooth(cross, width) + own + _LEAST).clamp_min(_LEAST)
    return gain.clamp(0.0, _MOST_GAIN)


def _level(clips: Clips) -> Tensor:
    """Compute the root mean square of each recording without its padding, [clip, 1, 1]."""
    count = clips.lengths.clamp_min(1).view(-1, 1, 1) * clips.audio.shape[1]
    return (energy(clips.audio) / count).sqrt().clamp_min(1e-5)


def _exponent(clean: Clips, protected: Clips) -> Tensor:
    """Estimate how noise grows with the level of its recording: 0 not at all, 1 in proportion."""
    loud = _level(protected).log().flatten().double()
    noise = _level(protected.with_audio(protected.audio - clean.audio)).log().flatten().double()
    centred = loud - loud.mean()
    slope = (centred * noise).sum() / centred.square().sum().clamp_min(1e-9)
    varies = centred.square().mean() > _LEAST_SPREAD**2
    return torch.where(varies, slope, 1.0).clamp(0, 1).float()


def _mean_by(label: Tensor, clips: Clips, classes: int) -> Tensor:
    """Average the recordings of each class, of padding nothing: [class, channel, sample]."""
    count = _sum_by(label, clips.support.to(clips.audio.dtype), classes)
    return _sum_by(label, clips.audio, classes) / count.clamp_min(1)


def _power(spectrum: Tensor) -> Tensor:
    return spectrum.real.square() + spectrum.imag.square()


def _sum_by(label: Tensor, values: Tensor, classes: int) -> Tensor:
    """Add up [item, channel, bin] by class."""
    total = torch.zeros((classes, *values.shape[1:]), dtype=values.dtype, device=values.device)
    return total.index_add(0, label, values)


def _smooth(values: Tensor, width: int) -> Tensor:
    """Average [..., channel, bin] over neighbouring bins."""
    width = min(width, 2 * values.shape[-1] - 1)
    rows = values.flatten(0, -2)[:, None]
    averaged = functional.avg_pool1d(rows, width, 1, width // 2, count_include_pad=False)
    return averaged[:, 0].view(values.shape)
