"""Simulation of a recording: a room, background noise, and the gain of the microphone.

All is drawn from a given generator: for each speaker one room and one colour of noise; for each word its position in
the recording, its signal-to-noise ratio and its gain.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

RATE = 16000
# (seconds of decay by 60 dB, reverberant energy relative to the direct sound in dB); the first is a close microphone.
ROOMS = ((0.05, -20.0), (0.15, -9.0), (0.25, -6.0), (0.35, -6.0), (0.5, -3.0))
LEAD = (0.02, 0.15)  # seconds of background before the word, and after it
TAIL = (0.02, 0.10)
GAIN = (-18.0, 0.0)  # dB of the peak below full scale


def impulse_responses() -> Tensor:
    """Compute the impulse responses of `ROOMS`, always the same: direct sound, and decaying noise from 2 ms on.

    Returns:
        float32 [room, sample].
    """
    rng = torch.Generator().manual_seed(16000)
    longest = round(max(decay for decay, _ in ROOMS) * RATE)
    time = torch.arange(longest) / RATE
    responses = torch.zeros(len(ROOMS), longest)
    for row, (decay, level) in enumerate(ROOMS):
        reverberation = (
            torch.randn(longest, generator=rng) * 10 ** (-3 * time / decay) * (time >= 0.002) * (time < decay)
        )
        responses[row] = reverberation * (10 ** (level / 20) / reverberation.norm())
        responses[row, 0] = 1.0
    return responses


def record(words: Tensor, lengths: Tensor, snr: tuple[float, float], rng: Generator) -> tuple[Tensor, Tensor]:
    """Record one speaker's words, in at most a second each.

    Args:
        words: float32 [word, sample] at 16 kHz, zero beyond `lengths`.
        lengths: int64 [word], samples.
        snr: lowest and highest ratio, in dB, of the mean power of word and noise over the recording.
        rng: the only source of random numbers.

    Returns:
        float32 [word, 16000], and int64 [word], the lengths beyond which they are zero.
    """
    count = len(words)
    response = impulse_responses()[int(torch.randint(len(ROOMS), (1,), generator=rng))]
    colour = float(torch.rand(1, generator=rng)) * 2  # 0 white, 1 pink, 2 brown

    lead = (_between(*LEAD, count, rng) * RATE).long()
    tail = (_between(*TAIL, count, rng) * RATE).long()
    ends = (lead + lengths + tail).clamp(max=RATE)
    size = 2 * RATE  # room for the word, its lead and the reverberation, so that nothing wraps round
    frequency = torch.fft.rfftfreq(size)
    shift = torch.exp(-2j * torch.pi * frequency * lead[:, None])
    spectrum = torch.fft.rfft(words[:, :RATE], size) * torch.fft.rfft(response, size) * shift
    reverberant = torch.fft.irfft(spectrum, size)[:, :RATE]
    inside = torch.arange(RATE) < ends[:, None]
    reverberant = reverberant * inside

    noise = torch.fft.rfft(torch.randn(count, size, generator=rng))
    noise = torch.fft.irfft(noise * (frequency * RATE).clamp(min=50) ** (-colour / 2), size)[:, :RATE] * inside
    ratio = 10 ** (_between(*snr, count, rng)[:, None] / 10)
    power = reverberant.square().sum(1, keepdim=True) / noise.square().sum(1, keepdim=True)
    recordings = reverberant + noise * (power / ratio).sqrt()
    level = 10 ** (_between(*GAIN, count, rng)[:, None] / 20)
    return recordings * (level / recordings.abs().amax(1, keepdim=True)), ends


def _between(low: float, high: float, count: int, rng: Generator) -> Tensor:
    """Draw uniform numbers between two bounds."""
    return low + (high - low) * torch.rand(count, generator=rng)
