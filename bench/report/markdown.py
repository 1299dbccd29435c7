"""A suite's page in Markdown: its description, the tables, quality by epoch, and published figures beside ours.

Nothing is measured here: numbers come from records, sentences from the suite's own file.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from bench.report import attempts, losses, memorisation, music
from bench.report.columns import DENIED, Table, checks_table, main_table, response_table, responses
from bench.report.worth import MEANING, NO_CURVE, TITLE, item_range, response_worths, sentence, worth_table, worth_title
from bench.results.arms import Arm
from bench.results.board import Board, standings
from bench.results.formats import DASH, Markup, bounds, markdown_text, number, text_table
from bench.results.measures import CEILINGS
from bench.results.names import response_name
from bench.results.record import Number, Record
from bench.results.statistics import mean
from bench.results.suite import Suite
from bench.results.views import RowView

__all__ = ["epochs_table", "limits", "page", "score_line", "summary"]


def page(board: Board, command: str) -> str:
    """Write the page of a suite.

    Args:
        board: The suite with its records.
        command: The command that made the records.

    Returns:
        Markdown.
    """
    suite, records, views, plain = board.suite, board.records, board.views, board.denied_views
    parts = [f"# {suite.name}", suite.about]
    parts.append(
        f"Made by `{command}`: {len(records)} trials, {board.cpu_seconds:.0f} CPU s. {score_line(board)}{limits(suite)}"
    )
    worths = worth_table(board.worths, views)
    if worths[1]:
        parts += [f"## {TITLE}", MEANING, _table(worths)]
        parts.append("\n".join(f"* {markdown_text(worth_title(row))}: {sentence(row)}." for row in board.worths))
        alone = response_worths(views)
        if alone[1]:
            parts += ["## Worth to an attacker with one response alone", _table(alone)]
    tried = attempts.attempts_table(records)
    if tried[1]:
        parts += ["## What the attacker tried", attempts.MEANING, _table(tried)]
        parts += [
            "## Every response in the first round",
            "Quality on the granted items.",
            _table(attempts.first_round(records)),
        ]
    if plain:
        parts += ["## Learning denied, at the best response", *([NO_CURVE] if board.score > 1 else [])]
        parts += [_table(main_table(plain)), *board.remarks()]
    front = [
        f"{markdown_text(view.row.defense)} ({_denied(view)}, {view.audibility})" for view in views if view.on_front
    ]
    if front:
        text = "On the Pareto front, where no row of its ranking group denies more and is less audible"
        parts.append(f"{text}: {', '.join(front)}.")
    if len(responses(plain)) > 1:
        parts += ["## Under every response", "Denied, score 1. What a response costs the attacker stands under clean."]
        parts.append(_table(response_table(plain)))
    loss_table = losses.losses_table(records)
    if loss_table[1]:
        parts += ["## Losses", losses.MEANING, _table(loss_table)]
    memorised = memorisation.memorisation_table(records)
    if memorised[1]:
        parts += ["## Memorisation", memorisation.MEANING, _table(memorised)]
    for title, headings, body in music.tables(records, suite.published):
        parts += [f"## {title}", _table((headings, body))]
    epochs = epochs_table(records, suite)
    if epochs[1]:
        parts += ["## Epoch by epoch", _EPOCHS, _table(epochs)]
    failed_records = [record for record in board.failed if record.error]
    if failed_records:
        parts.append("## Failed")
        parts += [
            f"* {markdown_text(record.name)}: {markdown_text(record.error['message'] if record.error else '')}"
            for record in failed_records
        ]
    if board.checks:
        parts += ["## Validity checks", _table(checks_table(board.checks))]
    parts += [note.strip() for note in ("## Findings", suite.notes) if suite.notes]
    return "\n\n".join(parts) + "\n"


def summary(boards: Sequence[Board]) -> str:
    """Write one table of every defense of every suite, and a list of the suites.

    Args:
        boards: The suites with their records.

    Returns:
        Markdown, with links to the suites' pages beside it.
    """
    by_worth, lines = [], []
    for board, view, standing in standings(boards):
        assert view.shown is not None
        link = Markup(f"[{board.name}]({board.page_link})")
        end = [view.shown.response, view.audibility, view.row.dataset, link, "" if standing == "ranked" else standing]
        if view.worth:
            worth = view.worth.worth
            quality = f"{number(worth.protected, '.3f')} of {number(worth.clean, '.3f')}"
            items = [number(worth.items.mean, ",.0f"), item_range(worth.items), f"{worth.published:,}"]
            numbers = [number(worth.share, ".0%"), *items]
            by_worth.append([view.row.defense, *numbers, number(worth.denied.mean, "+.3f"), quality, *end])
        else:
            denied = view.shown.score.denied
            lines.append([view.row.defense, number(denied.mean, "+.3f"), bounds(denied), *end])
    ends = ["response", "audibility", "data set", "suite", "status"]
    heads = ["defense", "worth / n", "worth (clean items)", "95 % interval", "n", "learning denied", "quality", *ends]
    suites = [
        [
            Markup(f"[{board.name}]({board.page_link})"),
            str(len(board.records)),
            f"{board.cpu_seconds:.0f}",
            Markup(f"`{board.command}`"),
        ]
        for board in boards
    ]
    parts = ["# Every defense, by suite"]
    if by_worth:
        parts += [f"## Score 2: {TITLE[0].lower()}{TITLE[1:]}", MEANING, _table((heads, by_worth))]
    if lines:
        heads = ["defense", DENIED, "95 % interval", *ends]
        parts += ["## Score 1: learning denied, of suites without a clean curve", _SUMMARY, _table((heads, lines))]
    parts += ["## Suites", _table((["suite", "trials", "CPU s", "made by"], suites))]
    return "\n\n".join(parts) + "\n"


def score_line(board: Board) -> str:
    """Say which version of the score ranks the rows."""
    return "Score version 2." if board.worths else "Score version 1."


def epochs_table(records: Sequence[Record], suite: Suite) -> tuple[list[str], list[list[str]]]:
    """Return headings and cells: quality on the validation set over the epochs, with published figures beside it.

    Args:
        records: The records of a suite.
        suite: The suite, whose published figures are shown.

    Returns:
        The table of means over seeds; without rows where the suite has no published figures.
    """
    bins: dict[tuple[str, str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        if record.status == "ok" and any(not row.music for row in suite.published):
            trial = record.trial
            adaptation = trial.adaptation_label
            bins[trial.dataset.label, trial.row, trial.attacker.label, adaptation].append(record)
    figures = [row for row in suite.published if not row.music]
    by_cell = {(row.defense, row.attacker or None, row.adaptation): row for row in figures}
    body = []
    for (dataset, row, attacker, adaptation), group in bins.items():
        arm = Arm.PROTECTED if any(Arm.PROTECTED in record.epochs for record in group) else Arm.CLEAN
        curves = [[_validation(line) for line in r.epochs[arm] if line.get("step")] for r in group]
        ours = [mean(shape(curve) for curve in curves if curve) for shape in (max, mean, _last)]
        theirs = by_cell.get((row, attacker, adaptation)) or by_cell.get((row, None, adaptation))
        figures_shown = [theirs.peak, theirs.mean, theirs.last] if theirs else [math.nan] * 3
        response = response_name(attacker, adaptation)
        body.append([dataset, row, response, *(number(value, ".3f") for value in (*ours, *figures_shown))])
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
    """Return what a row must keep to be ranked, as a sentence; empty for a suite without a budget."""
    signs = {name: "<=" if name in CEILINGS else ">=" for name in suite.budget}
    limits = ", ".join(f"{name} {signs[name]} {limit:g}" for name, limit in suite.budget.items())
    return f" Ranked where {limits}." if limits else ""


def _table(table: Table) -> str:
    """Format a table as Markdown."""
    return text_table(*table, style="github")


def _last(values: Sequence[float]) -> float:
    """Return the last value of a curve."""
    return values[-1]


def _denied(view: RowView) -> str:
    """Return learning denied by the score that ranks the row, as text."""
    return number(view.denied.mean, "+.3f") if view.denied else DASH


def _validation(epoch: Mapping[str, Number]) -> float:
    """Return the quality on the validation set in a log line; NaN where the line has none."""
    value = epoch.get("validation")
    return math.nan if value is None else value
