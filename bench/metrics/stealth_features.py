"""Features by which detectors tell protected items from clean ones: of clips, and of rolls.

Conventions: float64 [item] each, finite for every item, silence included. Padding has no effect, and neither has a
gain, except on `level_db`, as long as sound and noise lie above the floors below. Channels are averaged in power.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api import Clips, Rolls
from bench.notes.rolls import Notes, notes_of
from bench.sound.bands import band_levels
from bench.sound.codecs import highest_kbps, mp3
from bench.sound.levels import energy
from bench.sound.recoding import at_rate, nearest_rate
from bench.sound.spectra import frames_inside, hop_size, power, stft

__all__ = ["clip_features", "codec_residual", "in_order", "roll_features"]

_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_BANDS = 20
_ACTIVE = 1e-4  # power of an active frame, relative to the clip's loudest (-40 dB)
_SILENT = 1e-6  # power up to which a frame is silence, relative to the clip's loudest (-60 dB)
_QUIET = 0.2  # share of the frames that are quiet ones
_LEAST = 1e-12  # power, relative to a clip's mean
_LEAST_LEVEL = 1e-10  # power, relative to full scale
_HIGH = 0.75  # of half the rate: where the high band begins
_SOFT = 0.25  # velocity below which a note is soft
_AT_ONCE = 1 << 22  # samples


def clip_features(clips: Clips) -> dict[str, Tensor]:
    """Compute the features of clips.

    Args:
        clips: The set.

    Returns:
        Name -> float64 [clip]: `level_db`, of the active frames (within 40 dB of the loudest), re full scale;
        `mel_mean_NN_db` and `mel_std_NN_db`, the level of 20 bands over the active frames, less the mean of all bands;
        `flatness_active_db` and `flatness_quiet_db`, the spectral flatness of the active frames and of the quietest
        fifth, 0 for white noise; `high_band_db`, the share of the energy above 3/4 of half the rate; `crest_db`, peak
        over RMS; `noise_floor_db`, the mean level over bins of what each bin reaches in all but the quietest fifth of
        the frames, re the mean power; `silence_share`, frames 60 dB below the loudest.
    """
    size = max(1, _AT_ONCE // max(1, clips.audio[:1].numel()))
    parts = [clips.select(part) for part in torch.arange(len(clips)).split(size)]
    rows = [_mel(part) | _spectral(part) | _crest(part) for part in parts]
    return {name: torch.cat([row[name] for row in rows]).double() for name in rows[0]} if rows else {}


def codec_residual(clips: Clips) -> Tensor:
    """Compute the energy that a round trip through MP3 changes, relative to that of the clip.

    A perceptual coder does not keep what is masked, nor noise (adversarial noise in audio shows in what a neural codec
    changes: Chen et al. 2024, arXiv:2406.04582). At a constant bit rate of up to 128 kbit/s; clips of another rate than
    MP3 has are resampled, more than two channels are averaged.

    Args:
        clips: The set.

    Returns:
        dB, float64 [clip], at least -120; -120 for silence.
    """
    mixed = clips if clips.audio.shape[1] <= 2 else clips.with_audio(clips.audio.mean(1, keepdim=True))
    rate = nearest_rate(clips.rate, _MP3_RATES)
    coded = at_rate(mixed, rate, lambda audio, lengths: mp3(audio, rate, highest_kbps(rate), lengths))
    before, residual = energy(mixed.audio.detach().double()), energy((coded.audio - mixed.audio).detach().double())
    return _decibels((residual / before.clamp_min(1e-20))[:, 0, 0])


def roll_features(rolls: Rolls) -> dict[str, Tensor]:
    """Compute the features of rolls, all tracks together.

    Args:
        rolls: The set.

    Returns:
        Name -> float64 [roll], 0 for a roll without notes: `density`, notes a beat; `velocity_mean`, `velocity_std`
        and `velocity_step`, the mean change from note to note of a track; `soft_share`, notes of a velocity below 0.25;
        `repeat_share`, notes that strike the pitch that ends there, in the same track; `duration_mean` and
        `duration_std`, log2 steps; `single_share`, notes of one step; `polyphony`, notes that sound together where any
        sounds; `interval_mean`, semitones from note to note of a track.
    """
    notes = notes_of(rolls)
    count = torch.bincount(notes.roll, minlength=len(rolls)).double()
    sounding = (rolls.velocity.detach() > 0).flatten(3).sum((1, 3)).double()  # [roll, step]
    struck = _strikes_again(notes)
    ordered = in_order(notes)
    follows = (ordered.roll[1:] == ordered.roll[:-1]) & (ordered.track[1:] == ordered.track[:-1])
    later = ordered.roll[1:][follows]

    def mean(values: Tensor, roll: Tensor = notes.roll) -> Tensor:
        total = torch.zeros(len(rolls), dtype=torch.float64, device=values.device).index_add_(0, roll, values.double())
        return total / torch.bincount(roll, minlength=len(rolls)).clamp_min(1)

    def spread(values: Tensor) -> Tensor:
        return mean((values.double() - mean(values)[notes.roll]).square()).sqrt()

    octaves = notes.duration.double().log2()
    return {
        "density": count / (rolls.lengths / rolls.steps_per_beat).clamp_min(1e-9),
        "velocity_mean": mean(notes.velocity),
        "velocity_std": spread(notes.velocity),
        "velocity_step": mean(ordered.velocity.diff().abs()[follows], later),
        "soft_share": mean(notes.velocity < _SOFT),
        "repeat_share": mean(struck),
        "duration_mean": mean(octaves),
        "duration_std": spread(octaves),
        "single_share": mean(notes.duration == 1),
        "polyphony": sounding.sum(1) / (sounding > 0).sum(1).clamp_min(1),
        "interval_mean": mean(ordered.pitch.diff().abs()[follows], later),
    }


def in_order(notes: Notes) -> Notes:
    """Return notes by roll, track, start and pitch.

    Args:
        notes: In any order.

    Returns:
        The same notes.
    """
    order = notes.pitch.argsort(stable=True)
    for column in (notes.start, notes.track, notes.roll):
        order = order[column[order].argsort(stable=True)]
    return notes[order]


def _strikes_again(notes: Notes) -> Tensor:
    """Mark the notes that begin where another of the same track and pitch ends; `notes` as `notes_of` orders them."""
    same = (notes.roll[1:] == notes.roll[:-1]) & (notes.track[1:] == notes.track[:-1])
    same &= (notes.pitch[1:] == notes.pitch[:-1]) & (notes.start[1:] == notes.end[:-1])
    return torch.cat([same.new_zeros(min(1, len(notes))), same])


def _mel(clips: Clips) -> dict[str, Tensor]:
    """Compute level and statistics of the levels in bands."""
    levels, inside = band_levels(clips, _BANDS)
    levels = levels.double()
    frame = (10.0 ** (levels / 10.0)).sum(1, keepdim=True) * inside
    active = frame > _ACTIVE * frame.amax(-1, keepdim=True)
    count = active.sum(-1).clamp_min(1)
    mean = (levels * active).sum(-1) / count
    deviation = ((levels - mean[..., None]).square() * active).sum(-1).div(count).sqrt()
    relative = mean - mean.mean(1, keepdim=True)
    statistics = {"level_db": _decibels((frame * active).sum(-1).div(count)[:, 0], _LEAST_LEVEL)}
    for band in range(_BANDS):
        statistics[f"mel_mean_{band:02d}_db"] = relative[:, band]
        statistics[f"mel_std_{band:02d}_db"] = deviation[:, band]
    return statistics


def _spectral(clips: Clips) -> dict[str, Tensor]:
    """Compute flatness, high band, noise floor and share of silence."""
    cells = power(stft(clips.audio.detach(), clips.rate)).double().mean(1)  # [clip, bin, frame]
    inside = frames_inside(clips.lengths, cells.shape[-1], hop_size(clips.rate))[:, None]
    cells = cells * inside
    frame = cells.sum(1)
    loudest = frame.amax(1, keepdim=True)
    active, sounds = frame > _ACTIVE * loudest, frame > 0
    rank = torch.where(sounds, frame, torch.inf).argsort(1).argsort(1)
    quiet = sounds & (rank < (_QUIET * sounds.sum(1, keepdim=True)).ceil())
    mean_power = (cells.mean(1) * active).sum(1) / active.sum(1).clamp_min(1)
    least = (_LEAST * mean_power).clamp_min(1e-30)[:, None, None]
    flat = 10.0 * (cells.clamp_min(least).log10().mean(1) - cells.clamp_min(least).mean(1).log10())
    low_bins = round(_HIGH * (cells.shape[1] - 1))
    rising = torch.where(inside, cells, torch.inf).sort(-1).values
    at = ((inside.sum(-1, keepdim=True) - 1).clamp_min(0) * _QUIET).round().long()
    floor = rising.gather(-1, at.expand(-1, cells.shape[1], -1))[..., 0] / mean_power.clamp_min(1e-30)[:, None]
    total = cells.sum((1, 2))

    def over(values: Tensor, frames: Tensor) -> Tensor:
        return (values * frames).sum(1) / frames.sum(1).clamp_min(1)

    return {
        "flatness_active_db": over(flat, active),
        "flatness_quiet_db": over(flat, quiet),
        "high_band_db": _decibels(cells[:, low_bins:].sum((1, 2)) / total.clamp_min(1e-30)),
        "noise_floor_db": _decibels(floor).mean(1),
        "silence_share": over((frame <= _SILENT * loudest).double(), inside[:, 0]),
    }


def _crest(clips: Clips) -> dict[str, Tensor]:
    """Compute the crest factor; 0 for silence."""
    audio = clips.audio.detach().double()
    mean = energy(audio)[:, 0, 0] / (audio.shape[1] * clips.lengths).clamp_min(1)
    peak = audio.abs().amax((1, 2)) if audio.shape[-1] else mean * 0
    ratio = peak.square() / mean.clamp_min(1e-30)
    return {"crest_db": torch.where(mean > 0, _decibels(ratio), 0.0)}


def _decibels(ratio: Tensor, least: float = _LEAST) -> Tensor:
    return 10.0 * ratio.clamp_min(least).log10()
