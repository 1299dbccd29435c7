"""User-facing exceptions: a message is one line that says what was found, what was expected and the nearest good value.

A user can correct a `BenchError` (bad input, an unknown name): the command prints its line and exits with 2.
Any other exception is a defect of bench or of a plugin and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """An error that the user can correct. The message is one line."""


class DataError(BenchError):
    """A file or a set that cannot be used: missing, corrupt, empty, silent, NaN, too short, wrong rate."""


class PluginError(BenchError):
    """A plugin that is unknown, cannot be imported, or does not fit the contract."""


class UsageError(BenchError):
    """A command, a parameter or a suite file that does not make sense."""


def unknown(what: str, name: str, available: Iterable[str]) -> str:
    """Build the message for an unknown name, with the nearest available name and all of them.

    >>> unknown("defense", "harmonycloack", ["clean", "harmonycloak"])
    "unknown defense 'harmonycloack': did you mean 'harmonycloak'? (available: clean, harmonycloak)"

    Args:
        what: What the name should be one of, such as "defense".
        name: The unknown name.
        available: The known names.

    Returns:
        One line.
    """
    names = sorted(available)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f": did you mean '{nearest[0]}'?" if nearest else ""
    listed = ", ".join(names) if names else "none"
    return f"unknown {what} '{name}'{hint} (available: {listed})"
