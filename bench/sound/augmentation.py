"""Augmentation of recordings: shift, gain, equaliser, noise, masks in time and frequency.

Conventions: a set of clips and a generator give a set of clips; each clip draws its own numbers; the result is within
-1..1, with zeros in the padding. The result is differentiable in the audio, not in the random numbers.
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
    largest = torch.clamp(clips.lengths // 2, max=round(seconds * clips.rate))
    offsets = (_uniform(clips, rng) * 2 - 1) * (largest + 0.999)  # each whole number equally often, but 0 twice
    offsets = offsets.trunc().long()
    source = torch.arange(samples, device=clips.device) - offsets[:, None]
    within = ((source >= 0) & (source < clips.lengths[:, None]))[:, None]
    shifted_audio = (
        clips.audio.gather(-1, source.clamp(0, max(0, samples - 1))[:, None].expand_as(clips.audio)) * within
    )
    return replace(clips.with_audio(shifted_audio), lengths=(clips.lengths + offsets).clamp(max=samples))


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
    gains = (_uniform(clips, rng, bands) * 2 - 1) * decibels
    return clips.with_audio(_limited(equalise(clips.audio, clips.rate, gains) * clips.support))


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
    mean_power = clips.audio.detach().square().mean(1).sum(-1) / clips.lengths.clamp_min(1)
    level = mean_power.sqrt() * _decibels(-ratio)
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
        stopped = (position >= start[..., None]) & (position < (start + width)[..., None])
        return (~stopped.any(1, keepdim=True)).to(clips.audio.dtype)

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
    silenced = ((position >= start[..., None]) & (position < (start + width)[..., None])).any(1, keepdim=True)
    return clips.with_audio(clips.audio * ~silenced)


def _uniform(clips: Clips, rng: Generator, *shape: int) -> Tensor:
    """Draw numbers in 0..1, [clip, *shape], on the clips' device whatever the generator's."""
    return torch.rand(len(clips), *shape, generator=rng, device=rng.device).to(clips.device)


def _decibels(values: Tensor) -> Tensor:
    """Return the amplitude factor of a gain in dB."""
    factor: Tensor = 10.0 ** (values / 20.0)
    return factor


def _limited(audio: Tensor) -> Tensor:
    """Scale each clip down so far that it peaks at 1 at most."""
    peak = audio.detach().abs().amax((1, 2), keepdim=True) if audio.shape[-1] else audio.new_zeros(1)
    return (audio / peak.clamp_min(1.0)).clamp(-1.0, 1.0)
