"""A melody a class: soft tones that take turns, at pitches that tell the class. Made without a model.

A defense of ours. What was learnt from trying the others on spoken digits at 20 dB: one steady tone a class is the
strongest mark for waveforms and spectra alike and costs little PESQ, but an attacker who masks bands at random
(SpecAugment) learns the words from the batches in which it is missing. Tones that sound together resist that and lose
the waveform network. So they sound in turn: at any time there is one tone at full level, and a masked band takes only
some of them away. It gives the labels away, like every class-wise mark, and no setting that was tried is out of reach
of every adaptation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator

from bench.api import Clips, Knowledge
from bench.classification import labels


@dataclass(frozen=True)
class Melody:
    """`tones` pitches a class, one from each of as many bands, each for `note_ms` in turn, `snr_db` under each clip."""

    domains: ClassVar[tuple[str, ...]] = ("audio",)
    per: ClassVar[str] = "class"

    tones: int = 2
    note_ms: float = 50.0
    lowest: float = 0.0625  # of half the rate: 250 Hz at 8 kHz
    highest: float = 0.475  # below a quarter of the rate, so that halving the rate takes nothing away
    snr_db: float = 20.0

    def __post_init__(self) -> None:
        if self.tones < 1 or self.note_ms <= 0 or not 0 < self.lowest < self.highest <= 1:
            raise ValueError(
                f"tones = {self.tones}, note_ms = {self.note_ms}, {self.lowest}..{self.highest}: expected at least 1, "
                "more than 0 and two shares of half the rate, such as 2, 50 and 0.0625..0.475"
            )

    def protect(self, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
        """Raises `DataError` where the clips have no labels."""
        key, classes = labels(data), len(data.classes)
        draws = [torch.randperm(classes, generator=rng, device=rng.device) for _ in range(self.tones)]
        place = torch.stack(draws, 1).to(data.device) + 0.5  # each class another place in every band
        phase = torch.rand(classes, 1, generator=rng, device=rng.device).to(data.device)
        share = (torch.arange(self.tones, device=data.device) + place / classes) / self.tones
        hz = data.rate / 2 * self.lowest * (self.highest / self.lowest) ** share  # [class, tone]
        note = max(1, round(self.note_ms * data.rate / 1000))
        turn = torch.arange(data.audio.shape[-1], device=data.device) // note % self.tones
        cycles = phase + torch.cumsum(hz[:, turn].double() / data.rate, 1)  # the phase goes on from note to note
        melody = torch.sin(2 * torch.pi * (cycles % 1)).float()[key][:, None] * data.support
        wanted = data.audio.square().sum((1, 2), keepdim=True) * 10 ** (-self.snr_db / 10)
        level = (wanted / (melody.square().sum((1, 2), keepdim=True) * data.audio.shape[1]).clamp_min(1e-20)).sqrt()
        return data.with_audio((data.audio + level * melody).clamp(-1.0, 1.0))
