"""Filters of whole clips that delay nothing: one product in the frequency domain."""

from __future__ import annotations

from torch import Tensor

from bench.sound.spectra import filtered, mel

__all__ = ["equalise"]


def equalise(audio: Tensor, rate: int, decibels: Tensor) -> Tensor:
    """Audio [clip, channel, sample] through a graphic equaliser of gains [clip, band] in dB; differentiable in both.

    The bands' middles are evenly spread in Mel from 0 to half the rate; between them the gain in dB runs in a straight
    line.
    """
    bands = decibels.shape[-1]

    def response(hz: Tensor) -> Tensor:
        place = mel(hz) / mel(hz[-1:]) * (bands - 1)
        low = place.long().clamp(max=max(0, bands - 2))
        part = place - low
        between = decibels[:, low] * (1 - part) + decibels[:, (low + 1).clamp(max=bands - 1)] * part
        factor: Tensor = 10.0 ** (between / 20.0)
        return factor[:, None]

    return filtered(audio, rate, response)
