"""HarmonyCloak for recordings: tones under the music's dominant tones that lower the training loss.

Meerza, Sun, Liu, "HarmonyCloak: Making Music Unlearnable for Generative AI", IEEE S&P 2025, the version for waveforms.
Conventions: a *part* is a stem, or the mixture where there are no stems; frequencies in Hz, amplitudes of a sine (full
scale 1.0), phases in radians; carriers are [clip, part, channel, window].

What the paper says and what is done here
-----------------------------------------
* Objective: min over theta, min over delta of `L(f(x + delta)) + alpha * sum_m w_m ||delta_m||_2`, with w_m = 1 - the
  share of part m in the clip's energy (for MIDI: of velocity). For a lone part that weight would be 0 and switch the
  regulariser off: it is taken as 1. The norm is relative to that of the part, since ||delta|| of samples grows with
  loudness and length, and would drown a loss in nats a token.
* Windows of 10 ms, each with one tone at the window's dominant frequency. A 10 ms window has bins of 100 Hz, useless
  below C4: the spectrum is taken over 40 ms around each window, its peak interpolated (a parabola through the log
  magnitudes). The tones overlap under Hann windows that add up to 1, else each seam would click.
* Range (equation for windows): `T_H <= delta <= M`, kept by a sigmoid: `delta = T + (M - T) sigmoid(u)`, where M > T,
  else no noise. The paper leaves the phase open: it is free and optimised beside u.
* T_H is printed without Terhardt's term in f^4, M_t as `-20 log(M / 20^-6)`: sign and pascals are slips. Here T is the
  full formula and levels follow from one calibration, `full_scale_db`.
* M is the amplitude of the dominant tone, and no more than the level of the window's own 20 ms, so that nothing sounds
  before an attack. That bound is the paper's and *audible* (SNR 8 to 12 dB); `bound="masked"` puts it 16 dB lower, what
  a tone can hide beside a tone.
* Inner minimisation: sign steps (PGD) of .001, 20 times, in an unstated unit; here `inner_step` is in u and radians.
  Outer: SGD, momentum .9, rate .025, for 1000 epochs; in the few steps of the smaller presets that leaves the models
  where they were, hence a higher rate. Both players minimise, so that one backward pass may serve both: "joint", at
  half the cost of "alternating", the paper's order.
* Several surrogates: the mean of their losses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional

from bench.api import Adaptation, Attacker, Clips, Knowledge, Needs
from bench.crafting import heard
from bench.errors import UsageError
from bench.learning import batches, seeded
from bench.sound.masking import FULL_SCALE_DB, spl_to_amplitude, threshold_in_quiet

_U_MAX = 5.0  # sigmoid(5) = 0.993: beyond it sign steps would only have to come back
_MOMENTUM = 0.9
_ROOM = 1 << 22  # samples of one block, all parts and channels together, where no gradient is kept


@dataclass(frozen=True)
class HarmonyCloak:
    """Error-minimising noise at the dominant frequency of every window. Its defaults are the preset `small`."""

    domains: ClassVar[tuple[str, ...]] = ("audio",)
    joint: ClassVar[bool] = True
    needs: ClassVar[Needs] = Needs(cpus=1, memory_gb=4.0)
    paper: ClassVar[str] = "Meerza, Sun, Liu 2025, IEEE S&P"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "smoke": {"rounds": 3},
        "full": {"alternation": "alternating", "inner_steps": 20, "inner_step": 0.1, "outer_lr": 0.025, "batch": 8},
    }

    bound: Literal["paper", "masked"] = "paper"
    masking_offset_db: float = 16.0  # how far below the masker the bound "masked" lies
    window_ms: float = 10.0
    analysis_ms: float = 40.0
    full_scale_db: float = FULL_SCALE_DB  # dB SPL of a sine of amplitude 1
    per_track: bool = True  # a noise for every stem, where the data has stems
    optimise: bool = True  # False: random amplitudes and phases within the same bounds, the control
    alternation: Literal["joint", "alternating"] = "joint"
    rounds: int = 8  # passes over the set
    batch: int = 4
    inner_steps: int = 1  # sign steps a batch and round
    inner_step: float = 0.5  # in u and in radians
    outer_lr: float = 0.2
    alpha: float = 0.3

    def __post_init__(self) -> None:
        if not 0.0 < self.window_ms <= self.analysis_ms:
            raise ValueError(
                f"window_ms = {self.window_ms}, analysis_ms = {self.analysis_ms}: expected 0 < window_ms <= analysis_ms"
            )

    def protect(self, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
        """The clips, and their stems, with noise in every window that has a masker.

        Raises `UsageError` where it is to optimise and has no surrogate.
        """
        surrogates = [s for s in knowledge.surrogates if "audio" in getattr(s, "domains", ("audio",))]
        if self.optimise and not surrogates:
            raise UsageError(
                f"harmonycloak has no surrogate to descend: knowledge is '{knowledge.name}', expected 'white-box' or "
                "'black-box' (or optimise = false for random noise in the same bounds)"
            )
        tracks = self.per_track and data.stems is not None
        parts = data.stems if tracks and data.stems is not None else data.audio[:, None]
        carriers = self._carriers(parts, data.rate)
        knobs = _random_knobs(carriers, rng)
        if self.optimise:
            penalty = self.alpha * _penalty(parts)
            with seeded(rng):  # the surrogates' dropout
                bare = data.with_audio(data.audio)  # the surrogates hear no stems
                self._descend(knobs, bare, carriers, penalty, surrogates, knowledge.expects, rng)
        blocks = _blocks(len(data), parts[0].numel())
        noise = torch.cat([_noise(carriers.select(b), knobs[:, b], data.support[b]) for b in blocks])
        wanted = data.audio + noise.sum(1)
        audio = wanted.clamp(-1, 1)
        stems = parts + noise + ((audio - wanted) / parts.shape[1])[:, None] if tracks else None
        return data.with_audio(audio, stems)

    def _carriers(self, parts: Tensor, rate: int) -> Carriers:
        """Frequency and bounds of every window of parts [clip, part, channel, sample]."""
        hop = max(1, round(self.window_ms * rate / 1000))
        size = 2 * max(hop, round(self.analysis_ms * rate / 2000))
        found = [dominant(parts[b], rate, hop, size) for b in _blocks(len(parts), parts[0].numel())]
        hz, masker = (torch.cat(tensors) for tensors in zip(*found, strict=True))
        offset = 0.0 if self.bound == "paper" else self.masking_offset_db
        low = spl_to_amplitude(threshold_in_quiet(hz), self.full_scale_db)
        return Carriers(hz, low, masker * 10 ** (-offset / 20), hop, rate)

    def _descend(
        self,
        knobs: Tensor,
        data: Clips,
        carriers: Carriers,
        penalty: Tensor,
        surrogates: Sequence[Attacker],
        expects: Sequence[Adaptation],
        rng: Generator,
    ) -> None:
        """Turn the knobs in place to lower the loss of models that learn beside them."""
        models = [surrogate.model(data, rng).train() for surrogate in surrogates]
        weights = [p for model in models for p in model.parameters() if p.requires_grad]
        learner = torch.optim.SGD(weights, self.outer_lr, momentum=_MOMENTUM)

        def loss(turned: Tensor, index: Tensor) -> Tensor:
            clips = data.select(index)
            noise = _noise(carriers.select(index), turned, clips.support)
            protected = clips.with_audio((clips.audio + noise.sum(1)).clamp(-1, 1))
            batch = heard(protected, expects, rng)
            losses = [s.loss(model, batch).mean() for s, model in zip(surrogates, models, strict=True)]
            norms = (noise.square().sum((2, 3)) + 1e-12).sqrt()
            return torch.stack(losses).mean() + (penalty[index] * norms).sum(1).mean()

        order = batches(len(data), self.batch, rng)
        for _ in range(self.rounds * -(-len(data) // self.batch)):
            index = next(order).to(data.device)
            turned = knobs[:, index].requires_grad_()
            for _ in range(self.inner_steps):
                learner.zero_grad()
                loss(turned, index).backward()  # type: ignore[no-untyped-call]
                if self.alternation == "joint":
                    learner.step()
                turned = self._stepped(turned)
            if self.alternation == "alternating":
                learner.zero_grad()
                loss(turned.detach(), index).backward()  # type: ignore[no-untyped-call]
                learner.step()
            knobs[:, index] = turned.detach()

    def _stepped(self, turned: Tensor) -> Tensor:
        """One sign step down the gradient."""
        assert turned.grad is not None
        u, phase = turned.detach() - self.inner_step * turned.grad.nan_to_num().sign()
        return torch.stack([u.clamp(-_U_MAX, _U_MAX), phase]).requires_grad_()


@dataclass(frozen=True, eq=False)
class Carriers:
    """The tones that the noise may use: [clip, part, channel, window] each."""

    hz: Tensor
    low: Tensor  # amplitudes; where low >= high there is no noise
    high: Tensor
    hop: int  # samples from one window to the next; window t is centred on sample t * hop
    rate: int

    def select(self, index: Any) -> Carriers:
        return Carriers(self.hz[index], self.low[index], self.high[index], self.hop, self.rate)


def dominant(parts: Tensor, rate: int, hop: int, size: int) -> tuple[Tensor, Tensor]:
    """Frequency in Hz and amplitude of the strongest tone around every window: [clip, part, channel, window] each.

    parts: [clip, part, channel, sample]. The spectrum is over `size` samples, from the third bin on (what is slower is
    no tone); the amplitude is no more than that of a sine as loud as the window's own 2 * hop samples.
    """
    sound = parts.flatten(0, 2)
    taper = torch.hann_window(size, device=sound.device)
    spectrum = torch.stft(sound, size, hop, window=taper, pad_mode="constant", return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square()  # [sound, bin, window]; abs() would take a root of each
    peak = power[:, 2:-1].argmax(1, keepdim=True) + 2
    before, top, after = (power.gather(1, peak + k)[:, 0].clamp_min(1e-24).log() / 2 for k in (-1, 0, 1))
    bend = before - 2 * top + after
    shift = torch.where(bend < 0, 0.5 * (before - after) / bend.clamp_max(-1e-6), 0.0).clamp(-0.5, 0.5)
    amplitude = (top - 0.25 * (before - after) * shift).exp() * 2 / taper.sum()
    near = torch.hann_window(2 * hop, device=sound.device)
    squares = functional.pad(sound.square(), (hop, hop))[:, None]
    loudness = functional.conv1d(squares, (near / near.sum())[None, None], stride=hop)[:, 0]
    amplitude = torch.minimum(amplitude, (2 * loudness).sqrt())
    hz = (peak[:, 0] + shift) * (rate / size)
    return hz.view(*parts.shape[:3], -1), amplitude.view(*parts.shape[:3], -1)


def _random_knobs(carriers: Carriers, rng: Generator) -> Tensor:
    """[2, clip, part, channel, window]: u, which puts amplitudes between the bounds, and phase. Phases are uniform."""
    shape = carriers.hz.shape
    u = torch.randn(shape, generator=rng, device=rng.device)
    phase = 2 * torch.pi * torch.rand(shape, generator=rng, device=rng.device)
    return torch.stack([u, phase]).to(carriers.hz.device)


def _noise(carriers: Carriers, knobs: Tensor, support: Tensor) -> Tensor:
    """[clip, part, channel, sample]: a tone in every window, faded into the next one's; nothing in the padding."""
    u, phase = knobs
    low, high = carriers.low, carriers.high
    amplitude = torch.where(high > low, low + (high - low) * u.sigmoid(), 0.0)
    hop = carriers.hop
    time = torch.arange(-hop, hop, device=u.device) / carriers.rate
    fade = torch.hann_window(2 * hop, device=u.device)
    angle = 2 * torch.pi * carriers.hz[..., None] * time
    even, odd = fade * angle.cos(), fade * angle.sin()  # no gradient passes through these: [..., window, 2 hop]
    tones = (amplitude * phase.cos())[..., None] * even - (amplitude * phase.sin())[..., None] * odd
    late = functional.pad(tones[..., 1:, :hop], (0, 0, 0, 1))  # the next window's rise falls on this one's decay
    noise: Tensor = (tones[..., hop:] + late).flatten(-2)[..., : support.shape[-1]]
    return noise * support[:, None]


def _penalty(parts: Tensor) -> Tensor:
    """[clip, part]: what the norm of a part's noise costs: (1 - the part's share of the energy) / the part's norm."""
    energy = parts.square().sum((2, 3)) + 1e-12
    share = energy / energy.sum(1, keepdim=True) if parts.shape[1] > 1 else 0.0
    return (1 - share) / energy.sqrt()


def _blocks(clips: int, numbers: int) -> Iterator[slice]:
    """Slices of as many clips, of so many numbers each, as are worked on at once."""
    step = max(1, _ROOM // max(1, numbers))
    return (slice(start, start + step) for start in range(0, clips, step))
