"""Round trips through lossy codecs: MP3, Vorbis, Opus.

Conventions: audio is float32 [clip, channel, sample] within -1..1 and comes back in the same shape, place and
loudness: delay is cut off, padding stays zero, what overshoots is clipped to -1..1. `lengths` [clip] are the samples of
recording; only these are coded. No gradient passes. libsndfile does the coding, in memory, with LAME for MP3.
"""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import soundfile
import torch
from torch import Tensor

from bench.errors import DataError
from bench.sound.decoding import NonSeekableSoundFile

__all__ = ["highest_kbps", "mp3", "mp3_gain", "mp3_kbps", "opus", "opus_rates", "vorbis"]

# The bit rates of MPEG-1 (32 kHz and more), MPEG-2 (16 to 24 kHz) and MPEG-2.5 (less), layer III, in kbit/s.
_MPEG_1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG_2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MPEG_25 = _MPEG_2[:8]
_MP3_KBPS = {
    **dict.fromkeys((8_000, 11_025, 12_000), _MPEG_25),
    **dict.fromkeys((16_000, 22_050, 24_000), _MPEG_2),
    **dict.fromkeys((32_000, 44_100, 48_000), _MPEG_1),
}
# LAME's encoder (576 samples) and any decoder (528 + 1) delay by this much. The header that lets a decoder cut it off
# does not fit into the frames of the lowest bit rates, where it is therefore cut off here.
_MP3_DELAY = 576 + 529
# At a constant bit rate LAME lowers the level to avoid clipping. That is not part of the coding and is undone here.
_LAME_GAIN = {192: 0.97, 224: 0.98, 256: 1.0, 320: 1.0}
_LAME_GAIN_BELOW = 0.95
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
_OPUS_KBPS = (6, 256)  # a channel
# libsndfile's Opus encoder never outputs its last milliseconds; so many seconds of silence are appended.
_OPUS_TAIL = 0.04
_HIGHEST_LEVEL = 0.9999  # libsndfile takes 0 <= level < 1; it rounds to the nearest bit rate


class _Coding(NamedTuple):
    """Parameters of a codec in libsndfile, and the corrections after decoding."""

    name: str
    format: str
    subtype: str
    level: float  # libsndfile's compression level: 0 = the highest bit rate or quality
    mode: str | None = None
    delay: int = 0  # samples, where the decoded sound is longer than what was coded
    gain: float = 1.0
    tail: int = 0  # samples of silence coded after each recording
    channels: int = 255


def mp3_kbps(rate: int) -> tuple[int, ...]:
    """Return the bit rates that MP3 has at a sample rate.

    Args:
        rate: samples a second.

    Returns:
        kbit/s, rising.

    Raises:
        DataError: MP3 has no such rate; names the nearest.
    """
    if rate not in _MP3_KBPS:
        kbps = ", ".join(str(kbps) for kbps in _MP3_KBPS)
        nearest = min(_MP3_KBPS, key=lambda kbps: abs(kbps - rate))
        raise DataError(f"MP3 has no rate of {rate} samples a second: resample to {nearest} (possible: {kbps})")
    return _MP3_KBPS[rate]


def highest_kbps(rate: int, most: int = 128) -> int:
    """Return the highest bit rate of MP3 at a sample rate, up to a bound.

    Args:
        rate: samples a second.
        most: the bound, kbit/s.

    Returns:
        kbit/s.

    Raises:
        DataError: MP3 has no such rate; names the nearest.
    """
    return max(kbps for kbps in mp3_kbps(rate) if kbps <= most)


def mp3_gain(kbps: int) -> float:
    """Return the factor by which LAME lowers the level at a constant bit rate.

    Args:
        kbps: Bit rate, kbit/s.

    Returns:
        The factor, at most 1.
    """
    return _LAME_GAIN.get(kbps, _LAME_GAIN_BELOW)


def mp3(audio: Tensor, rate: int, kbps: int, lengths: Tensor | None = None) -> Tensor:
    """Encode as MP3 at a constant bit rate, by LAME, and decode again.

    Args:
        audio: [clip, channel, sample] within -1..1.
        rate: samples a second.
        kbps: kbit/s of all channels together.
        lengths: int [clip], samples of recording; None: all of them.

    Returns:
        [clip, channel, sample], in the same place and loudness.

    Raises:
        DataError: MP3 has no such rate or bit rate, or more than two channels.
    """
    possible = mp3_kbps(rate)
    if kbps not in possible:
        nearest = min(possible, key=lambda rate_kbps: abs(rate_kbps - kbps))
        listed = ", ".join(str(rate_kbps) for rate_kbps in possible)
        raise DataError(
            f"MP3 at {rate} samples a second has no {kbps} kbit/s: nearest is {nearest} (possible: {listed})"
        )
    level = (possible[-1] - kbps) / (possible[-1] - possible[0])
    gain = mp3_gain(kbps)
    coding = _Coding("MP3", "MP3", "MPEG_LAYER_III", level, "CONSTANT", delay=_MP3_DELAY, gain=gain, channels=2)
    return _round_trip(audio, rate, coding, lengths)


def vorbis(audio: Tensor, rate: int, quality: float, lengths: Tensor | None = None) -> Tensor:
    """Encode as Ogg Vorbis and decode again.

    Args:
        audio: [clip, channel, sample] within -1..1.
        rate: samples a second.
        quality: 0 (lowest) to 1 (highest).
        lengths: int [clip], samples of recording; None: all of them.

    Returns:
        [clip, channel, sample], in the same place.

    Raises:
        DataError: another quality.
    """
    if not 0.0 <= quality <= 1.0:
        raise DataError(f"Vorbis has no quality {quality}, expected 0..1")
    return _round_trip(audio, rate, _Coding("Vorbis", "OGG", "VORBIS", 1.0 - quality), lengths)


def opus_rates() -> tuple[int, ...]:
    """Return the sample rates that Opus takes, samples a second."""
    return _OPUS_RATES


def opus(audio: Tensor, rate: int, kbps: int, lengths: Tensor | None = None) -> Tensor:
    """Encode as Opus and decode again.

    Args:
        audio: [clip, channel, sample] within -1..1.
        rate: samples a second, one of `opus_rates`.
        kbps: about so many kbit/s a channel, 6 to 256.
        lengths: int [clip], samples of recording; None: all of them.

    Returns:
        [clip, channel, sample], in the same place.

    Raises:
        DataError: Opus has no such rate or bit rate.
    """
    low, high = _OPUS_KBPS
    if rate not in _OPUS_RATES:
        raise DataError(
            f"Opus has no rate of {rate} samples a second, expected one of {', '.join(map(str, _OPUS_RATES))}"
        )
    if not low <= kbps <= high:
        raise DataError(f"Opus has no {kbps} kbit/s a channel, expected {low}..{high}")
    level = (high - kbps) / (high - low)
    return _round_trip(audio, rate, _Coding("Opus", "OGG", "OPUS", level, tail=round(_OPUS_TAIL * rate)), lengths)


def _round_trip(audio: Tensor, rate: int, coding: _Coding, lengths: Tensor | None) -> Tensor:
    """Encode and decode every clip [clip, channel, sample] by itself."""
    if audio.dim() != 3:
        raise DataError(f"{coding.name}: the audio has shape {tuple(audio.shape)}, expected [clip, channel, sample]")
    clips, channels, samples = audio.shape
    if not 1 <= channels <= coding.channels:
        raise DataError(f"{coding.name}: the audio has {channels} channels, expected 1 to {coding.channels}")
    ends = [samples] * clips if lengths is None else [int(length) for length in lengths]
    sounds = (
        audio.detach().to("cpu", torch.float32).transpose(1, 2).contiguous().numpy()
    )  # soundfile wants channels last
    coded = np.zeros_like(sounds)
    for sound, back, end in zip(sounds, coded, ends, strict=True):  # a codec takes one recording at a time
        if end > 0:
            back[:end] = _round_trip_of_one(sound[:end], rate, coding)
    return torch.from_numpy(coded).transpose(1, 2).clamp(-1.0, 1.0).contiguous().to(audio.device, audio.dtype)


def _round_trip_of_one(sound: np.ndarray, rate: int, coding: _Coding) -> np.ndarray:
    """Encode and decode one recording [sample, channel]."""
    samples = len(sound)
    if coding.tail:
        sound = np.concatenate([sound, np.zeros((coding.tail, sound.shape[1]), np.float32)])
    level = min(max(coding.level, 0.0), _HIGHEST_LEVEL)
    stream = io.BytesIO()
    try:
        soundfile.write(
            stream, sound, rate, format=coding.format, subtype=coding.subtype,
            compression_level=level, bitrate_mode=coding.mode,
        )  # fmt: skip
        stream.seek(0)
        with NonSeekableSoundFile(stream) as file:
            decoded: np.ndarray = file.read(len(sound) + 8192, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise DataError(f"{coding.name} failed at {rate} samples a second: {error.error_string}") from error
    delay = coding.delay if len(decoded) != len(sound) else 0
    decoded = decoded[delay : delay + samples]
    if len(decoded) != samples:
        raise DataError(f"{coding.name} decoded {len(decoded)} samples at {rate} samples a second, expected {samples}")
    return decoded / np.float32(coding.gain)
