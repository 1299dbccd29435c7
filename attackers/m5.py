"""M5: a convolutional network on the raw waveform, the target of published unlearnable speech.

Dai et al., "Very deep convolutional neural networks for raw waveforms", ICASSP 2017; of 25,290 parameters for ten
classes with the widths of torchaudio's speech command tutorial, which are those of the published attack too. Small
shifts in time are part of the recipe: without them 12 epochs on spoken digits end some 3 points lower.

SpeechCommands: the defaults with `epochs = 30`, for 13 words and for all 35. The published recipe (13 words, a peak of
89.5 %): `epochs = 10, batch = 256, lr = 0.01, weight_decay = 0.0001, shift_ms = 0, schedule = "constant"`.

In evaluation mode the same function is computed faster, since defenses differentiate it thousands of times: the batch
normalisations are folded into the convolutions, the rectifiers stand behind the pools, and the first convolution is one
product of matrices, whose gradient is five shifted additions in place of a transposed convolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from bench.api import Attacker, Augment, Clips, Log, check_range, silent_log
from bench.sound.augmentation import shifted
from bench.training import classification
from bench.training.learning import seeded

_KERNEL, _STRIDE = 80, 16
_SHORTEST = 6848  # samples: four pools of four leave one frame of it


@dataclass(frozen=True)
class M5(Attacker[Clips]):
    """A convolutional network from the raw waveform to classes.

    Attributes:
        width: channels of the first two layers; the last two have twice as many.
        shift_ms: largest random shift in time of a training clip, drawn every epoch; 0: none.
        epochs: passes over the training set.
        batch: clips a step.
        lr: learning rate, its peak under "one-cycle".
        weight_decay: of the optimiser.
        schedule: of the learning rate.
    """

    domains = ("audio",)
    task = "classify"
    dataset = "spoken_digits"
    paper = "Dai et al. 2017, ICASSP"
    presets = {"smoke": {"epochs": 8}, "full": {"epochs": 30}}

    width: int = 32
    shift_ms: float = 20.0
    epochs: int = 12
    batch: int = 32
    lr: float = 5e-3
    weight_decay: float = 1e-3
    schedule: Literal["one-cycle", "constant"] = "one-cycle"

    def __post_init__(self) -> None:
        check_range(self, "width", "epochs", "batch", least=1)
        check_range(self, "lr", above=0)
        check_range(self, "shift_ms", "weight_decay", least=0)

    def model(self, like: Clips, rng: Generator) -> nn.Module:
        with seeded(rng):
            return _Network(len(classification.classes(like)), self.width).to(like.device)

    def loss(self, model: nn.Module, batch: Clips) -> Tensor:
        return classification.cross_entropy(model, batch)

    def learn(
        self, train: Clips, validation: Clips, rng: Generator, *, augment: Augment | None = None, log: Log = silent_log
    ) -> nn.Module:
        def with_shifts(batch: Clips, rng: Generator, model: nn.Module) -> Clips:
            shifted_batch = shifted(batch, self.shift_ms / 1000, rng)
            return augment(shifted_batch, rng, model) if augment else shifted_batch

        schedule = classification.one_cycle if self.schedule == "one-cycle" else _constant
        augmentation = with_shifts if self.shift_ms else augment
        return classification.learn(self, train, validation, rng, augment=augmentation, log=log, schedule=schedule)

    def quality(self, model: nn.Module, test: Clips) -> Mapping[str, Tensor]:
        return classification.quality(model, test)


def _constant(progress: float) -> float:
    """Schedule of a constant learning rate."""
    return 1.0


class _Network(nn.Module):
    """Audio [clip, channel, sample], channels averaged -> logits [clip, class]."""

    def __init__(self, classes: int, width: int):
        super().__init__()
        sizes = [(1, width, _KERNEL), (width, width, 3), (width, 2 * width, 3), (2 * width, 2 * width, 3)]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(inputs, outputs, kernel, stride=_STRIDE if i == 0 else 1)
            for i, (inputs, outputs, kernel) in enumerate(sizes)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(outputs) for _, outputs, _ in sizes)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, audio: Tensor) -> Tensor:
        x = audio.mean(1, keepdim=True) if audio.shape[1] > 1 else audio
        x = functional.pad(x, (0, max(0, _SHORTEST - x.shape[-1])))
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            if self.training:
                x = functional.max_pool1d(functional.relu(norm(convolution(x))), 4)
            else:
                weight, bias = _folded(convolution, norm)
                x = _first(x, weight, bias) if i == 0 else functional.conv1d(x, weight, bias)
                x = functional.relu(functional.max_pool1d(x, 4))
        logits: Tensor = self.head(x.mean(-1))
        return logits


def _folded(convolution: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Fold a batch normalisation into its convolution. Returns weight and bias."""
    assert isinstance(convolution, nn.Conv1d)
    assert isinstance(norm, nn.BatchNorm1d)
    assert convolution.bias is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    bias = (convolution.bias - norm.running_mean) * factor + norm.bias
    return convolution.weight * factor[:, None, None], bias


def _first(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute the convolution of one channel [clip, 1, sample] as a matrix product: [clip, width, frame]."""
    windows: Tensor = _Windows.apply(x[:, 0])  # type: ignore[no-untyped-call]
    return functional.linear(windows, weight[:, 0], bias).mT


class _Windows(torch.autograd.Function):
    """Overlapping windows: [clip, sample] -> [clip, frame, kernel], a view; backward, they are added."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.samples = x.shape[-1]
        return x.unfold(-1, _KERNEL, _STRIDE)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        clips, frames, _ = gradient.shape
        parts = gradient.reshape(clips, frames, _KERNEL // _STRIDE, _STRIDE)
        steps = -(-ctx.samples // _STRIDE)
        total = gradient.new_zeros(clips, max(steps, frames + _KERNEL // _STRIDE - 1), _STRIDE)
        for j in range(_KERNEL // _STRIDE):
            total[:, j : j + frames] += parts[:, :, j]
        return total.flatten(1)[:, : ctx.samples]
