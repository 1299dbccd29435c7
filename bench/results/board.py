"""A board: a suite, its records, the rows that follow from them, and remarks on what the table can show.

A suite's records are in `records/NAME` beside its file. Nothing is measured here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal

from bench import plugins
from bench.errors import DataError, UsageError, unknown
from bench.names import suite_name_from
from bench.results import sources, statistics, table
from bench.results import suite as suites
from bench.results.cells import Cell, cell_of
from bench.results.formats import DASH
from bench.results.measures import AXES, CEILINGS, measure
from bench.results.names import NONE
from bench.results.record import Record
from bench.results.score import SCORE_VERSION
from bench.results.sources import Source, suite_files
from bench.results.suite import Suite
from bench.results.table import CheckSummary, Row
from bench.results.views import RowView, row_views, worths_of
from bench.results.worths import RowWorth, row_worths

__all__ = ["Board", "Standing", "boards", "find_suite", "standings", "suite_files"]

Standing = Literal["ranked", "no budget", "too loud", "void"]


@dataclass(frozen=True)
class Board:
    """A suite with its records."""

    suite: Suite
    records: tuple[Record, ...]
    file: Path | None = None
    score: int = SCORE_VERSION  # version of the score; 1: learning denied, also where there is a clean curve

    @cached_property
    def rows(self) -> list[Row]:
        """The rows of the table: a row that has a worth with the audibility of the set that its response was given."""
        return [_at_response(row, worths_of(row, self.worths)) for row in self._plain_rows]

    @cached_property
    def views(self) -> tuple[RowView, ...]:
        """The rows, prepared for tables and pages."""
        audibility = {id(row): self._audibility(row) for row in self.rows}
        return row_views(self.rows, self.records_of, self.front, audibility, self.worths)

    @cached_property
    def denied_views(self) -> tuple[RowView, ...]:
        """The rows that are ranked by learning denied: without a clean curve, or all under score 1."""
        return tuple(view for view in self.views if not view.row.by_worth)

    @cached_property
    def worths(self) -> list[RowWorth]:
        """What each protected set is worth in clean items (score 2); empty without a threat model."""
        return row_worths(self.records, self._plain_rows) if self.score > 1 else []

    @cached_property
    def _plain_rows(self) -> list[Row]:
        return table.rows(self.records, self.suite.budget, self.score)

    @cached_property
    def checks(self) -> list[CheckSummary]:
        """The validity checks of every attacker, each at its worst seed."""
        return table.check_summaries(self.records)

    @cached_property
    def records_of(self) -> dict[Cell, list[Record]]:
        """The records of every cell, by seed."""
        by_cell: dict[Cell, list[Record]] = {}
        for record in self.records:
            by_cell.setdefault(cell_of(record), []).append(record)
        return {key: sorted(record, key=lambda one: one.trial.seed) for key, record in by_cell.items()}

    @property
    def name(self) -> str:
        """The suite's name."""
        return self.suite.name

    @property
    def command(self) -> str:
        """The command that runs the suite."""
        return f"bench matrix {self.suite_path}"

    @property
    def page_file(self) -> Path:
        """The Markdown page of the suite, beside its file.

        Raises:
            UsageError: The records have no suite's file.
        """
        if self.file is None:
            raise UsageError(f"the records '{self.name}' have no suite: expected a suite by name or TOML file")
        return self.file.with_suffix(".md")

    @property
    def page_link(self) -> str:
        """The page's path from the folder of all suites, where the summary is."""
        if self.file is None:
            return f"{self.name}.md"
        file = self.page_file
        return f"{file.parent.name}/{file.name}" if file.parent.name in sources.SUITE_FOLDERS else file.name

    @property
    def page_command(self) -> str:
        """The command that runs the suite and writes its page."""
        return f"{self.command} --page {self.suite_path.removesuffix('.toml')}.md"

    @property
    def suite_path(self) -> str:
        """The suite's file; below the home of bench as a relative path, as it is typed in a checkout."""
        if self.file is None:
            return f"{self.name}.toml"
        try:
            return self.file.resolve().relative_to(plugins.home()).as_posix()
        except ValueError:
            return str(self.file)

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of all stages; a stage that several trials share counts once.

        Of a track, what was tried counts, and the models of the chosen responses, which are among that, do not.
        """
        seconds: dict[str, float] = {}
        tried = 0.0
        for record in self.records:
            tried += sum(attempt.cpu_seconds for attempts in record.attempts.values() for attempt in attempts)
            for role, cost in record.cost.items():
                if not (record.attempts and role.endswith("_learned")):
                    seconds[record.stages.get(role, role)] = float(cost.get("cpu_seconds", 0.0) or 0.0)
        return tried + sum(seconds.values())

    @cached_property
    def axis(self) -> str:
        """The measure of audibility that the front is drawn along; "" where there is none."""
        measures = {name for row in self.rows for name in row.audibility}
        return next((name for name in (*self.suite.budget, *AXES) if name in measures), "")

    def _audibility(self, row: Row) -> str:
        """A row's audibility, by the measure of the axis."""
        value = row.audibility.get(self.axis, math.nan)
        return DASH if math.isnan(value) else measure(self.axis).text(value)

    @property
    def failed(self) -> list[Record]:
        """The records without a result."""
        return [record for record in self.records if record.status != "ok"]

    @cached_property
    def front(self) -> list[Row]:
        """The rows that no other row of their ranking group beats in both learning denied and audibility."""
        rankable = [row for row in self.rows if row.best and not row.control and self.axis in row.audibility]
        denied = {id(row): self._denied(row) for row in rankable}
        return [
            row
            for row in rankable
            if not math.isnan(denied[id(row)])
            and not any(_beats(other, denied[id(other)], row, denied[id(row)], self.axis) for other in rankable)
        ]

    def _denied(self, row: Row) -> float:
        """Learning denied by the score that ranks the row; NaN where it has none."""
        if row.by_worth:
            worths = worths_of(row, self.worths)
            return math.nan if not worths or worths[0].worth.void else worths[0].worth.denied.mean
        return row.best.denied.mean if row.best else math.nan

    def remarks(self) -> list[str]:
        """Return sentences that say which differences the table shows, and which it could have shown."""
        sentences = []
        ranked_rows = [row for row in self.rows if row.rank]
        pairs = [(upper, lower) for upper, lower in pairwise(ranked_rows) if upper.ranking_group == lower.ranking_group]
        tested_pairs = [(upper, lower) for upper, lower in pairs if lower.key not in upper.untested_against]
        if tested_pairs:
            significant = sum(lower.key in upper.better_than for upper, lower in tested_pairs)
            sentences.append(
                f"Of {len(tested_pairs)} neighbouring pairs of ranked rows {significant} differ significantly (paired "
                "t test over the seeds that both rows have, Holm over all tested pairs of rows ranked together). "
                "No significant difference is not equality."
            )
        single_seed_rows = [
            row.defense
            for row in self.rows
            if row.rank is None and row.best and row.inside and not row.control and not row.by_worth
        ]
        untested_pairs = len(pairs) - len(tested_pairs)
        if untested_pairs:
            plural = "" if untested_pairs == 1 else "s"
            sentences.append(
                f"{untested_pairs} neighbouring pair{plural} of ranked rows could not be tested: "
                "fewer than two common seeds."
            )
        if single_seed_rows:
            sentences.append(f"Not tested, so without a rank (one seed): {', '.join(single_seed_rows)}.")
        seeds = Counter(len(row.best.per_seed) for row in ranked_rows if row.best)
        if seeds and (count := seeds.most_common(1)[0][0]) > 1:
            difference = statistics.smallest_detectable(count)
            sentences.append(
                f"With {count} seeds a difference of {difference:.2f} paired standard deviations is "
                "detected with 80 % power; smaller ones may be missed."
            )
        return sentences


def standings(boards: Sequence[Board]) -> list[tuple[Board, RowView, Standing]]:
    """Return every defense of every suite that is not a smoke suite, controls left out.

    Rows within their suite's audibility budget come first, then those of suites without a budget, then rows that are
    too loud, then void ones. Sorted by score alone, the loudest noise would lead. Those with a worth come first, sorted
    by that (score 2); below them those without a clean curve, by learning denied (score 1).

    Args:
        boards: The suites with their records.

    Returns:
        Board, row and standing of every defense.
    """
    order: tuple[Standing, ...] = ("ranked", "no budget", "too loud", "void")
    entries = [
        (board, view, _standing(board, view))
        for board in boards
        if board.suite.preset != "smoke"
        for view in board.views
        if not view.row.control and view.shown is not None
    ]
    return sorted(
        entries,
        key=lambda one: (
            -one[1].score,
            order.index(one[2]),
            one[1].worth.worth.share if one[1].worth else -one[1].row.score,
        ),
    )


def _standing(board: Board, view: RowView) -> Standing:
    """Return whether a row is ranked, and if not, why."""
    if view.status in ("void", "failed"):
        return "void"
    if not view.row.inside:
        return "too loud"
    return "ranked" if board.suite.budget else "no budget"


def find_suite(name: str) -> Path:
    """Return the file of a suite.

    Args:
        name: A path that ends in .toml, or the name of a suite that comes with bench.

    Raises:
        UsageError: No suite has that name.
    """
    if name.endswith(".toml"):
        return Path(name)
    files = sources.all_suites()
    if name not in files:
        raise UsageError(f"{unknown('suite', name, files)}; a file of your own ends in .toml")
    return files[name]


def boards(names: Sequence[str] = (), records: Path | None = None) -> list[Board]:
    """Read the boards of some suites or runs.

    Args:
        names: Suites by name or file, folders of records or archives; none for every suite that has records.
        records: A folder of records or an archive in place of those of the suite; for one suite only.

    Raises:
        UsageError: A suite is unknown.
        DataError: There are no records.
    """
    if records is not None and len(names) != 1:
        raise UsageError(f"--records goes with one suite, found {len(names)}")
    words = list(names) or list(suite_files())
    if not words:
        raise DataError(f"{plugins.home() / 'leaderboards'} holds no suite with records: run `bench matrix` first")
    sources_by_path = {
        source.path.resolve(): source for source in map(sources.find, words)
    }  # one named twice is shown once
    by_name: dict[str, Source] = {}
    suite_boards = [board(source, records) for source in sources_by_path.values()]
    for one, source in zip(suite_boards, sources_by_path.values(), strict=True):
        first = by_name.setdefault(one.name.casefold(), source)
        if first is not source:
            paths = " and ".join(str(each.suite or each.path) for each in (first, source))
            raise UsageError(f"{paths} are both called '{one.name}': expected suites of different names")
    return suite_boards


def board(source: Source, records: Path | None = None) -> Board:
    """Read a suite's board, or that of records without a suite.

    Args:
        source: The suite's records; of records without a suite the board is in the order of their names.
        records: A folder of records or an archive in place of those.

    Raises:
        DataError: There are no records, or one is none.
    """
    suite = suites.read(source.suite) if source.suite else None
    read_records = sources.read(replace(source, path=records) if records else source).values()
    if suite is None:
        name = suite_name_from(source.name)
        return Board(Suite(name=name), tuple(sorted(read_records, key=lambda record: record.name)))
    return Board(suite, tuple(sorted(read_records, key=lambda record: _place(suite, record))), source.suite)


def _place(suite: Suite, record: Record) -> tuple[int | str, ...]:
    """Return a record's sort key: the order of its suite's lists; labels that the suite does not list come last."""
    trial = record.trial
    reference = trial.reference.label if trial.reference else trial.defense.label
    adaptation = trial.adaptation.label if trial.adaptation else NONE
    order = (
        (suite.datasets, trial.dataset.label),
        (suite.attackers, trial.attacker.label),
        ([False, True], trial.reference is not None),
        (suite.defenses, reference),
        (suite.controls, trial.defense.label),
        (suite.knowledge, trial.knowledge),
        (suite.shares, trial.share),
        (suite.adaptations, adaptation),
    )
    return (*(names.index(name) if name in names else len(names) for names, name in order), trial.seed, record.name)  # type: ignore[arg-type]


def _at_response(row: Row, worths: Sequence[RowWorth]) -> Row:
    """Return a row with the audibility of the set that its chosen response was given, where it has a worth."""
    cell = next((cell for cell in row.cells if worths and cell.response == worths[0].response), None)
    return replace(row, audibility=cell.audibility) if cell and cell.audibility else row


def _beats(one: Row, one_denied: float, other: Row, other_denied: float, axis: str) -> bool:
    """Whether a row is at least as good in both, and better in one."""
    if one.ranking_group != other.ranking_group or math.isnan(one_denied) or math.isnan(other_denied):
        return False
    sign = -1.0 if axis in CEILINGS else 1.0
    first = (one_denied, sign * one.audibility[axis])
    second = (other_denied, sign * other.audibility[axis])
    return first != second and all(a >= b for a, b in zip(first, second, strict=True))
