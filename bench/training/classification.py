"""What the classifiers of recordings share: a loss, a score and a training loop.

Conventions
-----------
* A model takes audio [clip, channel, sample] and gives logits [clip, class]. One whose attribute `front` holds no
  parameters and feeds `body` (see `WithFrontEnd`) has its features computed once, where nothing changes them from
  batch to batch.
* The scored metric is accuracy on the clean test set; the log-likelihood stands beside it, since it still moves where
  the accuracy is at one of its ends.
* `learn` trains by the attacker's own `loss`, so that an adaptation may harden it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from bench.api import Augment, Clips, Log, silent_log
from bench.errors import DataError
from bench.training.acceleration import Precision
from bench.training.learning import Budget, fit

__all__ = ["WithFrontEnd", "classes", "cross_entropy", "labels", "learn", "one_cycle", "quality"]

_AT_ONCE = 1 << 21  # samples that are judged at once
_TIE = 1e-6  # weight of the log-likelihood beside the accuracy: less than any one clip


class Classifier(Protocol):
    """The fields of an attacker that `learn` reads."""

    @property
    def epochs(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def lr(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    def model(self, like: Any, rng: Generator) -> nn.Module: ...
    def loss(self, model: nn.Module, batch: Any) -> Tensor: ...


class WithFrontEnd(nn.Module):
    """A front end without parameters and a trained body: audio [clip, channel, sample] -> logits [clip, class]."""

    def __init__(self, front: nn.Module, body: nn.Module):
        super().__init__()
        self.front = front
        self.body = body

    def forward(self, audio: Tensor) -> Tensor:
        logits: Tensor = self.body(self.front(audio))
        return logits


@dataclass(frozen=True, eq=False)
class _Features:
    """A training set of which only features are left."""

    seen: Tensor  # [clip, ...]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, index: Tensor) -> _Features:
        return _Features(self.seen[index], self.labels[index])


def labels(clips: Clips) -> Tensor:
    """The labels [clip], or a `DataError` where there are none to learn."""
    if clips.labels is None:
        raise DataError("the clips have no labels, expected a data set of classes, such as spoken_digits")
    return clips.labels


def cross_entropy(model: nn.Module, batch: Clips) -> Tensor:
    """[clip], nats; differentiable in the batch's audio."""
    return functional.cross_entropy(model(batch.audio), labels(batch), reduction="none")


def quality(model: nn.Module, test: Clips) -> Mapping[str, Tensor]:
    """Accuracy, 0 or 1, and the log-likelihood of the true class in nats: [clip] each. In evaluation mode."""
    training = model.training
    model.eval()
    truth = labels(test)
    size = max(1, _AT_ONCE // max(1, test.audio[:1].numel()))
    with torch.no_grad():
        logits = torch.cat([model(part) for part in torch.split(test.audio, size)])
    model.train(training)
    return {
        "accuracy": (logits.argmax(1) == truth).float(),
        "log likelihood": -functional.cross_entropy(logits, truth, reduction="none"),
    }


def learn(
    attacker: Classifier,
    train: Clips,
    validation: Clips,
    rng: Generator,
    *,
    augment: Augment | None = None,
    log: Log = silent_log,
    schedule: Callable[[float], float] | None = None,
    precision: Precision = "float32",
) -> nn.Module:
    """Train a classifier for `attacker.epochs`, each of `train.epoch_items` clips.

    Args:
        attacker: its fields give the budget.
        train: the training set.
        validation: a clean set; the accuracy on it is asked once an epoch.
        rng: the only source of random numbers.
        augment: applied to each batch.
        log: called once an epoch.
        schedule: progress in 0..1 -> factor of the learning rate, by default `one_cycle`.
        precision: of the training loss.

    Returns:
        The model at its peak accuracy on `validation`.
    """
    model = attacker.model(train, rng)
    once = augment is None and isinstance(model, WithFrontEnd)
    per_epoch = -(-train.epoch_items // attacker.batch)
    return fit(
        model,
        _on_features if once else attacker.loss,
        _featured(model, train) if once else train,
        validation,
        rng,
        Budget(
            steps=attacker.epochs * per_epoch,
            batch=attacker.batch,
            lr=attacker.lr,
            evaluate_every=per_epoch,
            weight_decay=attacker.weight_decay,
            clip=math.inf,
            schedule=schedule or one_cycle,
            precision=precision,
        ),
        _peak,
        augment=augment,
        log=log,
    )


def one_cycle(progress: float, rising: float = 0.25) -> float:
    """The factor of the learning rate at a progress in 0..1: half a cosine up from 1/25, half a cosine down to 0.

    Smith and Topin 2019, as torch's `OneCycleLR` anneals it.
    """
    if progress < rising:
        return 1.0 - 0.48 * (1.0 + math.cos(math.pi * progress / rising))
    return 0.5 * (1.0 + math.cos(math.pi * (progress - rising) / (1.0 - rising)))


def classes(like: Clips) -> Sequence[str]:
    """The names of the classes, or a `DataError`."""
    labels(like)
    return like.classes


def _peak(model: nn.Module, validation: Clips) -> float:
    """Accuracy; among equals, which small sets have many of, the model that is surer of what it says."""
    qualities = quality(model, validation)
    return float(qualities["accuracy"].mean() + _TIE * qualities["log likelihood"].mean())


def _featured(model: nn.Module, train: Clips) -> _Features:
    assert isinstance(model, WithFrontEnd)
    size = max(1, _AT_ONCE // max(1, train.audio[:1].numel()))
    with torch.no_grad():
        return _Features(torch.cat([model.front(part) for part in torch.split(train.audio, size)]), labels(train))


def _on_features(model: nn.Module, batch: _Features) -> Tensor:
    assert isinstance(model, WithFrontEnd)
    return functional.cross_entropy(model.body(batch.seen), batch.labels, reduction="none")
