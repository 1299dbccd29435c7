"""Short-time spectra, noise floors and filters of whole sets.

Conventions: audio is float32 [clip, channel, sample]; results have the same shape and position in time. Everything is
vectorised over clips and channels, runs on the audio's device, and is differentiable.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "fast_size", "filtered", "frames_inside", "hop_size", "hz_to_mel", "istft", "mel_to_hz", "nearest_power_of_two",
    "noise_floor", "power", "spectrum_with_floor", "stft", "window_size",
]  # fmt: skip

_WINDOW_SECONDS = 0.032
_OVERLAP = 4  # windows over each sample
_RING_SECONDS = 0.05  # silence appended before a filter, so that its ringing does not wrap around
_SMOOTHED = 5  # frames over which the power is averaged before its quantile
_LEAST = 1e-12  # least power: far below one step of 16 bits


def nearest_power_of_two(samples: float, least: int = 8) -> int:
    """Return the power of two nearest (by ratio) to a number of samples.

    Args:
        samples: The number.
        least: The smallest result, a power of two.

    Returns:
        The power of two.
    """
    return max(least, 1 << round(math.log2(max(1.0, samples))))


def window_size(rate: int) -> int:
    """Return the default window: the power of two nearest to 32 ms, at least 8.

    Args:
        rate: Samples a second.

    Returns:
        Samples.
    """
    return nearest_power_of_two(_WINDOW_SECONDS * rate)


def stft(audio: Tensor, rate: int) -> Tensor:
    """Return the short-time Fourier transform under a Hann window.

    Args:
        audio: [clip, channel, sample].
        rate: samples a second.

    Returns:
        Complex [clip, channel, bin, frame]; frame t is centred on sample `t * hop_size(rate)`.
    """
    size = window_size(rate)
    window = torch.hann_window(size, device=audio.device)
    flat: Tensor = torch.stft(
        audio.flatten(0, 1), size, hop_size(rate), window=window, pad_mode="constant", return_complex=True
    )
    return flat.view(*audio.shape[:2], *flat.shape[1:])


def istft(transformed: Tensor, rate: int, samples: int) -> Tensor:
    """Invert `stft` by overlap-add.

    Args:
        transformed: complex [clip, channel, bin, frame].
        rate: samples a second.
        samples: samples wanted.

    Returns:
        [clip, channel, samples].
    """
    size = window_size(rate)
    window = torch.hann_window(size, device=transformed.device)
    flat: Tensor = torch.istft(transformed.flatten(0, 1), size, hop_size(rate), window=window, length=samples)
    return flat.view(*transformed.shape[:2], samples)


def power(transformed: Tensor) -> Tensor:
    """Return the squared magnitude of a spectrum; its gradient is finite at zero too.

    Args:
        transformed: Complex, of any shape.

    Returns:
        Real, of the same shape.
    """
    return transformed.real.square() + transformed.imag.square()


def hop_size(rate: int) -> int:
    """Return the distance between the frames of `stft`.

    Args:
        rate: Samples a second.

    Returns:
        Samples.
    """
    return window_size(rate) // _OVERLAP


def frames_inside(lengths: Tensor, frames: int, hop: int) -> Tensor:
    """Mark the frames of recordings, not those of their padding.

    Args:
        lengths: int [...], samples of each recording.
        frames: Number of frames.
        hop: Samples from one frame to the next; frame t is centred on sample t * hop.

    Returns:
        bool [..., frames]: True for the `1 + length // hop` frames that the recording has without its padding.
    """
    return torch.arange(frames, device=lengths.device) <= (lengths // hop)[..., None]


def noise_floor(energy: Tensor, within: Tensor, quantile: float) -> Tensor:
    """Estimate steady noise: a low quantile over time of each bin's power, smoothed over 5 frames.

    Args:
        energy: power, [clip, channel, bin, frame].
        within: bool [clip, 1, 1, frame], the frames of the recording. Digital silence in it is left out.
        quantile: 0..1.

    Returns:
        Power, [clip, channel, bin, 1].
    """
    counted = (within & (energy.sum(2, keepdim=True) > 0)).expand(energy.shape[0], energy.shape[1], 1, -1)
    box = functional.pad(torch.stack([energy * counted, counted.expand_as(energy).to(energy.dtype)]), (2, 2))
    total, count = box.unfold(-1, _SMOOTHED, 1).sum(-1)
    smooth = torch.where(counted, total / count.clamp_min(1.0), float("inf"))
    frames = counted.sum(-1, keepdim=True)
    rank = ((frames - 1).clamp_min(0) * quantile).round().long().expand(*energy.shape[:3], 1)
    floor = smooth.sort(-1).values.gather(-1, rank)
    return torch.where(floor.isfinite(), floor, 0.0).clamp_min(_LEAST)


def spectrum_with_floor(audio: Tensor, lengths: Tensor, rate: int, quantile: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the spectrum of recordings, its power and their noise floor, as denoisers need them.

    Args:
        audio: [clip, channel, sample].
        lengths: int64 [clip], samples of each recording.
        rate: Samples a second.
        quantile: Of the power over time, 0..1, see `noise_floor`.

    Returns:
        Complex and power [clip, channel, bin, frame], and the floor's power [clip, channel, bin, 1].
    """
    spectrum = stft(audio, rate)
    energy = power(spectrum)
    within = frames_inside(lengths, energy.shape[-1], hop_size(rate))[:, None, None]
    return spectrum, energy, noise_floor(energy, within, quantile)


def filtered(audio: Tensor, rate: int, response: Callable[[Tensor], Tensor]) -> Tensor:
    """Filter audio without delay (zero phase), in the frequency domain.

    Args:
        audio: [clip, channel, sample].
        rate: samples a second.
        response: from frequencies in Hz, [bin], to factors, [bin] or [clip, 1, bin].

    Returns:
        [clip, channel, sample].
    """
    samples = audio.shape[-1]
    size = fast_size(samples + round(_RING_SECONDS * rate))
    hz = torch.fft.rfftfreq(size, 1.0 / rate, device=audio.device)
    full: Tensor = torch.fft.irfft(torch.fft.rfft(audio, size) * response(hz), size)
    return full[..., :samples]


def fast_size(samples: int) -> int:
    """Return the next even size without a prime factor above 5, at which an FFT is fast.

    Args:
        samples: The least size.

    Returns:
        Samples.
    """
    size = samples + samples % 2
    while _largest_factor(size) > 5:
        size += 2
    return size


def hz_to_mel(hz: Tensor) -> Tensor:
    """Convert frequencies to the Mel scale (O'Shaughnessy 1987).

    Args:
        hz: Hz, of any shape.

    Returns:
        Mel, of the same shape.
    """
    return 2595.0 * torch.log10(1.0 + hz / 700.0)


def mel_to_hz(mels: Tensor) -> Tensor:
    """Convert Mel to frequencies: the inverse of `hz_to_mel`.

    Args:
        mels: Mel, of any shape.

    Returns:
        Hz, of the same shape.
    """
    return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)


def _largest_factor(size: int) -> int:
    for prime in (2, 3, 5):
        while size % prime == 0 and size > 1:
            size //= prime
    return size
