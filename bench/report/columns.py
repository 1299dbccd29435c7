"""The tables of a suite as headings and text, for Markdown, pages and the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.results.arms import SCORED, Arm
from bench.results.formats import DASH, bounds, number
from bench.results.measures import AUDIBILITY, CEILINGS, LEAST_CORRELATION
from bench.results.table import CheckSummary
from bench.results.views import CellView, RowView

__all__ = ["DENIED", "Table", "audibility_columns", "checks_table", "main_table", "response_table", "responses"]

DENIED = "denied, score 1"  # the heading of version 1's score

Table = tuple[list[str], list[list[str]]]  # headings; text[line][column]


def main_table(rows: Sequence[RowView]) -> Table:
    """Return the ranking table: one line a row, at its best response; columns that say nothing are left out.

    Args:
        rows: The rows, in the order of the table.
    """
    cells = [cell.score for row in rows for cell in row.cells]
    several_datasets = len({row.row.dataset for row in rows}) > 1
    has_scopes = any(row.row.scope for row in rows)
    has_remainder = any(Arm.REMAINDER in cell.means for cell in cells)
    has_input_change = any(not math.isnan(cell.input_change) for cell in cells)
    has_missing = any(cell.missing for cell in cells)
    further, further_by_row = audibility_columns(rows)
    scores = [
        DENIED,
        "95 % interval",
        "best response",
        "quality, clean",
        "quality, protected",
        "quality, untrained",
    ]
    scores += (
        (["quality, remainder"] if has_remainder else []) + (["input changed"] if has_input_change else []) + ["seeds"]
    )
    scores += ["missing items"] if has_missing else []
    headings = (["data set"] if several_datasets else []) + ["rank", "defense"] + (["scope"] if has_scopes else [])
    headings += ["knowledge", *scores, *further]
    body = []
    for row, texts in zip(rows, further_by_row, strict=True):
        line = ([row.row.dataset] if several_datasets else []) + [row.rank, row.row.defense]
        line += ([row.row.scope or DASH] if has_scopes else []) + [row.row.knowledge]
        if row.shown is None:
            line += ["failed", *[""] * (len(scores) - 1)]
        else:
            best = row.shown.score
            line += [number(best.denied.mean, "+.3f"), bounds(best.denied), best.response]
            line += [number(best.means.get(arm, math.nan), ".4f") for arm in SCORED]
            line += [number(best.means.get(Arm.REMAINDER, math.nan), ".4f")] if has_remainder else []
            line += [number(best.input_change, ".1%")] if has_input_change else []
            line.append(str(len(best.per_seed)))
            line += [str(best.missing)] if has_missing else []
        body.append(line + texts)
    return headings, body


def audibility_columns(rows: Sequence[RowView]) -> Table:
    """Return the columns on audibility, distance and the cost of protection; those that say nothing are left out.

    Args:
        rows: The rows, in the order of the table.
    """
    measures = [
        each
        for each in AUDIBILITY
        if _tells(each.name, [row.row.audibility[each.name] for row in rows if each.name in row.row.audibility])
    ]
    distances = sorted({name for row in rows for name in row.row.distance if name.startswith("kad[")})
    has_costs = any(not math.isnan(row.row.seconds) and not row.row.control for row in rows)
    headings = [*(each.heading for each in measures), *distances, *(["protection CPU s"] if has_costs else [])]
    body = [
        [number(row.row.audibility.get(each.name, math.nan), each.form) for each in measures]
        + [number(row.row.distance.get(name, math.nan), ".2f") for name in distances]
        + ([number(row.row.seconds, ".1f")] if has_costs else [])
        for row in rows
    ]
    return headings, body


def responses(rows: Sequence[RowView]) -> list[str]:
    """Return every response that any row was tested under."""
    return list(dict.fromkeys(cell.response for row in rows for cell in row.cells))


def response_table(rows: Sequence[RowView]) -> Table:
    """Return learning denied under every response; that of clean is what the response itself costs the attacker.

    Args:
        rows: The rows. Defenses or responses, whichever are more, go down the page.
    """
    names = responses(rows)
    cells_by_row = [row.by_response() for row in rows]
    if len(names) <= len(rows):
        body = [
            [row.row.defense, row.row.knowledge, *(_cell_text(cells.get(name)) for name in names)]
            for row, cells in zip(rows, cells_by_row, strict=True)
        ]
        return ["defense", "knowledge", *names], body
    headings = ["response", *(titles(rows))]
    return headings, [[name, *(_cell_text(cells.get(name)) for cells in cells_by_row)] for name in names]


def titles(rows: Sequence[RowView]) -> list[str]:
    """Return the names of rows, with the defender's knowledge where defenses differ in it."""
    several = len({row.row.knowledge for row in rows if not row.row.control}) > 1
    return [
        f"{row.row.defense} ({row.row.knowledge})" if several and not row.row.control else row.row.defense
        for row in rows
    ]


def checks_table(checks: Sequence[CheckSummary]) -> Table:
    """Return the validity checks, each at its worst seed."""
    body = [
        [each.name, number(each.value, ".3f"), number(each.limit, ".3f"), _verdict(each), each.meaning]
        for each in checks
    ]
    return ["validity check", "worst seed", "limit", "verdict", "meaning"], body


def _verdict(check: CheckSummary) -> str:
    """Return whether a check passed, as text."""
    return "passed" if check.passed else "FAILED: its cells are void"


def _cell_text(cell: CellView | None) -> str:
    """Return a cell's score with remarks; empty for a response that was not run."""
    if cell is None:
        return ""
    score = cell.score
    if not score.means:
        return "failed" if score.failed else DASH
    remarks = [
        *(["void"] if score.void or math.isnan(score.denied.mean) else []),
        *([f"{score.failed} failed"] if score.failed else []),
        *([f"{score.missing} items missing"] if score.missing else []),
    ]
    return number(score.denied.mean, "+.3f") + (f" ({', '.join(remarks)})" if remarks else "")


def _tells(name: str, values: Sequence[float]) -> bool:
    """Return whether a column says anything: a measure that no row changes is left out."""
    if name == "correlation":
        return any(abs(value) >= LEAST_CORRELATION for value in values)
    return any(values) if name in CEILINGS else bool(values)
