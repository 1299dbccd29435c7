"""Warps of the frequency axis: every partial moves, no sample's place in time does."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.sound.spectra import hop_size, istft, stft, window_size

__all__ = ["warped"]

_BEND = 0.6  # of half the rate: up to there the warp is linear; 4.8 kHz at 16 kHz, as in Jaitly & Hinton 2013


def warped(audio: Tensor, rate: int, factors: Tensor) -> Tensor:
    """Move the frequencies of each clip by a factor, by a phase vocoder (Laroche and Dolson 1999).

    The warp is that of vocal tract length perturbation: linear up to about 60 % of half the rate, and from there linear
    to half the rate, which stays. Differentiable in the audio, whose phases count as constants.

    Args:
        audio: [clip, channel, sample].
        rate: Samples a second.
        factors: [clip], 0.5..2; above 1 frequencies rise.

    Returns:
        [clip, channel, sample], not delayed.
    """
    spectrum = stft(audio, rate)
    bins = spectrum.shape[2]
    target = torch.arange(bins, device=audio.device, dtype=audio.dtype)
    alternating = (1 - 2 * (target % 2))[:, None]  # moves the reference of the phases to the middle of the window
    centred = spectrum * alternating
    source = _source(target, factors)
    low = source.long().clamp(max=bins - 2)
    part = (source - low)[:, None, :, None]
    with torch.no_grad():
        phase = centred.angle()
        ratio = torch.where(target > 0, target / source.clamp_min(1e-9), 1.0)[:, None, :, None]
        nearest = source.round().long()
        steps = _taken(_advance(phase, rate), nearest) * ratio
        wanted = torch.cat([_taken(phase, nearest)[..., :1], steps], -1).cumsum(-1)

    def moved(index: Tensor) -> Tensor:
        turn = wanted - _taken(phase, index)
        return _taken(centred, index) * torch.complex(turn.cos(), turn.sin())

    mixture = moved(low) * (1 - part) + moved(low + 1) * part
    return istft(mixture * alternating, rate, audio.shape[-1])


def _source(target: Tensor, factors: Tensor) -> Tensor:
    """Return the bin that each bin is taken from, [clip, bin]: the inverse of the piecewise linear warp."""
    highest = target[-1]
    factor = factors[:, None]
    bend = _BEND * highest * factor.clamp(max=1.0)  # of the result; bend / factor of the source
    slope = (highest - bend / factor) / (highest - bend)
    return torch.where(target <= bend, target / factor, highest - slope * (highest - target)).clamp(0.0, float(highest))


def _advance(phase: Tensor, rate: int) -> Tensor:
    """Return by how many radians the partial in each bin advances from frame to frame: [clip, channel, bin, frame]."""
    bins = torch.arange(phase.shape[2], device=phase.device, dtype=phase.dtype)
    expected = (2 * torch.pi * hop_size(rate) / window_size(rate)) * bins[:, None]
    deviation = phase.diff(dim=-1) - expected
    return expected + torch.remainder(deviation + torch.pi, 2 * torch.pi) - torch.pi


def _taken(values: Tensor, index: Tensor) -> Tensor:
    """Take bins of [clip, channel, bin, frame] by an index [clip, bin]."""
    return values.gather(2, index[:, None, :, None].expand(-1, values.shape[1], -1, values.shape[3]))
