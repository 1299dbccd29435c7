"""Loss, metrics and training loop of audio classifiers.

Conventions
-----------

* A model takes audio [clip, channel, sample] and gives logits [clip, class]. The features of a `WithFrontEnd` model,
  whose front end has no parameters, are computed once where nothing changes the audio from batch to batch.
* The scored metric is accuracy on the clean test set. The log-likelihood is reported too, because it still varies where
  the accuracy is 0 or 1.
* `learn` trains by the attacker's own `loss`, so that an adaptation can modify it.
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

_SAMPLES_PER_PASS = 1 << 21  # samples evaluated in one forward pass, which bounds the memory
_TIE = 1e-6  # weight of the log-likelihood as a tie-break: less than one clip's accuracy


class Classifier(Protocol):
    """The fields and methods of an attacker that `learn` uses; see `bench.api.Attacker`."""

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
        """Return the logits [clip, class] of audio [clip, channel, sample].

        Args:
            audio: [clip, channel, sample].

        Returns:
            Logits, [clip, class].
        """
        logits: Tensor = self.body(self.front(audio))
        return logits


@dataclass(frozen=True, eq=False)
class _Features:
    """A training set reduced to features and labels."""

    features: Tensor  # [clip, ...]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, index: Tensor) -> _Features:
        return _Features(self.features[index], self.labels[index])


def labels(clips: Clips) -> Tensor:
    """Return the labels of clips.

    Args:
        clips: The set.

    Returns:
        int64 [clip].

    Raises:
        DataError: The clips have no labels.
    """
    if clips.labels is None:
        raise DataError("the clips have no labels, expected a data set of classes, such as spoken_digits")
    return clips.labels


def cross_entropy(model: nn.Module, batch: Clips) -> Tensor:
    """Return the cross-entropy of each clip, differentiable in its audio.

    Args:
        model: Audio [clip, channel, sample] -> logits [clip, class].
        batch: Labelled clips.

    Returns:
        float [clip], nats.

    Raises:
        DataError: The clips have no labels.
    """
    return functional.cross_entropy(model(batch.audio), labels(batch), reduction="none")


def quality(model: nn.Module, test: Clips) -> Mapping[str, Tensor]:
    """Return accuracy and log-likelihood of the true class, in evaluation mode.

    Args:
        model: Audio [clip, channel, sample] -> logits [clip, class].
        test: Labelled clips.

    Returns:
        "accuracy": 0 or 1, [clip]; "log likelihood": nats, [clip].

    Raises:
        DataError: The clips have no labels.
    """
    training = model.training
    model.eval()
    truth = labels(test)
    size = max(1, _SAMPLES_PER_PASS // max(1, test.audio[:1].numel()))
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
        attacker: Its fields give the budget.
        train: The training set.
        validation: A clean set; its accuracy is measured once an epoch.
        rng: The only source of random numbers.
        augment: Applied to each batch.
        log: Called once an epoch.
        schedule: Progress in 0..1 -> factor of the learning rate; None: `one_cycle`.
        precision: Of the training loss.

    Returns:
        The model at its best accuracy on `validation`.

    Raises:
        DataError: The clips have no labels.
    """
    model = attacker.model(train, rng)
    precompute = augment is None and isinstance(model, WithFrontEnd)
    per_epoch = -(-train.epoch_items // attacker.batch)
    return fit(
        model,
        _on_features if precompute else attacker.loss,
        _featured(model, train) if precompute else train,
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
    """Return the learning rate's factor: half a cosine up from 1/25 to 1, then half a cosine down to 0.

    Smith and Topin 2019, with the cosine annealing of torch's `OneCycleLR`.

    Args:
        progress: Progress of the training, 0..1.
        rising: Share of the training in which the rate rises.

    Returns:
        The factor, 0..1.
    """
    if progress < rising:
        return 1.0 - 0.48 * (1.0 + math.cos(math.pi * progress / rising))
    return 0.5 * (1.0 + math.cos(math.pi * (progress - rising) / (1.0 - rising)))


def classes(like: Clips) -> Sequence[str]:
    """Return the names of the classes.

    Args:
        like: Labelled clips.

    Returns:
        One name a class.

    Raises:
        DataError: The clips have no labels.
    """
    labels(like)
    return like.classes


def _peak(model: nn.Module, validation: Clips) -> float:
    """Return the accuracy, with the log-likelihood as tie-break: small sets have many equal accuracies."""
    qualities = quality(model, validation)
    return float(qualities["accuracy"].mean() + _TIE * qualities["log likelihood"].mean())


def _featured(model: nn.Module, train: Clips) -> _Features:
    """Compute the features of a training set."""
    assert isinstance(model, WithFrontEnd)
    size = max(1, _SAMPLES_PER_PASS // max(1, train.audio[:1].numel()))
    with torch.no_grad():
        return _Features(torch.cat([model.front(part) for part in torch.split(train.audio, size)]), labels(train))


def _on_features(model: nn.Module, batch: _Features) -> Tensor:
    assert isinstance(model, WithFrontEnd)
    return functional.cross_entropy(model.body(batch.features), batch.labels, reduction="none")
