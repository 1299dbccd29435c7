"""HarmonyCloak for recordings: tones under the music's dominant tones that lower the training loss.

Conventions: a *part* is a stem, or the mixture where there are no stems; frequencies in Hz, amplitudes of a sine (full
scale 1.0), phases in radians; carriers are [clip, part, channel, window].

* Windows of 10 ms, each with one tone at the window's dominant frequency. A 10 ms window has bins of 100 Hz, useless
  below C4: the spectrum is taken over 40 ms around each window, its peak interpolated (a parabola through the log
  magnitudes). The tones overlap under Hann windows that add up to 1, else each seam would click.
* The paper leaves the phase open: it is free and optimised beside u.
* T_H is printed without Terhardt's term in f^4, M_t as `-20 log(M / 20^-6)`: sign and pascals are slips. Here T is the
  full formula and levels follow from one calibration, `full_scale_db`.
* M is the amplitude of the dominant tone, and no more than the level of the window's own 20 ms, so that nothing sounds
  before an attack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional

from bench.api import Clips, Data
from bench.sound.levels import energy
from bench.sound.masking import hz_to_bark, spl_to_amplitude, threshold_in_quiet

from .bounds import Bounds, amplitude, matched_level, track_weights
from .descent import Render

_ROOM = 1 << 22  # samples of one block, all parts and channels together, where no gradient is kept


def cloak(
    data: Clips,
    rng: Generator,
    descend: Callable[[Tensor, Bounds, Clips, Render, Callable[[Tensor], Clips]], None] | None,
    *,
    window_ms: float,
    analysis_ms: float,
    full_scale_db: float,
    masking_db: float | None,
    per_track: bool,
    alpha: float,
    reference: Data | None = None,
) -> Clips:
    """Add a tone to every window that has a masker.

    Args:
        data: the set; stems are protected too.
        rng: draws the initial parameters.
        descend: optimises (parameters, bounds, clips, render, start) in place; None leaves them random.
        window_ms: length of a window.
        analysis_ms: length of the spectrum around each window.
        full_scale_db: dB SPL of a sine of amplitude 1.
        masking_db: how far the upper bound lies below the dominant tone, before its rate in Bark is added; None: the
            bound is the tone itself.
        per_track: one noise for every stem, where there are stems.
        alpha: weight of the regulariser.
        reference: a protected set whose SNR random noise is given, clip by clip, where the bounds reach it.
    """
    tracks = per_track and data.stems is not None
    parts = data.stems if tracks and data.stems is not None else data.audio[:, None]
    hop = max(1, round(window_ms * data.rate / 1000))
    size = 2 * max(hop, round(analysis_ms * data.rate / 2000))
    carriers = _carriers(parts, data.rate, hop, size, full_scale_db, masking_db)
    parameters = _random_parameters(carriers, rng)
    if descend:
        without_stems = data.with_audio(data.audio)  # surrogates get no stems

        def render(batch_parameters: Tensor, index: Tensor) -> Clips:
            clips = without_stems.select(index)
            noise = _noise(carriers.select(index), batch_parameters, clips.support)
            return clips.with_audio((clips.audio + noise.sum(1)).clamp(-1, 1))

        bounds, first = (
            Bounds(carriers.low, carriers.high, alpha * track_weights(parts.square().sum((2, 3)))),
            parameters.clone(),
        )
        descend(parameters, bounds, without_stems, render, lambda index: render(first[:, index], index))
    elif isinstance(reference, Clips):
        reference = reference.select([reference.ids.index(name) for name in data.ids])
        for b in _blocks(len(data), parts[0].numel()):
            at = range(len(data))[b]
            parameters[0, b] = _as_loud(data.select(at), carriers.select(b), parameters[:, b], reference.select(at))
    blocks = _blocks(len(data), parts[0].numel())
    noise = torch.cat([_noise(carriers.select(b), parameters[:, b], data.support[b]) for b in blocks])
    unclipped = data.audio + noise.sum(1)
    audio = unclipped.clamp(-1, 1)
    stems = parts + noise + ((audio - unclipped) / parts.shape[1])[:, None] if tracks else None
    return data.with_audio(audio, stems)


@dataclass(frozen=True, eq=False)
class Carriers:
    """The tones that the noise may use; tensors are [clip, part, channel, window].

    Attributes:
        hz: frequencies.
        low: lowest amplitude; no noise where it is not below `high`.
        high: highest amplitude.
        hop: samples from one window to the next; window t is centred on sample t * hop.
        rate: samples a second.
    """

    hz: Tensor
    low: Tensor
    high: Tensor
    hop: int
    rate: int

    def select(self, index: Any) -> Carriers:
        """Select clips."""
        return Carriers(self.hz[index], self.low[index], self.high[index], self.hop, self.rate)


def dominant(parts: Tensor, rate: int, hop: int, size: int) -> tuple[Tensor, Tensor]:
    """Estimate frequency and amplitude of the strongest tone around every window.

    Args:
        parts: [clip, part, channel, sample].
        rate: samples a second.
        hop: samples from one window to the next.
        size: samples of the spectrum, searched from the third bin on; what is slower is no tone.

    Returns:
        Frequency in Hz, and amplitude, at most that of a sine as loud as the window's own 2 * hop samples;
        [clip, part, channel, window] each.
    """
    sound = parts.flatten(0, 2)
    taper = torch.hann_window(size, device=sound.device)
    spectrum = torch.stft(sound, size, hop, window=taper, pad_mode="constant", return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square()  # [sound, bin, window]; abs() would take a root of each
    peak = power[:, 2:-1].argmax(1, keepdim=True) + 2
    left, centre, right = (power.gather(1, peak + k)[:, 0].clamp_min(1e-24).log() / 2 for k in (-1, 0, 1))
    curvature = left - 2 * centre + right
    shift = torch.where(curvature < 0, 0.5 * (left - right) / curvature.clamp_max(-1e-6), 0.0).clamp(-0.5, 0.5)
    amplitude = (centre - 0.25 * (left - right) * shift).exp() * 2 / taper.sum()
    window = torch.hann_window(2 * hop, device=sound.device)
    squares = functional.pad(sound.square(), (hop, hop))[:, None]
    loudness = functional.conv1d(squares, (window / window.sum())[None, None], stride=hop)[:, 0]
    amplitude = torch.minimum(amplitude, (2 * loudness).sqrt())
    hz = (peak[:, 0] + shift) * (rate / size)
    return hz.view(*parts.shape[:3], -1), amplitude.view(*parts.shape[:3], -1)


def _carriers(
    parts: Tensor, rate: int, hop: int, size: int, full_scale_db: float, masking_db: float | None
) -> Carriers:
    """Compute the tones that the noise may use in parts [clip, part, channel, sample]."""
    tones = [dominant(parts[b], rate, hop, size) for b in _blocks(len(parts), parts[0].numel())]
    hz, masker = (torch.cat(tensors) for tensors in zip(*tones, strict=True))
    low = spl_to_amplitude(threshold_in_quiet(hz), full_scale_db)
    high = masker if masking_db is None else masker * 10 ** (-(masking_db + hz_to_bark(hz)) / 20)
    return Carriers(hz, low, high, hop, rate)


def _random_parameters(carriers: Carriers, rng: Generator) -> Tensor:
    """Draw u (normal) and phase (uniform): [2, clip, part, channel, window]."""
    shape = carriers.hz.shape
    u = torch.randn(shape, generator=rng, device=rng.device)
    phase = 2 * torch.pi * torch.rand(shape, generator=rng, device=rng.device)
    return torch.stack([u, phase]).to(carriers.hz.device)


def _noise(carriers: Carriers, parameters: Tensor, support: Tensor) -> Tensor:
    """Synthesise a tone in every window, faded into the next one's: [clip, part, channel, sample], 0 in the padding."""
    u, phase = parameters
    loudness = amplitude(u, carriers.low, carriers.high)
    hop = carriers.hop
    time = torch.arange(-hop, hop, device=u.device) / carriers.rate
    fade = torch.hann_window(2 * hop, device=u.device)
    angle = 2 * torch.pi * carriers.hz[..., None] * time
    cosine, sine = fade * angle.cos(), fade * angle.sin()  # no gradient passes through these: [..., window, 2 hop]
    tones = (loudness * phase.cos())[..., None] * cosine - (loudness * phase.sin())[..., None] * sine
    next_rise = functional.pad(tones[..., 1:, :hop], (0, 0, 0, 1))  # the next window's rise falls on this one's decay
    noise: Tensor = (tones[..., hop:] + next_rise).flatten(-2)[..., : support.shape[-1]]
    return noise * support[:, None]


def _as_loud(data: Clips, carriers: Carriers, parameters: Tensor, reference: Clips) -> Tensor:
    """Return u of random tones with the SNR of a reference: [clip, part, channel, window]."""

    def level(u: Tensor) -> Tensor:
        noise = _noise(carriers, torch.stack([u, parameters[1]]), data.support).sum(1)
        return energy((data.audio + noise).clamp(-1, 1) - data.audio)[:, 0, 0]

    return matched_level(parameters[0], level, energy(reference.audio - data.audio)[:, 0, 0])


def _blocks(clips: int, numbers: int) -> Iterator[slice]:
    """Slice clips, of so many numbers each, into blocks that fit in memory."""
    step = max(1, _ROOM // max(1, numbers))
    return (slice(start, start + step) for start in range(0, clips, step))
