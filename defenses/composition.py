"""Class-wise changes of several kinds at once: speed, formants, filters that change in time, a tone.

In the manner of DUNE (Wang et al., ICML 2026), which perturbs images in space and in colour, so that what removes one
perturbation leaves the other. Here each kind is undone by another augmentation or front end: speed by `change_speed`,
formants by `vtlp`, filters by `time_varying_eq`, a tone by a notch. Each class has a value of each kind, evenly spread
over the classes in random order; all clips of the class have them. With `search`, so many draws are tried, as the
paper searches colours without derivatives: surrogates are trained on the clips that each would publish, and the draw
whose surrogates have the largest loss on the clean clips is taken.

Speed and formants move every partial, and filters scale them, so a signal-to-noise ratio says nothing of how audible
they are: it is about 0 dB; that of the tone alone is `tone_db`. It gives the labels away.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from bench.api import Clips, Defense, Epoch, Knowledge, check_range
from bench.sound.headroom import as_loud
from bench.sound.levels import energy
from bench.sound.resampling import resample
from bench.sound.sequences import in_turn, with_inverses
from bench.sound.warping import warped
from bench.training.classification import classes, labels
from bench.training.crafting import surrogates, train_surrogates

_KINDS = ("speed", "formants", "filters", "tone")
_STEPS = 1000  # of a speed: sample rates are whole numbers
_BATCH = 128  # clips whose loss is measured at once
_LOWEST, _HIGHEST = 0.075, 0.435  # of half the rate: tones, 300 Hz and 1.7 kHz at 8 kHz


@dataclass(frozen=True)
class Composition(Defense[Clips]):
    """Change the clips of each class by its own speed, formants, filters and tone, in this order.

    Each clip keeps its energy, less where it would clip. The clips need labels.

    Attributes:
        kinds: which changes are made.
        speed: largest relative change of speed about the middle of a recording, 0..0.5; 0.03 is hardly noticed, 0.1
            moves pitch by almost two semitones. What a slower clip has too much is cut off at both ends.
        formant: largest relative change of the frequency of every partial, 0..0.5.
        decibels: gain of the filters, up or down, at least 0, see `time_filters`.
        milliseconds: how long a filter lasts, at least 10.
        bands: points of a filter, at least 1.
        tone_db: signal-to-noise ratio of the tone; higher is softer.
        search: draws that are tried; 0 and 1: one, which needs no surrogate. Each costs a training of the surrogates.
    """

    domains = ("audio",)
    per = "class"
    joint = True
    paper = "after Wang et al. 2026, ICML (Dual-branch Robust Unlearnable Examples)"

    kinds: tuple[str, ...] = _KINDS
    speed: float = 0.08
    formant: float = 0.08
    decibels: float = 4.0
    milliseconds: float = 60.0
    bands: int = 12
    tone_db: float = 20.0
    search: int = 0

    def __post_init__(self) -> None:
        if not self.kinds or not set(self.kinds) <= set(_KINDS):
            raise ValueError(f"kinds = {self.kinds}, expected one or more of {', '.join(_KINDS)}")
        check_range(self, "speed", "formant", least=0, most=0.5)
        check_range(self, "decibels", "tone_db", "search", least=0)
        check_range(self, "milliseconds", least=10)
        check_range(self, "bands", least=1)

    def protect(self, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
        """Change the clips.

        Raises:
            UsageError: draws are tried and there is no surrogate.
            DataError: the clips have no labels.
        """
        label = labels(data)
        if self.search < 2:
            return self._published(data, label, rng)
        against = surrogates(knowledge, "composition", otherwise=", or search = 0")
        best, highest = data, -torch.inf
        for number in range(1, self.search + 1):
            published = self._published(data, label, rng)
            losses = []
            for attacker, model in zip(against, train_surrogates(against, published, rng), strict=True):
                model.eval()
                with torch.no_grad():
                    parts = torch.split(torch.arange(len(data), device=data.device), _BATCH)
                    losses.append(torch.cat([attacker.loss(model, data.select(part)) for part in parts]).mean())
            loss = float(torch.stack(losses).mean())
            knowledge.log(Epoch(number, loss))
            if loss > highest:
                best, highest = published, loss
        return best

    def _published(self, data: Clips, label: Tensor, rng: Generator) -> Clips:
        """Draw the values of all classes and change the clips; the draws are the same whatever the kinds."""
        count = len(classes(data))

        def even() -> Tensor:
            order = torch.randperm(count, generator=rng, device=rng.device)
            return (2 * (order + 0.5) / count - 1).to(data.device)

        speed, formant, pitch = even(), even(), even()
        signs = torch.randint(0, 2, (count, 1, self.bands), generator=rng, device=rng.device).to(data.device)
        start, phase = torch.rand(2, len(data), generator=rng, device=rng.device).to(data.device)
        audio = data.audio
        if "speed" in self.kinds:
            audio = _faster(data, label, 1 + self.speed * speed)
        if "formants" in self.kinds:
            audio = warped(audio, data.rate, 1 + self.formant * formant[label])
        if "filters" in self.kinds:
            sequence = with_inverses(self.decibels * (2.0 * signs - 1.0))[label]
            audio = in_turn(audio, data.rate, sequence, self.milliseconds, start)
        audio = as_loud(audio * data.support, data.audio)
        if "tone" in self.kinds:
            hz = data.rate / 2 * _LOWEST * (_HIGHEST / _LOWEST) ** ((pitch[label] + 1) / 2)
            audio = self._with_tone(audio, data, hz, phase)
        return data.with_audio(audio.clamp(-1.0, 1.0))

    def _with_tone(self, audio: Tensor, data: Clips, hz: Tensor, phase: Tensor) -> Tensor:
        """Add a sine to each recording, `tone_db` below it."""
        time = torch.arange(audio.shape[-1], device=audio.device) / data.rate
        tone = torch.sin(2 * torch.pi * (hz[:, None] * time + phase[:, None]))[:, None] * data.support
        target = energy(audio) * 10 ** (-self.tone_db / 10) / audio.shape[1]
        return audio + tone * (target / energy(tone).clamp_min(1e-20)).sqrt()


def _faster(data: Clips, label: Tensor, factors: Tensor) -> Tensor:
    """Play the clips of each class faster by its factor; the middle of each recording stays in its place."""
    samples = data.audio.shape[-1]
    changed = torch.zeros_like(data.audio)
    for number, factor in enumerate(factors.tolist()):
        rows = (label == number).nonzero()[:, 0]
        ratio = round(factor * _STEPS)
        if not len(rows):
            continue
        sound = resample(data.audio[rows], ratio, _STEPS)
        length = data.lengths[rows] * _STEPS // ratio
        source = torch.arange(samples, device=data.device) - (data.lengths[rows] - length)[:, None] // 2
        inside = (source >= 0) & (source < length[:, None])
        at = source.clamp(0, max(0, sound.shape[-1] - 1))[:, None].expand(-1, sound.shape[1], -1)
        changed[rows] = sound.gather(-1, at) * inside[:, None]
    return changed
