"""Run codecs and denoisers that have a rate of their own and take one recording at a time, over a whole set.

The result keeps the set's rate, lengths, range and place in time, and zeros in the padding. No gradient passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from bench.api import Clips
from bench.sound.resampling import resample

__all__ = ["at_rate", "nearest_rate", "one_by_one"]


def nearest_rate(rate: int, rates: Sequence[int]) -> int:
    """Return the lowest rate that is at least a given one, or else the highest.

    Args:
        rate: samples a second.
        rates: that a codec has.

    Returns:
        One of `rates`.
    """
    return min((possible for possible in rates if possible >= rate), default=max(rates))


def at_rate(clips: Clips, rate: int, change: Callable[[Tensor, Tensor], Tensor]) -> Clips:
    """Resample clips to a rate, change them there, and resample them back.

    Args:
        clips: the set.
        rate: samples a second.
        change: from audio [clip, channel, sample] within -1..1 and lengths int64 [clip], both at `rate`, to audio of
            the same shape and place.

    Returns:
        The changed set.
    """
    samples = clips.audio.shape[-1]
    lengths = -(-clips.lengths * rate // clips.rate)
    changed = change(resample(clips.audio, clips.rate, rate).clamp(-1.0, 1.0), lengths)
    back = resample(changed, rate, clips.rate, samples)
    return clips.with_audio(back.clamp(-1.0, 1.0) * clips.support)


def one_by_one(audio: Tensor, lengths: Tensor, change: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """Change each recording by itself, without its padding, on the processor.

    Args:
        audio: [clip, channel, sample] within -1..1.
        lengths: int64 [clip], samples of each recording; empty ones stay.
        change: from float32 [channel, sample], contiguous, to an array of the same shape.

    Returns:
        [clip, channel, sample] within -1..1, zero in the padding; samples that are not finite become 0.
    """
    sounds = audio.detach().to("cpu", torch.float32).contiguous().numpy()
    changed = np.zeros_like(sounds)
    for sound, result, length in zip(sounds, changed, lengths.tolist(), strict=True):
        if length > 0:
            result[:, :length] = change(np.ascontiguousarray(sound[:, :length]))
    return torch.from_numpy(changed).nan_to_num(0.0, 0.0, 0.0).clamp(-1.0, 1.0).to(audio.device, audio.dtype)
