"""Apply a gain to every cell of the spectrogram of a set of recordings."""

from __future__ import annotations

from torch import Tensor

from bench.api import Clips
from bench.sound.spectra import istft

__all__ = ["with_gain"]


def with_gain(data: Clips, cells: Tensor, gain: Tensor) -> Clips:
    """Return clips whose spectrum is scaled cell by cell, within -1..1 and zero in the padding. Differentiable.

    Args:
        data: the set.
        cells: its spectrum, as `bench.sound.spectra.stft` returns it.
        gain: factors, of a shape that broadcasts to that of `cells`.

    Returns:
        The scaled set.
    """
    scaled = istft(cells * gain, data.rate, data.audio.shape[-1])
    return data.with_audio(scaled.clamp(-1.0, 1.0) * data.support)
