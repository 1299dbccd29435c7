"""Boards as files for other programs: CSV, JSON and one SQLite database.

Five tables, the same in every format and keyed alike. In `rows`, `cells` and `trials`, `denied` with its interval is
learning denied, score 1; `score_version` of a row is the version that ranks it, of 2 in `worths`:

    suites   one row a suite
    rows     one row a defense on a data set, as ranked
    cells    one row an attacker under an adaptation: learning denied with its interval, and the arms' means
    worths   one row a defense and scale: what its protected items are worth in clean ones, under a threat model
    trials   one row a seed: what `cells` is made of; its `record` names the JSON that holds everything else

A missing number is an empty field in CSV, null in JSON and NULL in SQLite, never a zero or a NaN.
"""

from __future__ import annotations

import csv
import json
import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench.files import write_json
from bench.results.arms import ARMS
from bench.results.board import Board
from bench.results.measures import AUDIBILITY
from bench.results.record import Record
from bench.results.statistics import mean
from bench.results.table import CellScore, Row
from bench.results.views import RowView
from bench.results.worths import RowWorth

__all__ = ["Tables", "tables", "write_csv", "write_sqlite", "write_tables"]

Value = str | int | float | bool | None
Line = dict[str, Value]
Tables = dict[str, list[Line]]


def tables(boards: Sequence[Board]) -> Tables:
    """Return the five tables of some boards."""
    contents: Tables = {"suites": [], "rows": [], "cells": [], "trials": [], "worths": []}
    for board in boards:
        contents["suites"].append(_suite(board))
        contents["rows"] += [_row(board, view) for view in board.views]
        contents["cells"] += [_cell(board, view.row, cell.score) for view in board.views for cell in view.cells]
        contents["trials"] += [_trial(board, record) for record in board.records]
        contents["worths"] += [_worth(board, row) for row in board.worths]
    return {name: [_plain(line) for line in lines] for name, lines in contents.items()}


def write_tables(folder: Path, boards: Sequence[Board]) -> None:
    """Write `rows.csv`, `cells.csv`, `trials.csv` and `board.json` of some boards; under a threat model `worths.csv`.

    Args:
        folder: Where to write.
        boards: The suites with their records.
    """
    contents = tables(boards)
    for name in ("rows", "cells", "trials", *(["worths"] if contents["worths"] else [])):
        write_csv(folder / f"{name}.csv", contents[name])
    write_json(folder / "board.json", contents)


def write_csv(path: Path, lines: Sequence[Line]) -> None:
    """Write lines as CSV (RFC 4180, UTF-8).

    Args:
        path: The file.
        lines: The lines; the headings are those of all of them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _headings(lines), lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(lines)


def write_sqlite(path: Path, boards: Sequence[Board]) -> None:
    """Write the five tables as one SQLite database.

    Args:
        path: The file; an existing one is replaced.
        boards: The suites with their records.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    base = sqlite3.connect(path)
    try:
        with base:
            for name, lines in tables(boards).items():
                _insert(base, name, lines)
    finally:
        base.close()


def _insert(base: sqlite3.Connection, name: str, lines: Sequence[Line]) -> None:
    """Create a table and insert its lines."""
    heads = _headings(lines)
    if not heads:
        return  # a table has at least one column
    kinds = {head: _kind(line.get(head) for line in lines) for head in heads}
    columns = ", ".join(f"{_quoted(head)} {kinds[head]}" for head in heads)
    base.execute(f"CREATE TABLE {_quoted(name)} ({columns})")
    marks = ", ".join("?" for _ in heads)
    base.executemany(
        f"INSERT INTO {_quoted(name)} VALUES ({marks})", [[line.get(head) for head in heads] for line in lines]
    )


def _suite(board: Board) -> Line:
    """Return the line of a suite."""
    return {
        "suite": board.name,
        "about": board.suite.about.strip(),
        "preset": board.suite.preset,
        "score_version": 2 if board.worths else 1,
        "trials": len(board.records),
        "failed": len(board.failed),
        "cpu_seconds": round(board.cpu_seconds, 1),
        "budget": json.dumps(board.suite.budget),
        "command": board.command,
    }


def _named(board: Board, row: Row) -> Line:
    """Return the columns that name a row."""
    return {"suite": board.name, "dataset": row.dataset, "defense": row.defense, "knowledge": row.knowledge}


def _row(board: Board, view: RowView) -> Line:
    """Return the line of a row."""
    row = view.row
    best = view.shown.score if view.shown else None
    low, high = row.rank or (None, None)
    return {
        **_named(board, row),
        "control": row.control,
        "scope": row.scope,
        "share": row.share,
        "score_version": view.score,
        "rank_best": low,
        "rank_worst": high,
        "inside_budget": row.inside,
        "on_front": view.on_front,
        "void": view.status == "void",
        "best_response": best.response if best else None,
        **_interval(best),
        "protect_cpu_seconds": row.seconds,
        **{measure.name: row.audibility.get(measure.name) for measure in AUDIBILITY},
        **row.distance,
    }


def _cell(board: Board, row: Row, cell: CellScore) -> Line:
    """Return the line of a cell."""
    return {
        **_named(board, row),
        "attacker": cell.attacker,
        "adaptation": cell.adaptation,
        "control": row.control,
        **_interval(cell),
        "seeds": len(cell.per_seed),
        "metric": cell.metric,
        **{f"q_{arm}": cell.means.get(arm) for arm in ARMS},
        "input_changed": cell.input_change,
        "void": ", ".join(cell.void),
        "failed": cell.failed,
    }


def _trial(board: Board, record: Record) -> Line:
    """Return the line of a trial."""
    trial = record.trial
    return {
        "suite": board.name,
        "dataset": trial.dataset.label,
        "defense": trial.row,
        "knowledge": trial.knowledge,
        "attacker": trial.attacker.label,
        "adaptation": trial.adaptation_label,
        "seed": trial.seed,
        "control": str(trial.control),
        "scope": trial.scope,
        "share": trial.share,
        "status": record.status,
        "denied": record.denied,
        "metric": record.metric,
        **{f"q_{arm}": record.mean(arm) for arm in ARMS},
        **{name: mean(record.audibility.get(name, [])) for name, *_ in AUDIBILITY},
        "void": ", ".join(check.name for check in record.void),
        "cpu_seconds": sum(float(cost.get("cpu_seconds", 0.0)) for cost in record.cost.values()),
        "defense_version": trial.defense.version,
        "defense_digest": trial.defense.digest,
        "attacker_version": trial.attacker.version,
        "attacker_digest": trial.attacker.digest,
        "key": record.key,
        "record": f"{record.name}.json",
    }


def _worth(board: Board, row: RowWorth) -> Line:
    worth = row.worth
    return {
        "suite": board.name,
        "dataset": row.dataset,
        "defense": row.defense,
        "knowledge": row.knowledge,
        "attackers": ", ".join(row.attackers),
        "scope": row.scope,
        "control": row.control,
        "score_version": 2,
        "rank_best": row.rank[0] if row.rank else None,
        "rank_worst": row.rank[1] if row.rank else None,
        "response": row.response,
        "metric": row.metric,
        "worth": worth.items.mean,
        "worth_low": worth.items.low,
        "worth_high": worth.items.high,
        "published": worth.published,
        "worth_share": worth.share,
        "granted": row.curve.granted,
        "denied": worth.denied.mean,
        "denied_low": worth.denied.low,
        "denied_high": worth.denied.high,
        "beyond_control": row.beyond.mean if row.beyond else None,
        "beyond_control_low": row.beyond.low if row.beyond else None,
        "beyond_control_high": row.beyond.high if row.beyond else None,
        "q_protected": worth.protected,
        "q_clean": worth.clean,
        "q_withheld": worth.withheld,
        "seeds": len(row.seeds),
        "missing_items": worth.missing,
        "void": ", ".join(check.name for check in worth.void),
    }


def _interval(cell: CellScore | None) -> Line:
    """Return a cell's score and its interval."""
    if cell is None:
        return {"denied": None, "low": None, "high": None}
    return {"denied": cell.denied.mean, "low": cell.denied.low, "high": cell.denied.high}


def _plain(line: Mapping[str, Value]) -> Line:
    """Return a line without NaN, and with numbers to six digits."""
    return {
        name: (float(f"{value:.6g}") if math.isfinite(value) else None) if isinstance(value, float) else value
        for name, value in line.items()
    }


def _headings(lines: Iterable[Line]) -> list[str]:
    """Return the headings of all lines, in the order of their first use."""
    return list(dict.fromkeys(name for line in lines for name in line))


def _kind(values: Iterable[Value]) -> str:
    """Return the SQL type of a column."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool, int} and kinds:
        return "INTEGER"
    return "REAL" if kinds and kinds <= {bool, int, float} else "TEXT"


def _quoted(name: str) -> str:
    """Quote an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
