"""Score 2 as a table and as sentences: what protected items are worth in clean ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.results.formats import DASH, bounds, number
from bench.results.statistics import Interval
from bench.results.worths import RowWorth

__all__ = ["MEANING", "sentence", "worth_table", "worth_title"]

MEANING = (
    "*Worth*: the number of clean items from which the attacker learns as much as from the protected ones, with its "
    "95 % interval. In every arm the attacker also holds the granted clean items, half of which choose its response, "
    "and takes as many optimiser steps. *Learning denied*: the share taken of what publishing the clean items would "
    "add. *Quality*: on test items, of the attacker trained on the protected items, on all clean ones, and on none of "
    "either. A defense protects only if worth is low, learning denied is high and the attacker's quality is well below "
    "the clean one. A void row says nothing: publishing clean items adds nothing, or half of them teach as much."
)


def worth_table(rows: Sequence[RowWorth]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells, a row a defense, knowledge and scale.

    Args:
        rows: of a suite or a run, see `bench.results.worths.row_worths`.
    """
    heads = [
        "rank", "data set", "defense", "knowledge", "worth (clean items)", "worth, 95 % interval", "of published",
        "granted", "learning denied", "learning denied, 95 % interval", "metric", "quality, protected",
        "quality, clean", "quality, nothing published", "chosen response", "seeds", "void",
    ]  # fmt: skip
    return heads, [_line(row) for row in rows]


def worth_title(row: RowWorth) -> str:
    """Name a row with the attackers that it is about."""
    return f"{row.defense} against {' or '.join(row.attackers)}"


def sentence(row: RowWorth) -> str:
    """Say what a protected set is worth.

    >>> sentence(row)  # doctest: +SKIP
    '2,400 protected items are worth 57 clean ones (41 … 80)'
    """
    return (
        f"{row.worth.published:,} protected items are worth {number(row.worth.items.mean, ',.0f')} clean ones"
        f"{_in_brackets(row.worth.items)}"
    )


def _line(row: RowWorth) -> list[str]:
    worth = row.worth
    ranks = DASH.join(map(str, dict.fromkeys(row.rank))) if row.rank else DASH
    return [
        "control" if row.control else ranks,
        row.dataset,
        row.defense,
        row.knowledge,
        number(worth.items.mean, ",.0f"),
        _range(worth.items),
        f"{worth.published:,}",
        f"{row.curve.granted:,}",
        number(worth.denied.mean, "+.3f"),
        bounds(worth.denied),
        row.metric,
        *(number(value, ".3f") for value in (worth.protected, worth.clean, worth.withheld)),
        row.response,
        str(len(row.seeds)),
        ", ".join(check.name for check in worth.void),
    ]


def _range(interval: Interval) -> str:
    if math.isnan(interval.mean):
        return DASH
    return "one seed" if math.isnan(interval.low) else f"{interval.low:,.0f} … {interval.high:,.0f}"


def _in_brackets(interval: Interval) -> str:
    return "" if math.isnan(interval.low) else f" ({_range(interval)})"
