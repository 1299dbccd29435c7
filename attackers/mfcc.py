"""A small convolutional network on mel-frequency cepstral coefficients: classical speech recognition.

20 coefficients and their deltas over 32 ms windows, minus the clip's mean over active frames; three convolutions in
time (a TDNN, Waibel et al. 1989); the mean and the deviation over time (statistics pooling, Snyder et al. 2017). Some
25 thousand parameters. Subtracting the mean removes fixed filters; in the suite speech an equaliser and a tone a class
still deny it much.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from bench.api import Attacker, Clips, check_range
from bench.sound.mel import Mfcc as Front
from bench.training import classification
from bench.training.learning import seeded


@dataclass(frozen=True)
class Mfcc(Attacker[Clips]):
    """A convolutional network from cepstral coefficients to classes.

    Attributes:
        coefficients: cepstral coefficients a frame, at most `bands`.
        bands: mel bands that they are computed from.
        window_ms: length of an analysis window; the hop is half of it.
        centred: subtract each clip's mean over active frames (cepstral mean normalisation).
        width: channels of the network.
        epochs: passes over the training set.
        batch: clips a step.
        lr: peak learning rate.
        weight_decay: of the optimiser.
    """

    version = 2  # the cepstral mean is taken over active frames, no longer over the padding
    domains = ("audio",)
    task = "classify"
    dataset = "spoken_digits"
    presets = {"full": {"epochs": 30}}

    coefficients: int = 20
    bands: int = 40
    window_ms: float = 32.0
    centred: bool = True
    width: int = 64
    epochs: int = 10
    batch: int = 64
    lr: float = 4e-3
    weight_decay: float = 1e-3

    def __post_init__(self) -> None:
        check_range(self, "bands", "width", "epochs", "batch", least=1)
        check_range(self, "window_ms", "lr", above=0)
        check_range(self, "weight_decay", least=0)
        if not 1 <= self.coefficients <= self.bands:
            nearest = min(max(self.coefficients, 1), self.bands)
            raise ValueError(
                f"coefficients = {self.coefficients}, expected 1..{self.bands}, the number of mel bands, nearest is "
                f"{nearest}"
            )

    def model(self, like: Clips, rng: Generator) -> nn.Module:
        front_end = Front(like.rate, self.bands, self.window_ms, self.coefficients, centred=self.centred)
        classes = len(classification.classes(like))
        with seeded(rng):
            return classification.WithFrontEnd(front_end, _Network(classes, 2 * self.coefficients, self.width)).to(
                like.device
            )

    loss = staticmethod(classification.cross_entropy)
    learn = classification.learn
    quality = staticmethod(classification.quality)


class _Network(nn.Module):
    """Coefficients [clip, number, frame] -> logits [clip, class]."""

    def __init__(self, classes: int, numbers: int, width: int):
        super().__init__()
        layers: list[nn.Module] = [nn.BatchNorm1d(numbers)]
        for inputs, dilation in ((numbers, 1), (width, 2), (width, 3)):
            convolution = nn.Conv1d(inputs, width, 3, dilation=dilation, padding=dilation, bias=False)
            layers += [convolution, nn.BatchNorm1d(width), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, features: Tensor) -> Tensor:
        x = self.convolutions(features)
        deviation = (x.var(-1, correction=0) + 1e-5).sqrt()
        logits: Tensor = self.head(torch.cat([x.mean(-1), deviation], dim=1))
        return logits
