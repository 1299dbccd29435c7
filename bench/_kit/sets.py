"""What the conformance kit tries plugins on, made by code: small sets and a tiny attacker.

The sets are music enough that a codec, a filter or a model has something to work on: plucked harmonic tones, melodies
in four parts. `Reader` is a complete attacker of a few thousand parameters, for clips and for rolls: the surrogate that
is handed to defenses, and the learner that adaptations are wrapped around.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from bench.api import Attacker, Augment, Clips, Data, Epoch, Log, Rolls, silent_log
from bench.errors import UsageError, unknown
from bench.training.learning import seeded
from bench.vocabulary import PerDomain

CASES = ("several", "one", "stereo", "short", "silent", "full scale", "unlabelled")
_PITCHES = (57, 64, 48, 71, 52, 60, 67, 45)  # MIDI; of neighbours no two share many harmonics


def example(domain: str, case: str = "several", items: int = 4) -> Data:
    """Make a small set.

    Args:
        domain: "audio" or "midi".
        case: "several" (lengths differ), "one", "stereo" (for rolls: one track), "short", "silent", "full scale" (peaks
            at 1), "unlabelled" (no labels, classes or texts); for clips also "stems", two of them.
        items: how many, where the case leaves it open.

    Raises:
        UsageError: for another domain or case.
    """
    cases = (*CASES, "stems") if domain == "audio" else CASES
    if case not in cases:
        raise UsageError(unknown("example set", case, cases))
    data = _MADE[domain](case, 1 if case in ("one", "stereo", "short") else items)
    if case == "unlabelled":
        return replace(data, labels=None, classes=(), texts=())
    return data


def _example_clips(case: str, items: int) -> Clips:
    if case == "stems":
        high, low = tones(items), tones(items, seed=1)
        stems = torch.stack([high.audio, low.audio.roll(1, 0) * high.support], 1) / 2
        return replace(high, audio=stems.sum(1), stems=stems, stem_names=("high", "low"))
    rate, seconds = (44_100, 0.5) if case == "stereo" else (16_000, 0.1 if case == "short" else 1.5)
    clips = tones(items, rate, seconds, channels=2 if case == "stereo" else 1)
    if case == "full scale":
        return clips.with_audio(clips.audio / clips.audio.abs().amax((1, 2), keepdim=True))
    return clips.with_audio(clips.audio * 0) if case == "silent" else clips


def _example_rolls(case: str, items: int) -> Rolls:
    rolls = melodies(items, bars=1 if case == "short" else 4, tracks=1 if case == "stereo" else 4)
    if case == "full scale":
        return replace(rolls, velocity=(rolls.velocity > 0).float())
    if case == "silent":
        return replace(rolls, velocity=rolls.velocity * 0, onset=rolls.onset & False)
    return rolls


def tones(items: int, rate: int = 16_000, seconds: float = 1.5, channels: int = 1, seed: int = 0) -> Clips:
    """Plucked harmonic tones, four a second, every clip in a key and a timbre of its own; two classes, by timbre."""
    rng = Generator().manual_seed(seed)
    samples = round(rate * seconds)
    time = torch.arange(samples) / rate
    beat = (time * 4).long()
    walk = torch.randint(0, 5, (items, int(beat.max()) + 1), generator=rng) * 2
    midi = torch.tensor(_PITCHES).repeat(items)[:items, None] + walk
    hz = 440.0 * 2 ** ((midi[:, beat] - 69) / 12)
    phase = 2 * torch.pi * torch.cumsum(hz / rate, -1)
    order = torch.arange(1, 7)[:, None, None]
    labels = torch.arange(items) % 2
    weight = order ** -(1.0 + labels[:, None]) * (order * hz < rate / 2)
    pluck = torch.exp(-6 * (time * 4 - beat)) * torch.clamp((time * 4 - beat) * 50, max=1)
    audio = (weight * torch.sin(order * phase)).sum(0) * pluck
    audio = 0.7 * audio / audio.abs().amax(-1, keepdim=True)
    lengths = torch.tensor([samples if i % 3 == 0 else samples - samples // (2 + i % 3) for i in range(items)])
    gains = torch.linspace(1.0, 0.6, channels)[:, None]
    clips = Clips.of(
        (audio[:, None] * gains).contiguous(),
        rate,
        groups=_groups(items),
        lengths=lengths,
        labels=labels,
        classes=("bright", "dark"),
        texts=tuple(("bright", "dark")[i % 2] + " plucked tones" for i in range(items)),
    )
    return clips.with_audio(clips.audio * clips.support)


def melodies(items: int, bars: int = 4, tracks: int = 4, seed: int = 0) -> Rolls:
    """Parts that walk up and down a scale in quavers, 4/4 at four steps a beat, with accents; two classes, by key."""
    rng = Generator().manual_seed(seed)
    steps, notes = 16 * bars, 8 * bars
    walk = torch.cumsum(torch.randint(0, 2, (items, tracks, notes), generator=rng) * 2 - 1, -1) % 8
    scale = torch.tensor([0, 2, 4, 5, 7, 9, 11, 12])[walk]
    key = torch.tensor(_PITCHES).repeat(items)[:items] % 12
    pitch = 36 + 12 * torch.arange(tracks).flip(0)[:, None] % 36 + key[:, None, None] + scale
    accent = 70 + 20 * (torch.arange(notes) % 4 == 0) + torch.randint(0, 20, (items, tracks, notes), generator=rng)
    cells = functional.one_hot(pitch, 128).float() * (accent / 127)[..., None]
    onset = torch.zeros(items, tracks, steps, 128, dtype=torch.bool)
    onset[:, :, ::2] = cells > 0
    labels = torch.arange(items) % 2
    rolls = Rolls(
        velocity=cells.repeat_interleave(2, dim=2),
        onset=onset,
        programs=(68, 69, 66, 70)[:tracks],
        ids=tuple(f"{i:05d}" for i in range(items)),
        groups=_groups(items),
        lengths=torch.tensor([steps if i % 3 == 0 else steps - 16 * (bars // 2) for i in range(items)]),
        tempo=torch.full((items,), 100.0),
        tracks=("soprano", "alto", "tenor", "bass")[:tracks],
        labels=labels,
        classes=("one key", "another"),
        texts=tuple(f"a melody in key {int(k)}" for k in key),
    )
    return replace(rolls, velocity=rolls.velocity * rolls.support, onset=rolls.onset & rolls.support)


def material(domain: str) -> tuple[Data, Data, Data]:
    """Train, validation and test sets that can be learnt from, of different groups. Raises `UsageError`."""
    whole = _LEARNABLE[domain](32)
    return whole.select(range(16)), whole.select(range(16, 20)), whole.select(range(20, 32))


_MADE: PerDomain[Callable[[str, int], Data]] = PerDomain(audio=_example_clips, midi=_example_rolls)
_LEARNABLE: PerDomain[Callable[[int], Data]] = PerDomain(audio=tones, midi=melodies)


@dataclass(frozen=True)
class Reader(Attacker[Data]):
    """An attacker that predicts the next frame from the last four; a loss [item] in squared nepers or velocities."""

    domains = ("audio", "midi")

    width: int = 32
    epochs: int = 20
    lr: float = 0.02

    def model(self, like: Data, rng: Generator) -> nn.Module:
        bands = frames(like.select([0])).shape[1]
        with seeded(rng):
            network = nn.Sequential(nn.Conv1d(bands, self.width, 4), nn.ReLU(), nn.Conv1d(self.width, bands, 1))
        return network.to(like.device)

    def loss(self, model: nn.Module, batch: Data) -> Tensor:
        seen = frames(batch)
        predicted: Tensor = model(functional.pad(seen[..., :-1], (4, 0)))
        return (predicted - seen).square().mean((1, 2))

    def learn(
        self, train: Data, validation: Data, rng: Generator, *, augment: Augment | None = None, log: Log = silent_log
    ) -> nn.Module:
        model = self.model(train, rng)
        descent = torch.optim.Adam(model.parameters(), self.lr)
        best, best_model = float("inf"), copy.deepcopy(model)
        for step in range(1, self.epochs + 1):
            loss = self.loss(model, augment(train, rng, model) if augment else train).mean()
            descent.zero_grad()
            loss.backward()
            descent.step()
            with torch.no_grad():
                held_out = float(self.loss(model, validation).mean())
            log(Epoch(step, float(loss.detach()), -held_out))
            if held_out < best:
                best, best_model = held_out, copy.deepcopy(model)
        return best_model

    def quality(self, model: nn.Module, test: Data) -> Mapping[str, Tensor]:
        with torch.no_grad():
            return {"prediction": -self.loss(model, test)}


def frames(data: Data) -> Tensor:
    """[item, band, frame]: log amplitudes of 32 bands for clips, velocities of 128 pitches for rolls."""
    return _FRAMES.of(data)(data)


def _clip_frames(data: Any) -> Tensor:
    window = torch.hann_window(512, device=data.device)
    spectrum = torch.stft(data.audio.mean(1), 512, 256, window=window, pad_mode="constant", return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square()
    return 0.5 * torch.log(1e-3 + functional.avg_pool1d(power.mT, 8)).mT + 1.0


def _roll_frames(data: Any) -> Tensor:
    return functional.pad(data.velocity.sum(1), (data.lowest, 128 - data.lowest - data.velocity.shape[-1])).mT


_FRAMES: PerDomain[Callable[[Any], Tensor]] = PerDomain(audio=_clip_frames, midi=_roll_frames)


def _groups(items: int) -> tuple[str, ...]:
    return tuple(f"group {i // 2}" for i in range(items))
