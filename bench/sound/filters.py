"""Filters of whole clips without delay: one multiplication in the frequency domain."""

from __future__ import annotations

from torch import Tensor

from bench.sound.spectra import filtered, hz_to_mel

__all__ = ["equalise"]


def equalise(audio: Tensor, rate: int, decibels: Tensor) -> Tensor:
    """Filter audio by a graphic equaliser; differentiable in audio and gains.

    The bands' centres are evenly spaced in Mel from 0 to half the rate; between them the gain in dB is linear in Mel.

    Args:
        audio: [clip, channel, sample].
        rate: samples a second.
        decibels: gains, [clip, band], dB.

    Returns:
        [clip, channel, sample], not delayed.
    """
    bands = decibels.shape[-1]

    def response(hz: Tensor) -> Tensor:
        position = hz_to_mel(hz) / hz_to_mel(hz[-1:]) * (bands - 1)
        low = position.long().clamp(max=max(0, bands - 2))
        part = position - low
        gain = decibels[:, low] * (1 - part) + decibels[:, (low + 1).clamp(max=bands - 1)] * part
        factor: Tensor = 10.0 ** (gain / 20.0)
        return factor[:, None]

    return filtered(audio, rate, response)
