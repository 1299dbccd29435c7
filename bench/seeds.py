"""Random numbers that depend on a name alone: the same on every machine and in every process.

Data sets are split and drawn by them; attackers shuffle an item by its id, so that its order does not depend on the
other items.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

__all__ = ["name_generator", "name_orders", "unit_hash"]


def unit_hash(name: str) -> float:
    """Map a name to a fixed number, such as a group to its place between the splits.

    Args:
        name: any text; bytes of a file name that are not UTF-8 may stand in it as Python's surrogates.

    Returns:
        The first 64 bits of the SHA-256 of the name's UTF-8, as a fraction in [0, 1).
    """
    return int.from_bytes(_digest(name)[:8]) / 2**64


def name_generator(name: str) -> Generator:
    """Return a generator whose numbers a name alone decides, such as the id of an item.

    Args:
        name: as for `unit_hash`.

    Returns:
        A generator on the processor, seeded with the first 56 bits of the SHA-256 of the name's UTF-8.
    """
    return Generator().manual_seed(int.from_bytes(_digest(name)[:7]))


def name_orders(names: Sequence[str], counts: Sequence[int]) -> list[Tensor]:
    """Draw a random order for each item, which the item's name alone decides.

    Args:
        names: ids of the items.
        counts: how many things of each item to put in order, such as its beats.

    Returns:
        One int64 permutation of 0 .. count - 1 per item, on the processor.
    """
    return [
        torch.randperm(n, generator=name_generator(name), device="cpu") for name, n in zip(names, counts, strict=True)
    ]


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
