"""Names of rows, cells and records, which follow from a trial's plugins and settings; and content keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "JOINT", "KEY_SCHEMA", "NONE", "attacker_of", "digest", "file_name", "response_name", "row_name", "trial_key",
]  # fmt: skip

# Part of every key. Raise it when the engine itself changes what a stage computes; a test freezes the keys it gives.
KEY_SCHEMA = 1

NONE = "none"  # the adaptation that is no adaptation
_WITH = " + "  # between attacker and adaptation; labels have no spaces
JOINT = "+"  # between the adaptations of a chain, in its name


def row_name(defense: str, reference: str, share: float | str) -> str:
    """Return the name of a row of a table.

    Args:
        defense: The label of what protects.
        reference: The label of the defense that a control is matched to; "" for none.
        share: The share of the training clips that is protected, or the class that alone is.

    >>> row_name("noise", "harmonycloak", 0.5)
    'noise ~ harmonycloak on 50%'
    """
    name = f"{defense} ~ {reference}" if reference else defense
    if isinstance(share, str):
        return f"{name} on '{share}'"
    return name if share == 1 else f"{name} on {100 * share:g}%"


def response_name(attacker: str, adaptation: str) -> str:
    """Return the name of a response: an attacker, with its adaptation if it has one.

    >>> response_name("m5", "mp3"), response_name("m5", NONE)
    ('m5 + mp3', 'm5')
    """
    return attacker if adaptation == NONE else f"{attacker}{_WITH}{adaptation}"


def attacker_of(response: str) -> str:
    """Return the attacker of a response.

    >>> attacker_of("m5 + mp3")
    'm5'
    """
    return response.split(_WITH)[0]


def file_name(words: Sequence[str]) -> str:
    """Return some words as one file name: letters, digits, `-`, `_`, `.` and `+`, and never hidden or a folder's.

    >>> file_name(["digits", "noise ~ cloak", "trim+mp3", "s0"])
    'digits--noise---cloak--trim+mp3--s0'
    """
    return "--".join("".join(c if c.isalnum() or c in "-_.+" else "-" for c in word).strip("-.") for word in words)


def digest(value: Any) -> str:
    """Return the content key of a JSON value: 32 hexadecimal digits of the SHA-256 of its canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]  # a path need not be UTF-8


def trial_key(stages: Mapping[str, str]) -> str:
    """Return the content key of a trial.

    Args:
        stages: Role -> key of the stage.
    """
    return digest({"schema": KEY_SCHEMA, "stages": dict(stages)})
