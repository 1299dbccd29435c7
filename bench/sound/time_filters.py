"""Equalisers that change from frame to frame."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.sound.spectra import hop_size, hz_to_mel, istft, stft, window_size

__all__ = ["equalise_frames", "frame_count"]


def frame_count(samples: int, rate: int) -> int:
    """Return the number of frames that `equalise_frames` has gains for.

    Args:
        samples: Length of a clip.
        rate: Samples a second.

    Returns:
        The frames, one every `hop_size(rate)` samples.
    """
    return 1 + samples // hop_size(rate)


def equalise_frames(audio: Tensor, rate: int, decibels: Tensor) -> Tensor:
    """Filter each frame by an equaliser of its own; differentiable in audio and gains.

    Points of a curve are evenly spaced in Mel from 0 to half the rate; between them the gain in dB is linear in Mel.
    Gains are applied to windows of about 32 ms that overlap, so that faster changes are averaged.

    Args:
        audio: [clip, channel, sample].
        rate: Samples a second.
        decibels: [clip, band, frame], of as many frames as `frame_count` gives.

    Returns:
        [clip, channel, sample], not delayed.
    """
    spectrum = stft(audio, rate)
    bands = decibels.shape[1]
    hz = torch.arange(spectrum.shape[2], device=audio.device) * (rate / window_size(rate))
    position = hz_to_mel(hz) / hz_to_mel(hz[-1:]) * (bands - 1)
    low = position.long().clamp(max=max(0, bands - 2))
    part = (position - low)[:, None]
    gain = decibels[:, low] * (1 - part) + decibels[:, (low + 1).clamp(max=bands - 1)] * part
    return istft(spectrum * 10.0 ** (gain[:, None] / 20.0), rate, audio.shape[-1])
