"""Train on mixtures of clips with the mixture of their labels; shared by mixup and InstaHide.

Cross entropy is linear in the target: the loss for a mixture of labels is the mixture of the losses for each label, so
that any classifier's own `loss` will do, at one forward pass a part. Running statistics of normalisations are updated
in each of these passes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn

from bench.api import Attacker, Clips, Log
from bench.errors import DataError
from bench.training.classification import labels

__all__ = ["Mix", "Mixture", "learn", "mixed"]

Mix = Callable[[Clips, Generator], "Mixture"]
"""Mixes the clips of a batch: (batch, generator) -> as many mixtures."""


@dataclass(frozen=True, eq=False)
class Mixture(Clips):
    """Mixtures of clips; `labels` are those of the first part of each."""

    part_labels: Tensor | None = None  # int64 [part, clip]
    shares: Tensor | None = None  # float [part, clip], at least 0; they sum to 1 over the parts

    def select(self, index: Any) -> Mixture:
        """Return the mixtures at `index`; see `Clips.select`."""
        chosen = super().select(index)
        assert isinstance(chosen, Mixture)
        assert self.part_labels is not None
        assert self.shares is not None
        at = torch.as_tensor(index, dtype=torch.int64, device=self.device)
        return replace(chosen, part_labels=self.part_labels[:, at], shares=self.shares[:, at])


def mixed(batch: Clips, shares: Tensor, factors: Tensor, rng: Generator) -> Mixture:
    """Mix each clip with others of its batch, drawn at random; a clip may meet itself.

    Args:
        batch: Labelled clips.
        shares: [part, clip], of the labels; they sum to 1 over the parts. The first part is the clip itself.
        factors: Of the samples, to be multiplied with audio in [part, clip, channel, sample].
        rng: Draws the others.

    Returns:
        As many mixtures, each as long as its longest part.

    Raises:
        DataError: The clips have no labels.
    """
    own = torch.arange(len(batch), device=batch.device)
    others = [torch.randperm(len(batch), generator=rng, device=rng.device).to(batch.device) for _ in shares[1:]]
    rows = torch.stack([own, *others])
    audio = (batch.audio[rows] * factors).sum(0)
    mixture = {field.name: getattr(batch, field.name) for field in fields(Clips)} | {
        "audio": audio.clamp(-1.0, 1.0), "lengths": batch.lengths[rows].amax(0), "stems": None, "stem_names": (),
    }  # fmt: skip
    return Mixture(**mixture, part_labels=labels(batch)[rows], shares=shares)


def learn(attacker: Attacker[Clips], mix: Mix, train: Clips, validation: Clips, rng: Generator, log: Log) -> nn.Module:
    """Train an attacker by its own loop, each batch mixed, by the mixture of its own losses.

    Args:
        attacker: A classifier whose loss is a cross entropy. Its `learn` is called.
        mix: Mixes the clips of a batch.
        train: The training set.
        validation: A clean set for the choice of the checkpoint; it is not mixed.
        rng: The only source of random numbers.
        log: Called once an epoch.

    Returns:
        The trained model.

    Raises:
        DataError: The clips have no labels, or the attacker's batches are not `Clips`.
    """
    labels(train)

    def augment(batch: Any, rng: Generator, model: nn.Module) -> Clips:
        if not isinstance(batch, Clips):
            raise DataError(
                f"{type(attacker).__name__} trains on {type(batch).__name__}, expected Clips, since audio is mixed"
            )
        return mix(batch, rng)

    return _by_shares(attacker).learn(train, validation, rng, augment=augment, log=log)


def _by_shares(attacker: Attacker[Clips]) -> Attacker[Clips]:
    """Return an attacker of the same class and parameters, whose loss of a `Mixture` is the mixture of the losses."""

    def loss(self: Attacker[Clips], model: nn.Module, batch: Clips) -> Tensor:
        if not isinstance(batch, Mixture):
            return attacker.loss(model, batch)
        assert batch.part_labels is not None
        assert batch.shares is not None
        losses = [attacker.loss(model, replace(batch, labels=part)) for part in batch.part_labels]
        return (torch.stack(losses) * batch.shares).sum(0)

    given: Any = attacker
    kind = type(given)
    mixing = type(kind.__name__, (kind,), {"loss": loss, "__module__": kind.__module__})
    made: Attacker[Clips] = mixing(**{field.name: getattr(given, field.name) for field in fields(given) if field.init})
    return made
