"""Resample audio between any two rates: differentiable, in bounded memory."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from bench.errors import DataError

__all__ = ["resample"]

_PASSED = 0.94  # share of the lower rate's band that is not attenuated; above it the gain falls to 0
_RING = 256  # length of the filter's ringing, samples of the lower rate
_LARGEST_STEP = 1 << 18  # samples of silence appended at most to find a length that both rates have


def resample(audio: Tensor, rate_from: int, rate_to: int, samples: int | None = None) -> Tensor:
    """Resample audio in the frequency domain.

    The spectrum of the whole signal, followed by silence, is cut or extended; a raised cosine ends the band that both
    rates have. Time and memory grow with the signal, not with the ratio of the rates: 44,101 to 32,000 Hz costs what
    44,100 to 32,000 Hz does. The places of samples are exact for rates up to 262,144 Hz.

    Args:
        audio: [..., sample], real floating point, on any device. Gradients pass.
        rate_from: its rate, samples a second.
        rate_to: the rate wanted.
        samples: length of the result; None: `round(sample * rate_to / rate_from)`.

    Returns:
        [..., samples], in place in time: sample i of the input lies at i * rate_to / rate_from. It may overshoot full
        scale. The input itself where the rates are equal.

    Raises:
        DataError: a rate below 1.
    """
    if rate_from < 1 or rate_to < 1:
        raise DataError(f"cannot resample from {rate_from} to {rate_to} samples a second, expected at least 1")
    length = audio.shape[-1]
    target = round(length * rate_to / rate_from) if samples is None else samples
    if rate_from == rate_to and target == length:
        return audio
    if length == 0 or target == 0:
        return audio.new_zeros(*audio.shape[:-1], target)
    size, padded = _lengths(length, target, rate_from, rate_to)
    spectrum = torch.fft.rfft(audio, size)
    bins = min(size, padded) // 2 + 1
    position = torch.arange(bins, device=audio.device, dtype=torch.float64) / (min(size, padded) / 2)
    gain = 0.5 + 0.5 * torch.cos(torch.pi * ((position - _PASSED) / (1 - _PASSED)).clamp(0, 1))
    shaped = spectrum[..., :bins] * gain.to(audio.dtype) * (padded / size)
    result: Tensor = torch.fft.irfft(shaped, padded)
    return result[..., :target]


@functools.lru_cache(maxsize=256)
def _lengths(length: int, target: int, rate_from: int, rate_to: int) -> tuple[int, int]:
    """Return transform lengths at both rates that last equally long, with room for the filter to ring."""
    ring = min(_RING * max(1, rate_from // rate_to), max(length, 1 << 16))
    least = max(length, -(-target * rate_from // rate_to)) + ring
    step = rate_from // math.gcd(rate_from, rate_to)
    if step <= _LARGEST_STEP:
        size = -(-least // step) * step
        return size, size * rate_to // rate_from
    candidates = range(least, least + _LARGEST_STEP)
    size = min(candidates, key=lambda size: min(size * rate_to % rate_from, -size * rate_to % rate_from))
    return size, max(2, round(size * rate_to / rate_from))
