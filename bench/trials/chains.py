"""Chains of adaptations at work: several augmentations in one training, pairs that links before changed, and a chain
that a defender prepares for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Generator, nn

from bench.api import Adaptation, Attacker, Augment, Data, Log, silent_log
from bench.errors import DataError

__all__ = ["Chain", "paired", "trainer"]


@dataclass(frozen=True)
class Chain(Adaptation[Data]):
    """Adaptations that follow one another: the transforms of all of them, and the augmentations.

    Attributes:
        links: in order.
    """

    domains = ("audio", "midi")

    links: tuple[Adaptation[Any], ...] = ()

    def transform(self, data: Data, rng: Generator) -> Data:
        """Transform a set by every link in order; see `Adaptation.transform`."""
        for link in self.links:
            data = link.transform(data, rng)
        return data

    def augment(self, batch: Data, rng: Generator) -> Data:
        """Augment a batch by every link in order; see `Adaptation.augment`."""
        for link in self.links:
            batch = link.augment(batch, rng)
        return batch


def paired(clean: Data, protected: Data, title: str) -> tuple[Data, Data]:
    """Return the pairs of clean and protected items; where a link before dropped some, those left.

    Args:
        clean: Clean items.
        protected: The same items protected.
        title: The stage, for messages.

    Raises:
        DataError: None is left, or a link before gave the two sides different shapes.
    """
    left = [name for name in clean.ids if name in set(protected.ids)]
    clean, protected = (items.select([items.ids.index(name) for name in left]) for items in (clean, protected))
    if not left or clean.signal.shape != protected.signal.shape:
        raise DataError(
            f"{title}: {len(left)} pairs, of shapes {tuple(clean.signal.shape)} and {tuple(protected.signal.shape)}, "
            "expected some of one shape: put this adaptation first in its chain"
        )
    return clean, protected


def trainer(links: Sequence[Adaptation[Any]], attacker: Attacker[Any]) -> tuple[Adaptation[Any] | None, Attacker[Any]]:
    """Return the link that trains, and the attacker that it is to train.

    The link that trains in its own way is called, of links that only augment the first; whenever it lets the attacker
    learn, the other links augment the batches too, those before it before its own augmentation and the rest after it.

    Args:
        links: The links that change the training, in order; at most one trains in its own way.
        attacker: The attacker.

    Returns:
        None without a link; and the attacker itself where there is no other link.
    """
    if not links:
        return None, attacker
    own = (link.implements("train") or link.implements("train_with_granted") for link in links)
    at = next((place for place, trains in enumerate(own) if trains), 0)
    before, after = Chain(links=tuple(links[:at])), Chain(links=tuple(links[at + 1 :]))
    return links[at], _augmented(attacker, before, after) if len(links) > 1 else attacker


def _augmented(attacker: Attacker[Any], before: Chain, after: Chain) -> Attacker[Any]:
    """Return the attacker with a `learn` that augments every batch by two chains as well."""
    kind: Any = type(attacker)

    class _Augmented(kind):  # type: ignore[misc]  # so that it is whatever an adaptation may ask of its attacker
        def learn(
            self, train: Any, validation: Any, rng: Generator, *, augment: Augment | None = None, log: Log = silent_log
        ) -> nn.Module:
            def augmented(batch: Any, rng: Generator, model: nn.Module) -> Any:
                batch = before.augment(batch, rng)
                batch = augment(batch, rng, model) if augment else batch
                return after.augment(batch, rng)

            learned: nn.Module = kind.learn(self, train, validation, rng, augment=augmented, log=log)
            return learned

    _Augmented.__name__ = _Augmented.__qualname__ = kind.__name__
    changed: Attacker[Any] = object.__new__(_Augmented)
    vars(changed).update(vars(attacker))
    return changed
