"""Results as text for a terminal."""

from __future__ import annotations

from bench.report import losses
from bench.report.columns import checks_table, main_table, response_table, responses
from bench.results import table
from bench.results.board import Board
from bench.results.formats import text_table

__all__ = ["missing", "tables"]


def tables(board: Board) -> str:
    """The ranking table, every response, the losses that moved, and the validity checks."""
    parts = [text_table(*main_table(board.views))]
    if len(responses(board.views)) > 1:
        title = "learning denied by every response (the clean row: what the response costs the attacker)"
        parts.append(f"{title}\n{text_table(*response_table(board.views))}")
    moved = losses.moved_table(board.records)
    if moved[1]:
        title = "what moved: losses, lower is better learned (see the page for what each one is)"
        parts.append(f"{title}\n{text_table(*moved)}")
    if board.checks:
        parts.append(text_table(*checks_table(board.checks)))
    return "\n\n".join(parts)


def missing(board: Board) -> list[str]:
    """One line for each trial that failed, and for each row that is void."""
    failed = [
        f"failed: {record.name}: {record.error['stage']}: {record.error['type']}: {record.error['message']}"
        for record in board.failed
        if record.error
    ]
    return failed + table.void_reasons(board.rows, board.records)
