"""Rows and cells in the form that Markdown, CSV, JSON, pages and the terminal format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.results.cells import Cell
from bench.results.formats import DASH
from bench.results.record import Record
from bench.results.statistics import Interval
from bench.results.table import CellScore, Row
from bench.results.worths import RowWorth
from bench.vocabulary import Control

__all__ = ["CellView", "RowView", "Status", "cell_in", "row_views", "worths_of"]

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
        worths: what the protected set is worth (score 2), for each scale of the attackers; the greatest first. Empty
            for a row that is ranked by learning denied (score 1).
    """

    row: Row
    cells: tuple[CellView, ...]
    shown: CellView | None
    control: Control
    on_front: bool
    audibility: str
    anchor: str
    worths: tuple[RowWorth, ...] = ()

    @property
    def worth(self) -> RowWorth | None:
        """The worth to whom it is worth most; None under score 1."""
        return self.worths[0] if self.worths else None

    @property
    def score(self) -> int:
        """The version of the score that ranks the row."""
        return 2 if self.row.by_worth else 1

    @property
    def denied(self) -> Interval | None:
        """Learning denied: under score 2 of what publishing adds, under score 1 of what is learned in all."""
        if self.row.by_worth:
            return self.worth.worth.denied if self.worth else None
        return self.shown.score.denied if self.shown else None

    @property
    def status(self) -> Status:
        """Whether the row is ranked, and if not, why."""
        if self.row.by_worth and self.shown and (self.worth is None or self.worth.worth.void):
            return "void"
        if self.row.best is None and not self.worths:
            return "void" if self.shown else "failed"
        if self.row.control:
            return "control"
        if not self.row.inside:
            return "too loud"
        return "ranked" if self._ranks else "not tested"

    @property
    def rank(self) -> str:
        """The row's rank, or range of ranks, as text; of others their status."""
        if self._ranks is None or self.status != "ranked":
            return DASH if self.status == "failed" else self.status
        low, high = self._ranks
        return str(low) if low == high else f"{low}{DASH}{high}"

    @property
    def _ranks(self) -> tuple[int, int] | None:
        return self.row.rank or (self.worth.rank if self.worth else None)

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
    worths: Sequence[RowWorth] = (),
) -> tuple[RowView, ...]:
    """Prepare rows for tables and pages.

    Args:
        rows: the rows, in the order of the table.
        records: the records of every cell, by seed.
        front: the rows that are on the Pareto front.
        audibility: `id` of a row -> its audibility as text.
        worths: what protected sets are worth.
    """
    on_front = {id(row) for row in front}
    views = []
    anchors: set[str] = set()
    for row in rows:
        anchor = _anchor(row)
        while anchor in anchors:  # names that differ in other signs than letters and digits
            anchor += "-"
        anchors.add(anchor)
        own = worths_of(row, worths)
        shown = next((each for each in row.cells if own and each.response == own[0].response), row.shown)
        best = shown if own else row.best
        cells = {
            id(score): _cell(row, score, records.get(cell_in(row, score), ()), best is score) for score in row.cells
        }
        first = next((record for cell in cells.values() for record in cell.records), None)
        views.append(
            RowView(
                row=row,
                cells=tuple(cells.values()),
                shown=cells[id(shown)] if shown else None,
                worths=own,
                control=first.trial.control if first else Control.NONE,
                on_front=id(row) in on_front,
                audibility=(audibility or {}).get(id(row), DASH),
                anchor=anchor,
            )
        )
    return tuple(views)


def worths_of(row: Row, worths: Iterable[RowWorth]) -> tuple[RowWorth, ...]:
    """Return what a row's protected set is worth on each scale, the greatest share first; () under score 1."""
    key = (row.dataset, *row.key)
    own = [each for each in worths if row.by_worth and (each.dataset, each.defense, each.knowledge) == key]
    return tuple(sorted(own, key=lambda each: -each.worth.share))


def _cell(row: Row, score: CellScore, records: Sequence[Record], best: bool) -> CellView:
    """Prepare one cell of a row."""
    slug = re.sub(r"--s\d+$", "", records[0].name) if records else ""
    return CellView(cell_in(row, score), slug, score, tuple(records), best)


def _anchor(row: Row) -> str:
    """Return the name of a row as an HTML anchor."""
    return "row-" + re.sub(r"[^A-Za-z0-9]+", "-", f"{row.dataset} {row.defense} {row.knowledge}").strip("-").lower()
