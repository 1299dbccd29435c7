"""Mel-frequency cepstral coefficients and a small network in time: classical speech recognition.

20 coefficients and their slopes over 32 ms windows, the clip's own mean taken away, three convolutions in time (a TDNN,
Waibel et al. 1989), and the mean and the deviation over time (statistics pooling, Snyder et al. 2017): some 25 thousand
parameters. Taking the mean away is meant against fixed filters; in the suite speech an equaliser and a tone a class
still deny it much.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from bench.api import Attacker, Clips
from bench.sound.mel import Mfcc as Front
from bench.training import classification
from bench.training.learning import seeded


@dataclass(frozen=True)
class Mfcc(Attacker[Clips]):
    """Cepstral coefficients -> class."""

    domains = ("audio",)
    task = "classify"
    dataset = "spoken_digits"
    presets = {"full": {"epochs": 30}}

    coefficients: int = 20
    bands: int = 40
    window_ms: float = 32.0
    centred: bool = True  # cepstral mean normalisation
    width: int = 64
    epochs: int = 10
    batch: int = 64
    lr: float = 4e-3
    weight_decay: float = 1e-3

    def __post_init__(self) -> None:
        if not 1 <= self.coefficients <= self.bands:
            raise ValueError(f"coefficients = {self.coefficients}, expected 1..{self.bands}, the number of mel bands")

    def model(self, like: Clips, rng: Generator) -> nn.Module:
        front = Front(like.rate, self.bands, self.window_ms, self.coefficients, centred=self.centred)
        classes = len(classification.classes(like))
        with seeded(rng):
            return classification.Fronted(front, _Network(classes, 2 * self.coefficients, self.width)).to(like.device)

    loss = staticmethod(classification.cross_entropy)
    learn = classification.learn
    quality = staticmethod(classification.quality)


class _Network(nn.Module):
    """Coefficients [clip, number, frame] -> logits [clip, class]."""

    def __init__(self, classes: int, numbers: int, width: int):
        super().__init__()
        layers: list[nn.Module] = [nn.BatchNorm1d(numbers)]
        for before, spread in ((numbers, 1), (width, 2), (width, 3)):
            convolution = nn.Conv1d(before, width, 3, dilation=spread, padding=spread, bias=False)
            layers += [convolution, nn.BatchNorm1d(width), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, seen: Tensor) -> Tensor:
        x = self.convolutions(seen)
        spread = (x.var(-1, correction=0) + 1e-5).sqrt()
        logits: Tensor = self.head(torch.cat([x.mean(-1), spread], dim=1))
        return logits
