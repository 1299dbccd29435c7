"""Score 2 as a table and as sentences: what protected items are worth in clean ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.report.columns import audibility_columns
from bench.results.formats import DASH, bounds, number
from bench.results.names import NONE
from bench.results.record import Record
from bench.results.statistics import Interval
from bench.results.views import RowView
from bench.results.worths import RowWorth, row_worths

__all__ = ["MEANING", "NO_CURVE", "TITLE", "item_range", "response_worths", "sentence", "worth_table", "worth_title"]

TITLE = "What the protected items are worth in clean ones"
NO_CURVE = (
    "These records have no clean curve, so score 2 (worth) has no value: they are ranked by score 1, learning denied, "
    "and among themselves."
)

MEANING = (
    "*Worth*: the number of clean items from which the attacker learns as much as from the protected ones, with its "
    "95 % interval. In every arm the attacker also holds the granted clean items, half of which choose its response, "
    "and takes as many optimiser steps. *Learning denied*: the share taken of what publishing the clean items would "
    "add. *Beyond its matched control*: by how much that share exceeds the one that noise as loud takes, of the same "
    "kind at random or white, paired by seed and test item. *Quality*: on test items, of the attacker trained on the "
    "protected items, on all clean ones, and on none of either. A defense protects only if worth is low, learning "
    "denied is high and the attacker's quality is well below the clean one. A void row says nothing: publishing clean "
    "items adds nothing, or half of them teach as much."
)


def worth_table(rows: Sequence[RowWorth], views: Sequence[RowView] = ()) -> tuple[list[str], list[list[str]]]:
    """Headings and cells, a row a defense, knowledge and scale.

    Args:
        rows: of a suite or a run, see `bench.results.worths.row_worths`.
        views: the rows of its table, for the columns on audibility and cost.
    """
    heads = [
        "rank", "data set", "defense", "knowledge", "worth (clean items)", "worth, 95 % interval", "of published",
        "granted", "learning denied", "learning denied, 95 % interval", "beyond its matched control", "metric",
        "quality, protected", "quality, clean", "quality, nothing published", "chosen response", "seeds", "void",
    ]  # fmt: skip
    own = {(view.row.dataset, *view.row.key): view for view in views if view.row.by_worth}
    further, by_row = audibility_columns(tuple(own.values()))
    texts = dict(zip(own, by_row, strict=True))
    empty = [""] * len(further)
    outside = {key for key, view in own.items() if not view.row.inside}
    names = [(row.dataset, row.defense, row.knowledge) for row in rows]
    body = [
        _line(row, too_loud=name in outside) + texts.get(name, empty) for row, name in zip(rows, names, strict=True)
    ]
    optional = ("void", "beyond its matched control")
    kept = [at for at, head in enumerate(heads) if head not in optional or any(line[at] for line in body)]
    kept += range(len(heads), len(heads) + len(further))
    return [[*heads, *further][at] for at in kept], [[line[at] for at in kept] for line in body]


def response_worths(views: Sequence[RowView]) -> tuple[list[str], list[list[str]]]:
    """What each protected set is worth to an attacker who has one response alone; without rows where there is but one.

    Args:
        views: the rows of a table; those without a worth are left out.
    """
    own = [view for view in views if view.row.by_worth]
    if any(record.tried for view in own for cell in view.cells for record in cell.records):
        return [], []  # of a track, whose records are of the chosen responses alone
    names = list(dict.fromkeys(cell.response for view in own for cell in view.cells))
    if len(names) < 2:
        return [], []
    lines = []
    for view in own:
        cells = view.by_response()
        texts = [_alone(cells[name].records) if name in cells else "" for name in names]
        lines.append([view.row.defense, view.row.knowledge, *texts])
    if len(names) <= len(own):
        return ["defense", "knowledge", *names], lines
    heads = ["response", *(f"{line[0]} ({line[1]})" if line[1] != NONE else line[0] for line in lines)]
    return heads, [[name, *(line[2 + at] for line in lines)] for at, name in enumerate(names)]


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


def _line(row: RowWorth, too_loud: bool) -> list[str]:
    worth = row.worth
    ranks = DASH.join(map(str, dict.fromkeys(row.rank))) if row.rank else DASH
    return [
        "control" if row.control else "void" if worth.void else "too loud" if too_loud else ranks,
        row.dataset,
        row.defense,
        row.knowledge,
        number(worth.items.mean, ",.0f"),
        item_range(worth.items),
        f"{worth.published:,}",
        f"{row.curve.granted:,}",
        number(worth.denied.mean, "+.3f"),
        bounds(worth.denied),
        f"{number(row.beyond.mean, '+.3f')} ({bounds(row.beyond)})" if row.beyond else "",
        row.metric,
        *(number(value, ".3f") for value in (worth.protected, worth.clean, worth.withheld)),
        row.response,
        str(len(row.seeds)),
        ", ".join(check.name for check in worth.void),
    ]


def item_range(interval: Interval) -> str:
    """Format the ends of a worth; "one seed" where it has none, a dash where it has no mean."""
    if math.isnan(interval.mean):
        return DASH
    return "one seed" if math.isnan(interval.low) else f"{interval.low:,.0f} … {interval.high:,.0f}"


def _in_brackets(interval: Interval) -> str:
    return "" if math.isnan(interval.low) else f" ({item_range(interval)})"


def _alone(records: Sequence[Record]) -> str:
    """Worth by the records of one response."""
    found = row_worths(records)
    if not found:
        return "failed"
    (row,) = found
    return number(row.worth.items.mean, ",.0f") + (" (void)" if row.worth.void else "")
