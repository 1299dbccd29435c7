"""A suite's page in Markdown: what was asked, the tables, what each epoch reached, and published figures beside ours.

Nothing is measured here: numbers come from records, sentences from the suite's own file.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from bench.report import losses, music
from bench.results import table
from bench.results.board import Board, standings
from bench.trials.matrix import Suite
from bench.trials.record import Record

__all__ = ["epochs_table", "limits", "page", "summary"]


def page(board: Board, command: str) -> str:
    """The page of a suite whose records `command` made."""
    suite, records, rows = board.suite, board.records, board.rows
    parts = [f"# {suite.name}", suite.about]
    parts.append(f"Made by `{command}`: {len(records)} trials, {board.cpu_seconds:.0f} CPU s.{limits(suite)}")
    parts += ["## Learning denied, at the best response", _table(*table.main_table(rows)), *board.said()]
    if board.front:
        listed = ", ".join(f"{row.defense} ({_denied(row)}, {board.heard(row)})" for row in board.front)
        parts.append(f"On the Pareto front, where none of its league denies more and is heard less: {listed}.")
    if len({cell.response for row in rows for cell in row.cells}) > 1:
        parts += ["## Under every response", "What a response costs the attacker stands under clean."]
        parts.append(_table(*table.response_table(rows)))
    moved = losses.moved_table(records)
    if moved[1]:
        parts += ["## What moved", losses.MEANING, _table(*moved)]
    for title, headings, body in music.tables(records, suite.published):
        parts += [f"## {title}", _table(headings, body)]
    epochs = epochs_table(records, suite)
    if epochs[1]:
        parts += ["## Epoch by epoch", _EPOCHS, _table(*epochs)]
    failed = [record for record in records if record.status != "ok" and record.error]
    if failed:
        parts.append("## Failed")
        parts += [f"* {record.name}: {record.error['message'] if record.error else ''}" for record in failed]
    gates = [
        [name, f"{value:.3f}", f"{limit:.3f}", "passed" if passed else "**failed**"]
        for name, value, limit, passed, _ in table.gates_of(records)
    ]
    if gates:
        parts += ["## Gates", _table(["gate", "worst seed", "limit", ""], gates)]
    parts += [note.strip() for note in ("## Findings", suite.notes) if suite.notes]
    return "\n\n".join(parts) + "\n"


def summary(boards: Sequence[Board]) -> str:
    """Every defense of every suite in one table, and the suites: Markdown to stand beside their pages."""
    lines = []
    for board, row, standing in standings(boards):
        best = row.shown
        assert best is not None
        interval = table.bounds(best.denied)
        listed = [row.defense, f"{best.denied.mean:+.3f}", interval, best.response, board.heard(row)]
        lines.append(
            [*listed, row.dataset, f"[{board.name}]({board.name}.md)", "" if standing == "ranked" else standing]
        )
    heads = ["defense", "learning denied", "95 %", "best response", "heard", "data set", "suite", ""]
    suites = [
        [f"[{board.name}]({board.name}.md)", str(len(board.records)), f"{board.cpu_seconds:.0f}", f"`{board.command}`"]
        for board in boards
    ]
    return "\n\n".join([
        "# Every defense, at the lowest score of its suite", _SUMMARY, _table(heads, lines), "## Suites",
        _table(["suite", "trials", "CPU s", "made by"], suites),
    ]) + "\n"  # fmt: skip


def epochs_table(records: Sequence[Record], suite: Suite) -> tuple[list[str], list[list[str]]]:
    """Headings and cells: quality on the validation set over the epochs, mean over seeds, published figures beside it.

    Empty where the suite has no published figures: then the peak, which is what is scored, says enough.
    """
    bins: dict[tuple[str, str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        if record.status == "ok" and any(not row.music for row in suite.published):
            trial = record.trial
            adaptation = trial.adaptation.label if trial.adaptation else "none"
            bins[trial.dataset.label, trial.row, trial.attacker.label, adaptation].append(record)
    figures = [row for row in suite.published if not row.music]
    known = {(row.defense, row.attacker or None, row.adaptation): row for row in figures}
    body = []
    for (dataset, row, attacker, adaptation), found in bins.items():
        arm = "protected" if any("protected" in record.epochs for record in found) else "clean"
        curves = [[line["validation"] or math.nan for line in r.epochs[arm] if line.get("step")] for r in found]
        ours = [_mean([shape(curve) for curve in curves if curve]) for shape in (max, _mean, _last)]
        theirs = known.get((row, attacker, adaptation)) or known.get((row, None, adaptation))
        published = [theirs.peak, theirs.mean, theirs.last] if theirs else [math.nan] * 3
        response = attacker if adaptation == "none" else f"{attacker} + {adaptation}"
        body.append([dataset, row, response, *(table.number(value, ".3f") for value in (*ours, *published))])
    headings = ["data set", "defense", "response", "peak", "mean", "last"]
    return [*headings, "published peak", "published mean", "published last"], body


_SUMMARY = (
    "Learning denied at the attacker's best response *of* those that the suite asks; 0: protection did nothing, 1: the "
    "attacker learned no more than a model that never saw any data. First what kept its suite's audibility budget, "
    "then what had none to keep, then what was too loud. Suites ask different responses, and one that asks few shows "
    "more, so rows of two suites do not compare, and none is a bound on what an attacker can do. Smoke suites decide "
    "nothing and are left out. Ranks are a suite's own."
)
_EPOCHS = "Quality on the validation set after each epoch of training, means over seeds. The score uses the peak alone."


def limits(suite: Suite) -> str:
    """What a row must keep to be ranked, as a sentence; empty where the suite has no budget."""
    signs = {name: "<=" if name in table.CEILINGS else ">=" for name in suite.budget}
    limits = ", ".join(f"{name} {signs[name]} {limit:g}" for name, limit in suite.budget.items())
    return f" Ranked where {limits}." if limits else ""


def _table(headings: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    return table.text(headings, body, "github")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _last(values: Sequence[float]) -> float:
    return values[-1]


def _denied(row: table.Row) -> str:
    return f"{row.best.denied.mean:+.3f}" if row.best else table.DASH
