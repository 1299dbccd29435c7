"""Vocal tract length perturbation: the frequencies of every clip are warped at random, for each batch.

The usual augmentation of speech recognition for voices of other speakers. Marks at fixed frequencies move, durations
and places in time stay, unlike under `change_speed`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from bench.api import Adaptation, Clips, check_range
from bench.sound.headroom import limited
from bench.sound.warping import warped


@dataclass(frozen=True)
class Vtlp(Adaptation[Clips]):
    """Warp the frequency axis of each clip by a factor drawn uniformly from 1 - `strength` to 1 + `strength`.

    The warp is linear up to about 60 % of half the rate and bends from there to half the rate, which stays. The paper
    warps filter banks; here the short-time spectrum is warped and resynthesised, for attackers on the waveform too.

    Attributes:
        strength: largest relative change of a frequency, 0..0.5; 0.1 is the paper's, 0.2 moves a vowel to the next.
    """

    domains = ("audio",)
    sweep = ("strength", 0.03, 0.3)
    paper = "Jaitly, Hinton 2013, ICML workshop (Vocal Tract Length Perturbation improves speech recognition)"

    strength: float = 0.1

    def __post_init__(self) -> None:
        check_range(self, "strength", least=0, most=0.5)

    def augment(self, batch: Clips, rng: Generator) -> Clips:
        drawn = torch.rand(len(batch), generator=rng, device=rng.device).to(batch.device)
        sound = warped(batch.audio, batch.rate, 1 + (2 * drawn - 1) * self.strength)
        return batch.with_audio(limited(sound * batch.support))
