"""Short-time spectra and filters of whole sets, and what denoisers estimate from them.

Conventions: audio is float32 [clip, channel, sample] and comes back in the same shape, in place in time; everything is
vectorised over clips and channels, runs where the audio is, and lets gradients pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["fast_size", "filtered", "frames_inside", "hertz", "inverse", "mel", "noise_floor", "power", "spectra"]

_WINDOW_SECONDS = 0.032
_OVERLAP = 4  # windows over each sample
_RING_SECONDS = 0.05  # silence appended before a filter, so that its ringing does not come round to the other end
_SMOOTHED = 5  # frames over which the power is averaged before its quantile is taken
_LEAST = 1e-12  # power: far under one step of 16 bits


def window_size(rate: int) -> int:
    """Samples of a window: the power of two nearest to 32 ms, at least 8."""
    return max(8, 1 << round(math.log2(max(1.0, _WINDOW_SECONDS * rate))))


def spectra(audio: Tensor, rate: int) -> Tensor:
    """Complex [clip, channel, bin, frame]; frame t is centred on sample t * window_size / 4; Hann window."""
    size = window_size(rate)
    window = torch.hann_window(size, device=audio.device)
    flat: Tensor = torch.stft(
        audio.flatten(0, 1), size, size // _OVERLAP, window=window, pad_mode="constant", return_complex=True
    )
    return flat.view(*audio.shape[:2], *flat.shape[1:])


def inverse(transformed: Tensor, rate: int, samples: int) -> Tensor:
    """The audio [clip, channel, sample] of `spectra`, by overlapping and adding; the inverse where they were kept."""
    size = window_size(rate)
    window = torch.hann_window(size, device=transformed.device)
    flat: Tensor = torch.istft(transformed.flatten(0, 1), size, size // _OVERLAP, window=window, length=samples)
    return flat.view(*transformed.shape[:2], samples)


def power(transformed: Tensor) -> Tensor:
    """|spectrum| squared, whose gradient is finite at zero too."""
    return transformed.real.square() + transformed.imag.square()


def frames_inside(lengths: Tensor, frames: int, rate: int) -> Tensor:
    """bool [clip, 1, 1, frame]: the centre of the frame lies in the recording."""
    centre = torch.arange(frames, device=lengths.device) * (window_size(rate) // _OVERLAP)
    return (centre < lengths[:, None])[:, None, None]


def noise_floor(energy: Tensor, inside: Tensor, quantile: float) -> Tensor:
    """What a denoiser takes for steady noise: a low quantile over time of each band's power, smoothed over 5 frames.

    energy: [clip, channel, bin, frame]; inside: bool [clip, 1, 1, frame]. Digital silence is left out, since a pause
    that holds nothing says nothing of the noise. [clip, channel, bin, 1]
    """
    counted = (inside & (energy.sum(2, keepdim=True) > 0)).expand(energy.shape[0], energy.shape[1], 1, -1)
    box = functional.pad(torch.stack([energy * counted, counted.expand_as(energy).to(energy.dtype)]), (2, 2))
    total, count = box.unfold(-1, _SMOOTHED, 1).sum(-1)
    smooth = torch.where(counted, total / count.clamp_min(1.0), float("inf"))
    frames = counted.sum(-1, keepdim=True)
    at = ((frames - 1).clamp_min(0) * quantile).round().long().expand(*energy.shape[:3], 1)
    floor = smooth.sort(-1).values.gather(-1, at)
    return torch.where(floor.isfinite(), floor, 0.0).clamp_min(_LEAST)


def filtered(audio: Tensor, rate: int, response: Callable[[Tensor], Tensor]) -> Tensor:
    """The audio through a zero-phase filter. response: hertz [bin] -> factor, [bin] or [clip, 1, bin]."""
    samples = audio.shape[-1]
    size = fast_size(samples + round(_RING_SECONDS * rate))
    hz = torch.fft.rfftfreq(size, 1.0 / rate, device=audio.device)
    whole: Tensor = torch.fft.irfft(torch.fft.rfft(audio, size) * response(hz), size)
    return whole[..., :samples]


def fast_size(samples: int) -> int:
    """The next even size with no prime factor over 5, at which an FFT is quick."""
    size = samples + samples % 2
    while _largest_factor(size) > 5:
        size += 2
    return size


def mel(hz: Tensor) -> Tensor:
    """Hertz to Mel (O'Shaughnessy 1987)."""
    return 2595.0 * torch.log10(1.0 + hz / 700.0)


def hertz(mels: Tensor) -> Tensor:
    """Mel to hertz."""
    return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)


def _largest_factor(size: int) -> int:
    for prime in (2, 3, 5):
        while size % prime == 0 and size > 1:
            size //= prime
    return size
