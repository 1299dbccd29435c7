"""Responses of rooms, and recordings played in them.

A response is [response, tap] with the direct path at tap `DIRECT`, where its amplitude is 1. `reverberant` moves that
tap to the sample itself, so that recordings stay in their place in time.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from bench.sound.spectra import fast_size

__all__ = ["DIRECT", "decaying_noise", "reverberant", "shoeboxes"]

DIRECT = 40  # taps before the direct path: half of the fractional delay's filter in pyroomacoustics
_DECAY = math.log(1e6)  # of the power, over the reverberation time: 60 dB
_SABINE = 0.161  # s/m (Sabine 1922)
_HIGHEST_ORDER = 20  # of reflections: later ones are left out
_SMALLEST, _LARGEST = (3.0, 3.0, 2.4), (8.0, 6.0, 3.5)  # rooms, m
_MARGIN = 0.4  # least distance from a wall, m
_NEAREST = 0.2  # least distance of the microphone from the loudspeaker, m


def decaying_noise(seconds: Tensor, ratios: Tensor, rate: int, rng: Generator) -> Tensor:
    """Draw responses of which all but the direct path is white noise that decays exponentially (Moorer 1979).

    Args:
        seconds: [response], reverberation times: the decay by 60 dB.
        ratios: [response], direct-to-reverberant ratios of the energies, dB.
        rate: Samples a second.
        rng: Random numbers.

    Returns:
        [response, tap].
    """
    taps = max(2, math.ceil(float(seconds.max()) * rate)) if len(seconds) else 2
    time = torch.arange(taps, device=seconds.device) / rate
    noise = torch.randn(len(seconds), taps, generator=rng, device=rng.device).to(seconds.device)
    tail = noise * torch.exp(-_DECAY / 2 * time / seconds[:, None].clamp_min(1.0 / rate))
    tail[:, 0] = 0.0
    tail *= (10.0 ** (-ratios / 10.0) / tail.square().sum(-1).clamp_min(1e-20)).sqrt()[:, None]
    direct = torch.zeros(len(seconds), DIRECT + 1, device=seconds.device)
    direct[:, DIRECT] = 1.0
    return torch.cat([direct, tail[:, 1:]], -1)


def shoeboxes(seconds: Tensor, distances: Tensor, rate: int, rng: Generator) -> Tensor:
    """Draw rooms, loudspeakers and microphones, and compute their responses by image sources (Allen and Berkley 1979).

    Reflections up to the 20th order are computed, by pyroomacoustics on the processor.

    Args:
        seconds: [response], reverberation times, from which Sabine's formula gives the absorption of the walls.
        distances: [response], of microphone and loudspeaker, m; less where the room is too small.
        rate: Samples a second.
        rng: Random numbers.

    Returns:
        [response, tap]; the direct path lies within half a sample of its tap.

    Raises:
        ModuleNotFoundError: pyroomacoustics is not installed.
    """
    drawn = torch.rand(len(seconds), 7, generator=rng, device=rng.device).double().cpu()
    rows = zip(drawn, seconds.tolist(), distances.tolist(), strict=True)
    found = [_shoebox(draw, time, distance, rate) for draw, time, distance in rows]
    taps = max((len(response) for response in found), default=DIRECT + 1)
    padded = [torch.nn.functional.pad(response, (0, taps - len(response))) for response in found]
    return torch.stack(padded).float().to(seconds.device) if padded else seconds.new_zeros(0, taps)


def reverberant(audio: Tensor, responses: Tensor) -> Tensor:
    """Convolve each clip with its response, without the delay of the direct path; the end is cut off.

    Args:
        audio: [clip, channel, sample].
        responses: [clip, tap], from `decaying_noise` or `shoeboxes`.

    Returns:
        [clip, channel, sample], differentiable in the audio; it may exceed full scale.
    """
    samples = audio.shape[-1]
    size = fast_size(samples + responses.shape[-1])
    product = torch.fft.rfft(audio, size) * torch.fft.rfft(responses, size)[:, None]
    full: Tensor = torch.fft.irfft(product, size)
    return full[..., DIRECT : DIRECT + samples]


def _shoebox(drawn: Tensor, seconds: float, distance: float, rate: int) -> Tensor:
    """Return the response of one room, from seven numbers in 0..1: [tap]."""
    import pyroomacoustics

    smallest, largest = (drawn.new_tensor(size) for size in (_SMALLEST, _LARGEST))
    room = smallest + (largest - smallest) * drawn[:3]
    loudspeaker = _MARGIN + (room - 2 * _MARGIN) * drawn[3:6]
    angle = 2 * torch.pi * drawn[6]
    away = max(distance, _NEAREST) * torch.stack([angle.cos(), angle.sin(), drawn.new_zeros(())])
    inside = (loudspeaker + away > _MARGIN) & (loudspeaker + away < room - _MARGIN)
    microphone = torch.where(inside, loudspeaker + away, loudspeaker - away)
    microphone = torch.minimum(torch.maximum(microphone, microphone.new_tensor(_MARGIN)), room - _MARGIN)
    volume, surface = float(room.prod()), 2 * float((room * room.roll(1)).sum())
    absorption = min(_SABINE * volume / (surface * max(seconds, 1e-3)), 0.99)
    order = min(_HIGHEST_ORDER, math.ceil(pyroomacoustics.constants.get("c") * seconds * surface / (4 * volume)))
    simulated = pyroomacoustics.ShoeBox(
        room.tolist(), fs=rate, materials=pyroomacoustics.Material(absorption), max_order=order
    )
    simulated.add_source(loudspeaker.tolist())
    simulated.add_microphone(microphone.tolist())
    simulated.compute_rir()
    response = torch.as_tensor(simulated.rir[0][0], dtype=drawn.dtype, device=drawn.device)
    before = pyroomacoustics.constants.get("frac_delay_length") // 2
    gap = float((microphone - loudspeaker).norm())
    arrival = before + round(gap / simulated.c * rate)
    return response[arrival - DIRECT :] * gap  # amplitudes fall with the distance, 1 at 1 m
