"""Plan what the adaptation of a trial, or each link of a chain of them, does to its sets. Pure values, without torch.

Each link that transforms a set is a stage, whose parent is what the link before it made: chains that begin alike share
the stages of their beginning. Links that augment or train are plugins of the stage that trains, see
`bench.trials.chains`.

A preprocessing link before a classifier also changes the validation and test sets: it is part of the attacker's
pipeline. A link that learns from pairs of clean and protected items is given them as the links before it change them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bench.trials.trial import Part, Trial

if TYPE_CHECKING:
    from bench.trials.plan import Stage

__all__ = ["Adapting"]

_PAIRED = "transform_with_pairs"
_TRANSFORMS = {"transform", _PAIRED}
_Link = tuple[int, Part]  # its place among the links that transform, from 1


class Adapting:
    """The stages of one trial's adaptation; without one every set stays as it is."""

    def __init__(self, trial: Trial, build: Callable[..., Stage], pairs: Callable[[bool], tuple[Stage, Stage]]):
        """Read the links of the trial.

        Args:
            trial: The trial.
            build: Builds a stage: task, title, parts, options, parents.
            pairs: Gives clean items, and the same items protected if its argument says so.
        """
        self._trial, self._build, self._pairs = trial, build, pairs
        self._steps = trial.adaptation.steps if trial.adaptation else ()
        self._links = list(enumerate((part for part in self._steps if _TRANSFORMS & set(part.hooks)), start=1))
        classifies = trial.attacker.traits.get("task") == "classify"
        self._preprocessing = [
            (place, part)
            for place, part in self._links
            if classifies and part.traits.get("preprocess") and _PAIRED not in part.hooks
        ]

    def transform(self, items: Stage, set_name: str, published: bool = False) -> Stage:
        """Return items as they are trained on.

        Args:
            items: What is published, or clean items in its place.
            set_name: Its name in titles.
            published: Whether it is what the trial publishes.
        """
        return self._through(self._links, items, set_name, published)

    def preprocess(self, items: Stage, set_name: str) -> Stage:
        """Return items that are not published as the trained model reads them.

        Args:
            items: Held-out, granted or other items.
            set_name: Their name in titles.
        """
        return self._through(self._preprocessing, items, set_name)

    def hooked(self, *, with_items: bool) -> tuple[Part, ...]:
        """Return the links that change the training itself, in order.

        Args:
            with_items: Whether any item is published beside the granted ones.
        """
        hooks = {"augment", "train", *(["train_with_granted"] if with_items else [])}
        return tuple(part for part in self._steps if hooks & set(part.hooks))

    def _through(self, links: Sequence[_Link], items: Stage, set_name: str, published: bool = False) -> Stage:
        """Return a set as some links transform it, one after the other."""
        seed = self._trial.seed
        for at, (place, link) in enumerate(links):
            parents = {"train": items}
            if _PAIRED in link.hooks:
                names = {"clean": "the granted items", "pairs": "the protected granted items"}
                for (role, name), pair in zip(names.items(), self._pairs(published), strict=True):
                    parents[role] = self._through(links[:at], pair, name, published)
            # Links that draw random numbers must not draw the same ones.
            stream = {"stream": f"link {place}"} if place > 1 else {}
            title = f"adapt {set_name} by {link.title}, seed {seed}"
            items = self._build("adapt", title, {"adaptation": link}, {"seed": seed, **stream}, parents)
        return items
