"""Numbers that follow from a name: the same on every machine, in every process and for ever."""

from __future__ import annotations

import hashlib

__all__ = ["unit_hash"]


def unit_hash(name: str) -> float:
    """Map a name to a fixed number, such as a group to its place between the splits.

    Args:
        name: any text; bytes of a file name that are not UTF-8 may stand in it as Python's surrogates.

    Returns:
        The first 64 bits of the SHA-256 of the name's UTF-8, as a fraction in [0, 1).
    """
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2**64
