"""Mean log spectra of recordings over their active frames, and filters that keep phase, place and level."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api import Clips
from bench.sound.levels import energy
from bench.sound.spectra import frames_inside, hop_size, istft, power, stft

__all__ = ["liftered", "mean_levels", "shaped"]

_ACTIVE = 1e-4  # least power of an active frame, relative to the clip's loudest (-40 dB)
_LEAST = 1e-8  # least power of a cell, relative to the clip's loudest (-80 dB)


def mean_levels(data: Clips) -> Tensor:
    """Compute the mean over active frames of each bin's level, less the mean of all bins.

    Active frames are those of the recording that lie within 40 dB of its loudest one. Channels are averaged in power,
    so that one filter serves all of them. A gain of the whole clip has no effect.

    Args:
        data: The clips.

    Returns:
        float32 [clip, bin], decibels; 0 for silence.
    """
    cells = power(stft(data.audio.detach(), data.rate)).mean(1)  # [clip, bin, frame]
    frame = cells.sum(1, keepdim=True)
    inside = frames_inside(data.lengths, cells.shape[-1], hop_size(data.rate))[:, None]
    active = inside & (frame > _ACTIVE * (frame * inside).amax(-1, keepdim=True))
    loudest = (cells * active).amax((1, 2), keepdim=True)
    levels = 10.0 * (cells / loudest.clamp_min(1e-30)).clamp_min(_LEAST).log10()
    mean = (levels * active).sum(-1) / active.sum(-1).clamp_min(1)
    return mean - mean.mean(1, keepdim=True)


def liftered(levels: Tensor, coefficients: int) -> Tensor:
    """Smooth levels over frequency by their first cepstral coefficients.

    Args:
        levels: [clip, bin], decibels.
        coefficients: How many are kept, the mean among them.

    Returns:
        [clip, bin].
    """
    size = 2 * (levels.shape[1] - 1)
    cepstrum = torch.fft.irfft(levels, size)
    quefrency = torch.arange(size, device=levels.device)
    cepstrum = cepstrum * (torch.minimum(quefrency, size - quefrency) < coefficients)
    smooth: Tensor = torch.fft.rfft(cepstrum).real
    return smooth


def shaped(data: Clips, decibels: Tensor) -> Clips:
    """Filter each clip by gains without phase, at its old energy; scaled down where it would clip.

    Args:
        data: The clips.
        decibels: Gain of each bin of `bench.sound.spectra.stft`, [clip, bin].

    Returns:
        The filtered clips.
    """
    gain = (10.0 ** (decibels / 20.0))[:, None, :, None]
    audio = istft(stft(data.audio, data.rate) * gain, data.rate, data.audio.shape[-1]) * data.support
    before, after = energy(data.audio.detach()), energy(audio.detach())
    audio = audio * torch.where(after > 1e-12, before / after.clamp_min(1e-12), 1.0).sqrt()
    peak = audio.detach().abs().amax((1, 2), keepdim=True)
    return data.with_audio((audio / peak.clamp_min(1.0)).clamp(-1.0, 1.0))
