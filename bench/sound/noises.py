"""Noise with a given slope of its spectrum, at a given level below recordings."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from bench.api import Clips
from bench.sound.headroom import limited
from bench.sound.levels import energy

__all__ = ["coloured", "with_noise"]

_LOWEST_HZ = 20.0  # below it the spectrum is flat: the power of brown noise would lie below hearing
_SILENT = 1e-20  # energy of a clip without sound


def coloured(clips: Clips, exponents: Tensor, rng: Generator) -> Tensor:
    """Draw noise whose power falls with frequency f as 1 / f^exponent.

    Args:
        clips: The set that it is for.
        exponents: [clip]: 0 is white, 1 pink (-3 dB an octave), 2 brown (-6 dB an octave).
        rng: Random numbers.

    Returns:
        Noise in the shape of the audio; its level has no meaning.
    """
    white = torch.randn(clips.audio.shape, generator=rng, device=rng.device).to(clips.device)
    samples = white.shape[-1]
    hz = torch.fft.rfftfreq(samples, 1.0 / clips.rate, device=clips.device).clamp_min(_LOWEST_HZ)
    slope = (hz / _LOWEST_HZ) ** (-exponents[:, None, None] / 2)
    noise: Tensor = torch.fft.irfft(torch.fft.rfft(white) * slope, samples)
    return noise


def with_noise(clips: Clips, noise: Tensor, ratios: Tensor) -> Clips:
    """Add noise to each recording; silence stays silent.

    Args:
        clips: The set.
        noise: In the shape of the audio, at any level; what lies in the padding is left out.
        ratios: [clip], signal-to-noise ratios, dB.

    Returns:
        The noisy set, scaled down where it would clip.
    """
    within = noise * clips.support
    wanted = energy(clips.audio.detach()) * 10.0 ** (-ratios[:, None, None] / 10.0)
    gain = (wanted / energy(within).clamp_min(_SILENT)).sqrt()
    return clips.with_audio(limited(clips.audio + within * gain))
