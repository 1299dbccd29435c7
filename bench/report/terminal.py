"""Results as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report import attempts, losses, memorisation
from bench.report.columns import checks_table, main_table, response_table, responses
from bench.report.worth import NO_CURVE, TITLE, response_worths, sentence, worth_table, worth_title
from bench.results import table
from bench.results.board import Board
from bench.results.formats import DASH, number, text_table
from bench.results.record import Record

__all__ = ["missing", "tables"]


def tables(board: Board) -> str:
    """Format a board for a terminal: ranking with cell ids, every response, losses, and validity checks."""
    parts = []
    plain, by_worth = board.denied_views, {(view.row.dataset, *view.row.key): view for view in board.views}
    heads, body = worth_table(board.worths, board.views)
    if body:
        shown = [by_worth[row.dataset, row.defense, row.knowledge].shown for row in board.worths]
        ids = [cell.cell.id if cell else DASH for cell in shown]
        table_text = text_table(["cell id", *heads], [[cell, *line] for cell, line in zip(ids, body, strict=True)])
        parts.append(f"{TITLE.lower()} (score 2; see docs/reading-a-table.md)\n{table_text}")
        parts.append("\n".join(f"{worth_title(row)}: {sentence(row)}" for row in board.worths if not row.control))
        alone = response_worths(board.views)
        if alone[1]:
            parts.append(f"worth to an attacker with one response alone\n{text_table(*alone)}")
    tried = attempts.attempts_table(board.records)
    if tried[1]:
        parts.append(f"what the attacker tried (the page says how it chooses)\n{text_table(*tried)}")
    if plain:
        heads, body = main_table(plain)
        ids = [view.shown.cell.id if view.shown else DASH for view in plain]
        table_text = text_table(["cell id", *heads], [[cell, *line] for cell, line in zip(ids, body, strict=True)])
        parts.append(f"{NO_CURVE}\n{table_text}" if board.score > 1 else table_text)
    if len(responses(plain)) > 1:
        title = "denied, score 1, by every response (clean: what the response itself costs the attacker)"
        parts.append(f"{title}\n{text_table(*response_table(plain))}")
    loss_table = losses.losses_table(board.records)
    if loss_table[1]:
        title = "losses, lower is better learned (the page says what each one is)"
        parts.append(f"{title}\n{text_table(*loss_table)}")
    memorised = memorisation.memorisation_table(board.records)
    if memorised[1]:
        parts.append(f"memorisation of the published items (see docs/reading-a-table.md)\n{text_table(*memorised)}")
    if board.checks:
        parts.append(text_table(*checks_table(board.checks)))
    return "\n\n".join(parts)


def missing(board: Board) -> list[str]:
    """Return one line for each failure, however many trials it cost, and one for each void row."""
    return [*_failures(board.failed), *table.void_reasons(board.rows, board.records), *_void_worths(board)]


def _void_worths(board: Board) -> list[str]:
    """Return a line for each worth that says nothing, with the first check that failed."""
    return [
        f"void: {worth_title(row)} on {row.dataset} has no worth: '{row.worth.void[0].name}' failed "
        f"({number(row.worth.void[0].value, '.1f')}; the limit is {number(row.worth.void[0].limit, '.1f')}): "
        f"{row.worth.void[0].meaning}"
        for row in board.worths
        if row.worth.void
    ]


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
