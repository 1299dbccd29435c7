"""Numbers, intervals and tables as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.results.statistics import Interval

__all__ = ["DASH", "bounds", "number", "text_table"]

DASH = "–"  # where there is no number


def number(value: float, form: str) -> str:
    """A number in a format; a dash for NaN."""
    return DASH if math.isnan(value) else format(value, form)


def bounds(interval: Interval) -> str:
    """The ends of an interval, or that there is none."""
    if math.isnan(interval.mean):
        return DASH
    return f"{interval.low:+.3f} … {interval.high:+.3f}" if not math.isnan(interval.low) else "one seed"


def text_table(headings: Sequence[str], body: Sequence[Sequence[str]], style: str = "simple") -> str:
    """A table as text.

    Args:
        headings: one a column.
        body: [line][column].
        style: of tabulate: "simple" for a terminal, "github" for Markdown.
    """
    from tabulate import tabulate

    return str(tabulate(body, headers=list(headings), tablefmt=style, disable_numparse=True))
