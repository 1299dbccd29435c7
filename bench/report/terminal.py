"""Results as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report import losses
from bench.report.columns import checks_table, main_table, response_table, responses
from bench.report.worth import worth_table
from bench.results import table
from bench.results.board import Board
from bench.results.formats import DASH, text_table
from bench.results.record import Record

__all__ = ["missing", "tables"]


def tables(board: Board) -> str:
    """Format a board for a terminal: ranking with cell ids, every response, losses, and validity checks."""
    heads, body = main_table(board.views)
    ids = [view.shown.cell.id if view.shown else DASH for view in board.views]
    parts = [text_table(["cell id", *heads], [[cell, *line] for cell, line in zip(ids, body, strict=True)])]
    heads, body = worth_table(board.worths)
    if body:
        title = "what the protected items are worth in clean ones (score 2; see docs/reading-a-table.md)"
        parts.append(f"{title}\n{text_table(heads, body)}")
    if len(responses(board.views)) > 1:
        title = "learning denied by every response (clean: what the response itself costs the attacker)"
        parts.append(f"{title}\n{text_table(*response_table(board.views))}")
    loss_table = losses.losses_table(board.records)
    if loss_table[1]:
        title = "losses, lower is better learned (the page says what each one is)"
        parts.append(f"{title}\n{text_table(*loss_table)}")
    if board.checks:
        parts.append(text_table(*checks_table(board.checks)))
    return "\n\n".join(parts)


def missing(board: Board) -> list[str]:
    """Return one line for each failure, however many trials it cost, and one for each void row."""
    return [*_failures(board.failed), *table.void_reasons(board.rows, board.records)]


def _failures(records: Sequence[Record]) -> list[str]:
    """Return what failed: each stage once, with the number of trials that have no result for it."""
    trials: dict[str, list[str]] = {}
    for record in records:
        if record.error:
            stage, message = record.error["stage"], record.error["message"].removeprefix(f"{record.error['stage']}: ")
            trials.setdefault(f"{stage}: {record.error['type']}: {message}", []).append(record.name)
    return [f"failed: {line} ({names[0]}{_more(len(names) - 1)})" for line, names in trials.items()]


def _more(trials: int) -> str:
    return f" and {trials} more trial{'s' * (trials > 1)}" if trials else ""
