"""Augmentation of recordings: shift, gain, equaliser, noise, masks in time and frequency.

Conventions: a set of clips and a generator give a set of clips; each clip draws its own numbers; what comes back is
within -1..1, with zeros in the padding. Everything but the draw is differentiable in the audio.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Generator, Tensor

from bench.api import Clips
from bench.sound.filters import equalise
from bench.sound.spectra import filtered, hz_to_mel

__all__ = ["amplified", "band_stopped", "equalised", "interrupted", "noisy", "shifted"]


def shifted(clips: Clips, seconds: float, rng: Generator) -> Clips:
    """Shift each clip in time within its window; zeros move in, lengths follow.

    Args:
        clips: the set.
        seconds: largest shift either way. No recording moves by more than half its own length.
        rng: random numbers.

    Returns:
        The shifted set.
    """
    samples = clips.audio.shape[-1]
    most = torch.clamp(clips.lengths // 2, max=round(seconds * clips.rate))
    by = (_uniform(clips, rng) * 2 - 1) * (most + 0.999)  # each whole number equally often, but 0 twice
    by = by.trunc().long()
    source = torch.arange(samples, device=clips.device) - by[:, None]
    inside = ((source >= 0) & (source < clips.lengths[:, None]))[:, None]
    moved = clips.audio.gather(-1, source.clamp(0, max(0, samples - 1))[:, None].expand_as(clips.audio)) * inside
    return replace(clips.with_audio(moved), lengths=(clips.lengths + by).clamp(max=samples))


def amplified(clips: Clips, decibels: float, rng: Generator) -> Clips:
    """Change the gain of each clip, never so much that it clips.

    Args:
        clips: the set.
        decibels: largest change either way, dB.
        rng: random numbers.

    Returns:
        The set at its new levels.
    """
    gain = _decibels((_uniform(clips, rng) * 2 - 1) * decibels)[:, None, None]
    return clips.with_audio(_limited(clips.audio * gain))


def equalised(clips: Clips, decibels: float, bands: int, rng: Generator) -> Clips:
    """Filter each clip by a smooth random equaliser.

    Args:
        clips: the set.
        decibels: largest gain either way, dB.
        bands: number of points of the gain's curve, evenly spread in Mel.
        rng: random numbers.

    Returns:
        The filtered set, scaled down where it would clip.
    """
    drawn = (_uniform(clips, rng, bands) * 2 - 1) * decibels
    return clips.with_audio(_limited(equalise(clips.audio, clips.rate, drawn) * clips.support))


def noisy(clips: Clips, lowest_db: float, highest_db: float, rng: Generator) -> Clips:
    """Add white noise to each recording; silence stays silent.

    Args:
        clips: the set.
        lowest_db: lowest signal-to-noise ratio, dB.
        highest_db: highest signal-to-noise ratio, dB.
        rng: random numbers.

    Returns:
        The noisy set.
    """
    ratio = lowest_db + (highest_db - lowest_db) * _uniform(clips, rng)
    noise = torch.randn(clips.audio.shape, generator=rng, device=rng.device).to(clips.device) * clips.support
    energy = clips.audio.detach().square().mean(1).sum(-1) / clips.lengths.clamp_min(1)
    level = energy.sqrt() * _decibels(-ratio)
    return clips.with_audio((clips.audio + noise * level[:, None, None]).clamp(-1.0, 1.0))


def band_stopped(clips: Clips, masks: int, share: float, rng: Generator) -> Clips:
    """Remove random bands of frequencies from each clip.

    Args:
        clips: the set.
        masks: number of bands.
        share: largest width of a band, as a share of the Mel range.
        rng: random numbers.

    Returns:
        The filtered set, scaled down where it would clip.
    """
    width = _uniform(clips, rng, masks) * share
    start = _uniform(clips, rng, masks) * (1 - width)

    def response(hz: Tensor) -> Tensor:
        position = hz_to_mel(hz) / hz_to_mel(hz[-1:])
        cut = (position >= start[..., None]) & (position < (start + width)[..., None])
        return (~cut.any(1, keepdim=True)).to(clips.audio.dtype)

    return clips.with_audio(_limited(filtered(clips.audio, clips.rate, response) * clips.support))


def interrupted(clips: Clips, masks: int, share: float, rng: Generator) -> Clips:
    """Silence random stretches of each recording.

    Args:
        clips: the set.
        masks: number of stretches.
        share: largest length of a stretch, as a share of the recording.
        rng: random numbers.

    Returns:
        The interrupted set.
    """
    width = _uniform(clips, rng, masks) * share
    start = _uniform(clips, rng, masks) * (1 - width)
    position = torch.arange(clips.audio.shape[-1], device=clips.device) / clips.lengths.clamp_min(1)[:, None, None]
    cut = ((position >= start[..., None]) & (position < (start + width)[..., None])).any(1, keepdim=True)
    return clips.with_audio(clips.audio * ~cut)


def _uniform(clips: Clips, rng: Generator, *shape: int) -> Tensor:
    """[clip, *shape] in 0..1, on the clips' device whatever the generator's."""
    return torch.rand(len(clips), *shape, generator=rng, device=rng.device).to(clips.device)


def _decibels(values: Tensor) -> Tensor:
    factor: Tensor = 10.0 ** (values / 20.0)
    return factor


def _limited(audio: Tensor) -> Tensor:
    """Each clip scaled down so far that it peaks at 1 at most."""
    peak = audio.detach().abs().amax((1, 2), keepdim=True) if audio.shape[-1] else audio.new_zeros(1)
    return (audio / peak.clamp_min(1.0)).clamp(-1.0, 1.0)
