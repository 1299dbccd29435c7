"""Numbers, intervals and tables as text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from bench.results.statistics import Interval

__all__ = ["DASH", "Markup", "bounds", "markdown_text", "number", "readable_json", "text_table"]

DASH = "–"  # where there is no number


# What Markdown would take for more than the sign itself: an underscore only beside a word, a "[" only before a link.
_MARKDOWN = str.maketrans({sign: f"\\{sign}" for sign in "\\`*|<$"} | {"&": "&amp;", "\n": " "})
_EMPHASIS = re.compile(r"(?<!\w)_|_(?!\w)")


class Markup(str):
    """Text that is Markdown already, such as a link."""

    __slots__ = ()


def markdown_text(text: str) -> str:
    """Escape a text so that Markdown shows it as it is.

    Args:
        text: Any text; of `Markup`, which is Markdown already, only the separator of table cells is escaped.
    """
    if isinstance(text, Markup):
        return text.replace("|", "\\|")
    return _EMPHASIS.sub(r"\\_", text.translate(_MARKDOWN)).replace("](", "]\\(")


def number(value: float, form: str) -> str:
    """Format a number; a dash for NaN.

    Args:
        value: The number.
        form: A format specification, such as ".3f".
    """
    return DASH if math.isnan(value) else format(value, form)


def bounds(interval: Interval) -> str:
    """Format the two ends of an interval; "one seed" where it has none, a dash where it has no mean."""
    if math.isnan(interval.mean):
        return DASH
    return f"{interval.low:+.3f} … {interval.high:+.3f}" if not math.isnan(interval.low) else "one seed"


def text_table(headings: Sequence[str], body: Sequence[Sequence[str]], style: str = "simple") -> str:
    """Format a table as text.

    Args:
        headings: One a column.
        body: Text, [line][column].
        style: A table format of tabulate: "simple" for a terminal, "github" for Markdown, whose cells are escaped.
    """
    from tabulate import tabulate

    if style == "github":
        headings = [markdown_text(heading) for heading in headings]
        body = [[markdown_text(cell) for cell in line] for line in body]
    return str(tabulate(body, headers=list(headings), tablefmt=style, disable_numparse=True))


def readable_json(value: Any, indent: str = "") -> str:
    """Format JSON for review in a diff: a mapping or list of plain values is one line.

    Args:
        value: Any JSON value.
        indent: The blanks before its first line.

    >>> print(readable_json({"a": {"x": 1, "y": 2}, "b": []}))
    {
      "a": {"x": 1, "y": 2},
      "b": []
    }
    """
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    if not any(isinstance(item, Mapping | list) for item in inside):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    deeper = indent + "  "
    if isinstance(value, Mapping):
        body = [f"{deeper}{json.dumps(str(key))}: {readable_json(item, deeper)}" for key, item in value.items()]
        return "{\n" + ",\n".join(body) + f"\n{indent}}}"
    return "[\n" + ",\n".join(deeper + readable_json(item, deeper) for item in value) + f"\n{indent}]"
