"""Qualities of held-out items as a baseline's file holds them: short, and readable in a diff.

Where every quality is 0 or 1, as with accuracy, a seed is a text of one character an item: "1" right, "0" wrong, "-"
missing. Other qualities are a list of numbers to five digits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

import numpy as np
import pydantic
from numpy.typing import NDArray

from bench.results.arms import Arm
from bench.results.record import Number, Record

__all__ = ["HeldOut", "Qualities", "Strict", "held_out", "packed", "unpacked"]

Qualities = str | list[Number]

_CHARACTERS: Mapping[Number, str] = {0.0: "0", 1.0: "1", None: "-"}
_NUMBERS = {"0": 0.0, "1": 1.0, "-": math.nan}


class Strict(pydantic.BaseModel):
    """A model that refuses unknown fields and is not changed."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class HeldOut(Strict):
    """The held-out items of a data set and attacker, with the qualities that all cells on them share.

    Attributes:
        ids: The items' names.
        groups: The song or speaker of each.
        arms: Arm -> seed -> qualities: of the clean arm and the untrained one and, under a threat model, of the clean
            arm under the adaptation, if there is one, and of each smaller clean set, called by its size.
    """

    ids: list[str]
    groups: list[str]
    arms: dict[str, dict[int, Qualities]]

    def quality(self, arm: str, seeds: Sequence[int]) -> NDArray[np.float64]:
        """Return the qualities of an arm in some of its seeds: [seed, item], NaN where one is missing."""
        return np.stack([unpacked(self.arms[arm][seed]) for seed in seeds])

    def joined(self, other: HeldOut) -> Self | None:
        """Return both as one where they are of the same items, with the same qualities in common seeds; else None."""
        if (self.ids, self.groups, set(self.arms)) != (other.ids, other.groups, set(other.arms)):
            return None
        for arm, by_seed in self.arms.items():
            theirs = other.arms[arm]
            if any(by_seed[seed] != theirs[seed] for seed in by_seed.keys() & theirs.keys()):
                return None
        arms = {arm: {**by_seed, **other.arms[arm]} for arm, by_seed in self.arms.items()}
        return self.model_copy(update={"arms": arms})


def held_out(records: Iterable[Record]) -> HeldOut:
    """Return the held-out items of a cell's records and the qualities of the arms that other cells have as well.

    Args:
        records: One a seed, all of the same items.
    """
    records = list(records)
    first = records[0]
    names = [Arm.CLEAN, Arm.UNTRAINED]
    if first.trial.threat and first.trial.adaptation:
        names.append(Arm.CLEAN_ADAPTED)
    arms: dict[str, dict[int, Qualities]] = {
        str(arm): {record.trial.seed: packed(record.quality(arm)) for record in records} for arm in names
    }
    for size in first.curve:
        arms[size] = {record.trial.seed: packed(record.curve_quality(size)) for record in records}
    return HeldOut(
        ids=[first.ids[at] for at in first.scored],
        groups=[first.groups[at] for at in first.scored],
        arms=arms,
    )


def packed(values: Sequence[Number]) -> Qualities:
    """Return qualities in the form of the file.

    Args:
        values: One an item; None for a missing one.
    """
    if all(value in _CHARACTERS for value in values):
        return "".join(_CHARACTERS[value] for value in values)
    return [None if value is None else float(f"{value:.5g}") for value in values]


def unpacked(qualities: Qualities) -> NDArray[np.float64]:
    """Return qualities as numbers, NaN where one is missing.

    Raises:
        ValueError: A character is none of those that `packed` writes.
    """
    if isinstance(qualities, str):
        unknown = set(qualities) - _NUMBERS.keys()
        if unknown:
            raise ValueError(f"qualities hold {sorted(unknown)[0]!r}, expected 0, 1 or - for each item")
        return np.array([_NUMBERS[character] for character in qualities], dtype=np.float64)
    return np.array([math.nan if value is None else value for value in qualities], dtype=np.float64)
