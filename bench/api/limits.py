"""Limits of numeric parameters, for the `__post_init__` of a plugin."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

__all__ = ["check_finite", "check_range"]


def check_range(
    plugin: Any, *names: str, least: float | None = None, most: float | None = None, above: float | None = None
) -> None:
    """Check that parameters lie in a range; what is no number lies in none.

    Args:
        plugin: The plugin, a dataclass.
        names: The fields to check.
        least: The smallest value that is allowed; None for no limit.
        most: The largest value that is allowed; None for no limit.
        above: The largest value that is too small; None for no limit.

    Raises:
        ValueError: One lies outside. The message names the field, its value, the range and the nearest value in it, or
            the field's default where there is none.
    """
    for name in names:
        value = getattr(plugin, name)
        if (least is None or value >= least) and (most is None or value <= most) and (above is None or value > above):
            continue
        default = next(field.default for field in dataclasses.fields(plugin) if field.name == name)
        hint = f"such as {default}"
        if least is not None and value < least:
            hint = f"nearest is {least}"
        elif most is not None and value > most:
            hint = f"nearest is {most}"
        raise ValueError(f"{name} = {value}, expected {_range(least, most, above)}, {hint}")


def check_finite(plugin: Any) -> None:
    """Check that no parameter is NaN or infinite: neither has an entry in a record, and NaN passes most comparisons.

    Args:
        plugin: The plugin, a dataclass.

    Raises:
        ValueError: One is. The message names the field and its default.
    """
    for field in dataclasses.fields(plugin):
        value = getattr(plugin, field.name)
        numbers = value if isinstance(value, tuple | list) else (value,)
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            raise ValueError(f"{field.name} = {value}, expected a finite number, such as {field.default}")


def _range(least: float | None, most: float | None, above: float | None) -> str:
    """Describe a range in words."""
    if above is not None:
        return f"more than {above}" + ("" if most is None else f" and up to {most}")
    if least is None:
        return f"{most} or less"
    return f"{least} or more" if most is None else f"{least}..{most}"
