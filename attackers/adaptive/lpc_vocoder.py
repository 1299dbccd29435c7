"""An LPC vocoder: the residual of linear prediction is replaced by pulses at the pitch, or by noise.

What is kept of each frame is an all-pole envelope, a level, a pitch and how periodic the frame is. Waveform, phase and
all that lies between the harmonics of a voice are made anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from bench.api import Adaptation, Clips, check_range
from bench.sound.gains import with_gain
from bench.sound.spectra import hop_size, power, stft, window_size

_LOWEST_HZ, _HIGHEST_HZ = 60.0, 400.0  # of the pitch
_NOISE_FLOOR = 1e-5  # of a frame's power, added to its autocorrelation at 0
_LEAST = 1e-12


@dataclass(frozen=True)
class LpcVocoder(Adaptation[Clips]):
    """Synthesise clips from linear prediction, pitch and voicing.

    With the defaults spoken digits keep their log-Mel spectrogram (correlation .989) and no waveform (SNR -3 dB).

    Attributes:
        order: coefficients of the prediction at 8 kHz, in proportion more at higher rates: the fewer, the coarser the
            envelope.
        mix: share of the vocoder's sound in the result, 0 (the clip) to 1 (all of it made anew).
    """

    domains = ("audio",)
    preprocess = True
    aligned = False  # frames stay in place; the phase is made anew
    sweep = ("order", 24, 6)
    paper = "Atal and Hanauer 1971, JASA 50 (Speech Analysis and Synthesis by Linear Prediction of the Speech Wave)"

    order: int = 12
    mix: float = 1.0

    def __post_init__(self) -> None:
        check_range(self, "order", least=2, most=40)
        check_range(self, "mix", least=0, most=1)

    def transform(self, data: Clips, rng: Generator) -> Clips:
        size, hop, samples = window_size(data.rate), hop_size(data.rate), data.audio.shape[-1]
        order = min(max(2, round(self.order * data.rate / 8_000)), size // 2 - 1)
        with torch.no_grad():
            cells = stft(data.audio, data.rate)
            correlation = torch.fft.irfft(power(cells).transpose(-1, -2), size)
            envelope = _envelope(correlation[..., : order + 1], size).transpose(-1, -2)
            hz, voicing = _pitch(data.audio, data.rate, hop, cells.shape[-1])
            excitation = stft(_excitation(hz, voicing, data.rate, hop, samples, rng), data.rate)
            made = with_gain(data, excitation, _white(excitation) * envelope)
            # The level of each frame is that of the clip.
            level = _frame_level(cells) / _frame_level(stft(made.audio, data.rate)).clamp_min(_LEAST)
            made = with_gain(data, stft(made.audio, data.rate), level.clamp_max(100.0))
        mixed = data.audio + self.mix * (made.audio - data.audio)
        return data.with_audio(mixed.clamp(-1.0, 1.0) * data.support)


def _envelope(correlation: Tensor, size: int) -> Tensor:
    """Compute amplitudes [..., bin] of the all-pole model by Levinson and Durbin's recursion.

    Args:
        correlation: autocorrelation of the frames, [..., lag].
        size: of the transform.
    """
    first = correlation[..., :1] * (1.0 + _NOISE_FLOOR) + _LEAST
    correlation = torch.cat([first, correlation[..., 1:]], -1)
    error = first[..., 0]
    taps = torch.ones_like(first)
    for step in range(1, correlation.shape[-1]):
        ahead = (taps * correlation[..., 1 : step + 1].flip(-1)).sum(-1)
        reflection = (-ahead / error.clamp_min(_LEAST)).clamp(-0.9999, 0.9999)[..., None]
        longer = torch.cat([taps, torch.zeros_like(first)], -1)
        taps = longer + reflection * longer.flip(-1)
        error = error * (1.0 - reflection[..., 0].square())
    response = torch.fft.rfft(taps, size).abs().clamp_min(1e-4)
    amplitude: Tensor = error.clamp_min(0.0).sqrt()[..., None] / response
    return amplitude


def _white(cells: Tensor) -> Tensor:
    """Compute the gain [clip, channel, 1, frame] that gives each frame of an excitation the power 1."""
    return 1.0 / _frame_level(cells).clamp_min(_LEAST)


def _frame_level(cells: Tensor) -> Tensor:
    """Compute the root of the mean power of each frame, [clip, channel, 1, frame]."""
    return power(cells).mean(-2, keepdim=True).sqrt()


def _pitch(audio: Tensor, rate: int, hop: int, frames: int) -> tuple[Tensor, Tensor]:
    """Estimate pitch in Hz and periodicity 0..1 of each frame, [clip, channel, frame], by the autocorrelation."""
    longest, shortest = round(rate / _LOWEST_HZ), max(1, round(rate / _HIGHEST_HZ))
    size = 2 * longest
    padded = torch.nn.functional.pad(audio, (longest, longest + hop))
    parts = padded.unfold(-1, size, hop)[..., :frames, :]
    energy = torch.fft.rfft(parts * torch.hann_window(size, device=audio.device), 2 * size).abs().square()
    window = torch.fft.rfft(torch.hann_window(size, device=audio.device), 2 * size).abs().square()
    unbiased = torch.fft.irfft(energy)[..., : longest + 1] / torch.fft.irfft(window)[: longest + 1]
    likeness = unbiased / unbiased[..., :1].clamp_min(_LEAST)
    best = likeness[..., shortest:].max(-1)
    return rate / (best.indices + shortest).to(audio.dtype), best.values.clamp(0.0, 1.0)


def _excitation(hz: Tensor, voicing: Tensor, rate: int, hop: int, samples: int, rng: Generator) -> Tensor:
    """Make pulses at the pitch and white noise, mixed by the voicing, [clip, channel, sample]."""
    pitch, share = (each.repeat_interleave(hop, -1)[..., :samples] for each in (hz, voicing))
    turns = torch.cumsum(pitch.double() / rate, -1).floor()
    pulses = torch.diff(turns, prepend=torch.zeros_like(turns[..., :1])).to(hz.dtype) * (rate / pitch).sqrt()
    noise = torch.randn(pitch.shape, generator=rng, device=rng.device).to(hz.device)
    voiced = share.square()
    return pulses * voiced.sqrt() + noise * (1.0 - voiced).sqrt()
