"""Orthogonal wavelet transforms of whole sets: Daubechies' filters, analysis into octaves, synthesis.

Conventions: audio is float32 [clip, channel, sample], and zero outside. The transform is an isometry: it keeps energy,
and `synthesise` is its transpose. Both are differentiable and run on the audio's device.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["analyse", "coefficient_counts", "daubechies", "synthesise"]


def daubechies(moments: int) -> Tensor:
    """Return Daubechies' low-pass filter of minimum phase, by spectral factorisation (Daubechies 1988).

    Args:
        moments: vanishing moments of the wavelet, 1 (Haar) to 10; above, the roots lose precision.

    Returns:
        float64 [2 * moments], of norm 1.
    """
    polynomial = [math.comb(moments - 1 + power, power) for power in range(moments)]
    half = 1.0 - 2.0 * np.roots(polynomial[::-1]).astype(
        complex
    )  # (z + 1 / z) / 2 at the roots of the half-band filter
    roots = half + np.sqrt(half**2 - 1.0)
    inside = np.where(np.abs(roots) < 1.0, roots, 1.0 / roots)
    taps = np.real(np.poly(np.concatenate([-np.ones(moments), inside])))
    return torch.from_numpy(taps * math.sqrt(2.0) / taps.sum())


def coefficient_counts(lengths: Tensor, taps: int, levels: int) -> list[Tensor]:
    """Count the coefficients of recordings that padding does not add to.

    Args:
        lengths: int64 [clip], samples.
        taps: length of the filter.
        levels: number of octaves.

    Returns:
        int64 [clip] for each octave, from the highest on.
    """
    counts = []
    for _ in range(levels):
        lengths = torch.where(lengths > 0, (lengths + taps - 1) // 2, 0)
        counts.append(lengths)
    return counts


def analyse(audio: Tensor, low_pass: Tensor, levels: int) -> tuple[list[Tensor], Tensor]:
    """Split audio into octaves.

    Args:
        audio: [clip, channel, sample].
        low_pass: as `daubechies` returns it.
        levels: number of octaves.

    Returns:
        The details, [clip, channel, coefficient] for each octave from the highest on, and what is left below them.
    """
    filters, taps = _filters(low_pass, audio), len(low_pass)
    details = []
    rest = audio.flatten(0, 1)[:, None]
    for _ in range(levels):
        both = functional.conv1d(functional.pad(rest, (taps - 2, taps - 1)), filters, stride=2)
        rest = both[:, :1]
        details.append(both[:, 1].unflatten(0, audio.shape[:2]))
    return details, rest[:, 0].unflatten(0, audio.shape[:2])


def synthesise(details: list[Tensor], rest: Tensor, low_pass: Tensor, samples: int) -> Tensor:
    """Invert `analyse`.

    Args:
        details: of each octave, from the highest on.
        rest: what is left below them.
        low_pass: as given to `analyse`.
        samples: samples of the audio.

    Returns:
        [clip, channel, samples].
    """
    filters, taps = _filters(low_pass, rest), len(low_pass)
    low: Tensor = rest.flatten(0, 1)
    sizes = [samples, *(detail.shape[-1] for detail in details)]
    for detail, size in zip(reversed(details), reversed(sizes[:-1]), strict=True):
        both = torch.stack([low, detail.flatten(0, 1)], 1)
        low = functional.conv_transpose1d(both, filters, stride=2)[:, 0, taps - 2 : taps - 2 + size]
    audio: Tensor = low.unflatten(0, rest.shape[:2])
    return audio


def _filters(low_pass: Tensor, like: Tensor) -> Tensor:
    """Return the low-pass and the high-pass, its quadrature mirror, as weights [2, 1, tap]."""
    signs = torch.ones_like(low_pass)
    signs[1::2] = -1.0
    return torch.stack([low_pass, low_pass.flip(0) * signs])[:, None].to(like.device, like.dtype)
