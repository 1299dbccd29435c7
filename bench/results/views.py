"""Rows and cells in the form that Markdown, CSV, JSON, pages and the terminal format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.results.cells import Cell
from bench.results.formats import DASH
from bench.results.record import Record
from bench.results.table import CellScore, Row
from bench.vocabulary import Control

__all__ = ["CellView", "RowView", "Status", "cell_in", "row_views"]

Status = Literal["ranked", "not tested", "too loud", "void", "failed", "control"]


@dataclass(frozen=True)
class CellView:
    """One attacker under one adaptation.

    Attributes:
        cell: what it is called.
        slug: the name of its page; with the seed, of its records.
        score: its numbers.
        records: its trials, by seed.
        best: whether it is its row's best response.
    """

    cell: Cell
    slug: str
    score: CellScore
    records: tuple[Record, ...]
    best: bool

    @property
    def response(self) -> str:
        """The attacker, with its adaptation if it has one."""
        return self.score.response

    @property
    def measured(self) -> Record | None:
        """The first record that has numbers."""
        return next((record for record in self.records if record.status == "ok"), None)


@dataclass(frozen=True)
class RowView:
    """A defense on a data set, under what the defender knows.

    Attributes:
        row: its numbers.
        cells: every response.
        shown: the best response; of a void row the void cell that is shown; None where every trial failed.
        control: which control the row is: clean, matched or scramble; "" for a defense.
        on_front: whether no other row of its ranking group is better in score and audibility together.
        audibility: the suite's measure of audibility with its value, as text.
        anchor: the name of the row in its page.
    """

    row: Row
    cells: tuple[CellView, ...]
    shown: CellView | None
    control: Control
    on_front: bool
    audibility: str
    anchor: str

    @property
    def status(self) -> Status:
        """Whether the row is ranked, and if not, why."""
        if self.row.best is None:
            return "void" if self.shown else "failed"
        if self.row.control:
            return "control"
        if not self.row.inside:
            return "too loud"
        return "ranked" if self.row.rank else "not tested"

    @property
    def rank(self) -> str:
        """The row's rank, or range of ranks, as text; of others their status."""
        if self.row.rank is None or self.status != "ranked":
            return DASH if self.status == "failed" else self.status
        low, high = self.row.rank
        return str(low) if low == high else f"{low}{DASH}{high}"

    @property
    def measured(self) -> Record | None:
        """The first record that has numbers, in the order of the responses."""
        return next((cell.measured for cell in self.cells if cell.measured), None)

    def by_response(self) -> Mapping[str, CellView]:
        """Return the cells by response."""
        return {cell.response: cell for cell in self.cells}


def cell_in(row: Row, cell: CellScore) -> Cell:
    """Return the name of a row's cell.

    Args:
        row: The row.
        cell: One of its cells.
    """
    return Cell(row.dataset, row.defense, row.knowledge, cell.attacker, cell.adaptation)


def row_views(
    rows: Iterable[Row],
    records: Mapping[Cell, Sequence[Record]],
    front: Sequence[Row] = (),
    audibility: Mapping[int, str] | None = None,
) -> tuple[RowView, ...]:
    """Prepare rows for tables and pages.

    Args:
        rows: the rows, in the order of the table.
        records: the records of every cell, by seed.
        front: the rows that are on the Pareto front.
        audibility: `id` of a row -> its audibility as text.
    """
    on_front = {id(row) for row in front}
    views = []
    anchors: set[str] = set()
    for row in rows:
        anchor = _anchor(row)
        while anchor in anchors:  # names that differ in other signs than letters and digits
            anchor += "-"
        anchors.add(anchor)
        cells = {id(score): _cell(row, score, records.get(cell_in(row, score), ())) for score in row.cells}
        first = next((record for cell in cells.values() for record in cell.records), None)
        views.append(
            RowView(
                row=row,
                cells=tuple(cells.values()),
                shown=cells[id(row.shown)] if row.shown else None,
                control=first.trial.control if first else Control.NONE,
                on_front=id(row) in on_front,
                audibility=(audibility or {}).get(id(row), DASH),
                anchor=anchor,
            )
        )
    return tuple(views)


def _cell(row: Row, score: CellScore, records: Sequence[Record]) -> CellView:
    """Prepare one cell of a row."""
    slug = re.sub(r"--s\d+$", "", records[0].name) if records else ""
    return CellView(cell_in(row, score), slug, score, tuple(records), row.best is score)


def _anchor(row: Row) -> str:
    """Return the name of a row as an HTML anchor."""
    return "row-" + re.sub(r"[^A-Za-z0-9]+", "-", f"{row.dataset} {row.defense} {row.knowledge}").strip("-").lower()
