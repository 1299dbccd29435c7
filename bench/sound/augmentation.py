"""Random changes of recordings that a listener forgives: shift, gain, equaliser, noise, masks in time and frequency.

Conventions: a set of clips and a generator give a set of clips; each clip draws its own numbers; what comes back is
within -1..1, with zeros in the padding. Everything but the draw is differentiable in the audio.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Generator, Tensor

from bench.api import Clips
from bench.sound.filters import equalise
from bench.sound.spectra import filtered, mel

__all__ = ["amplified", "band_stopped", "equalised", "interrupted", "noisy", "shifted"]


def shifted(clips: Clips, seconds: float, rng: Generator) -> Clips:
    """Moved by up to `seconds` either way within the window, zeros moving in; lengths follow.

    No recording moves by more than half its own length, so that some of each is left.
    """
    samples = clips.audio.shape[-1]
    most = torch.clamp(clips.lengths // 2, max=round(seconds * clips.rate))
    by = (_uniform(clips, rng) * 2 - 1) * (most + 0.999)  # each whole number equally often, but 0 twice
    by = by.trunc().long()
    source = torch.arange(samples, device=clips.device) - by[:, None]
    known = ((source >= 0) & (source < clips.lengths[:, None]))[:, None]
    moved = clips.audio.gather(-1, source.clamp(0, max(0, samples - 1))[:, None].expand_as(clips.audio)) * known
    return replace(clips.with_audio(moved), lengths=(clips.lengths + by).clamp(max=samples))


def amplified(clips: Clips, decibels: float, rng: Generator) -> Clips:
    """Louder or softer by up to `decibels`, but never so loud that it clips."""
    gain = _decibels((_uniform(clips, rng) * 2 - 1) * decibels)[:, None, None]
    return clips.with_audio(_limited(clips.audio * gain))


def equalised(clips: Clips, decibels: float, bands: int, rng: Generator) -> Clips:
    """Through a smooth equaliser of its own: up to `decibels` either way at `bands` points, evenly spread in Mel."""
    drawn = (_uniform(clips, rng, bands) * 2 - 1) * decibels
    return clips.with_audio(_limited(equalise(clips.audio, clips.rate, drawn) * clips.support))


def noisy(clips: Clips, lowest_db: float, highest_db: float, rng: Generator) -> Clips:
    """With white noise in the recording, at a signal-to-noise ratio between the two, dB; silence stays silent."""
    ratio = lowest_db + (highest_db - lowest_db) * _uniform(clips, rng)
    noise = torch.randn(clips.audio.shape, generator=rng, device=rng.device).to(clips.device) * clips.support
    energy = clips.audio.detach().square().mean(1).sum(-1) / clips.lengths.clamp_min(1)
    level = energy.sqrt() * _decibels(-ratio)
    return clips.with_audio((clips.audio + noise * level[:, None, None]).clamp(-1.0, 1.0))


def band_stopped(clips: Clips, masks: int, share: float, rng: Generator) -> Clips:
    """Without `masks` bands of frequencies, each up to `share` of the Mel range wide, anywhere in it."""
    width = _uniform(clips, rng, masks) * share
    start = _uniform(clips, rng, masks) * (1 - width)

    def response(hz: Tensor) -> Tensor:
        place = mel(hz) / mel(hz[-1:])
        cut = (place >= start[..., None]) & (place < (start + width)[..., None])
        return (~cut.any(1, keepdim=True)).to(clips.audio.dtype)

    return clips.with_audio(_limited(filtered(clips.audio, clips.rate, response) * clips.support))


def interrupted(clips: Clips, masks: int, share: float, rng: Generator) -> Clips:
    """Silent for `masks` stretches, each up to `share` of the recording long, anywhere in it."""
    width = _uniform(clips, rng, masks) * share
    start = _uniform(clips, rng, masks) * (1 - width)
    place = torch.arange(clips.audio.shape[-1], device=clips.device) / clips.lengths.clamp_min(1)[:, None, None]
    cut = ((place >= start[..., None]) & (place < (start + width)[..., None])).any(1, keepdim=True)
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
