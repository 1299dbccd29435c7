"""Boards as plain values for the templates of pages. Nothing is written or measured here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bench.report import attempts, charts, columns, losses, markdown, memorisation, music, plots
from bench.report.items import MediaItem
from bench.report.worth import MEANING, NO_CURVE, TITLE, response_worths, sentence, worth_table, worth_title
from bench.results.arms import TRAINED, Arm
from bench.results.board import Board, standings
from bench.results.formats import DASH, bounds, number
from bench.results.measures import AUDIBILITY, CEILINGS, measure
from bench.results.record import PartRecord, Record
from bench.results.roles import parts_of
from bench.results.statistics import Interval, mean
from bench.results.views import CellView, RowView
from bench.results.worths import RowWorth, row_worths
from bench.vocabulary import Control

__all__ = ["cell_page", "index", "markdown_html", "suite_page"]

_ARMS = (
    (Arm.CLEAN, "clean", "the same attacker, unprotected data: the best they can do"),
    (Arm.PROTECTED, "protected", "what they did with the protected data"),
    (Arm.UNTRAINED, "untrained", "a model that never saw the data"),
    (Arm.CLEAN_ADAPTED, "clean, adapted", "unprotected data under the same adaptation: what the adaptation costs"),
    (Arm.REMAINDER, "the unprotected rest", "learning from the clips that were left unprotected, alone"),
)


def index(boards: Sequence[Board]) -> dict[str, Any]:
    """Prepare the summary page: a card a suite, and one table of all defenses.

    Args:
        boards: The suites with their records.

    Returns:
        The values of its template.
    """
    lines = [
        {**_line(view), "standing": standing, "suite": board.name, "audibility": view.audibility}
        for board, view, standing in standings(boards)
    ]
    return {
        "cards": [_card(board) for board in boards],
        "worth_title": TITLE,
        "worth_lines": [line for line in lines if line["worth"]],
        "lines": [line for line in lines if not line["worth"]],
        "trials": sum(len(board.records) for board in boards),
        "hours": sum(board.cpu_seconds for board in boards) / 3600,
        "datasets": sorted({line["dataset"] for line in lines}),
    }


def suite_page(board: Board, media_rows: Sequence[tuple[RowView, list[MediaItem]]]) -> dict[str, Any]:
    """Prepare the page of a suite.

    Args:
        board: The suite with its records.
        media_rows: Rows with the items that are played and shown.

    Returns:
        The values of its template.
    """
    views, plain = board.views, board.denied_views
    headings, body = columns.main_table(plain)
    names = columns.responses(plain)
    worths = board.worths
    return {
        "board": board,
        "score_line": markdown.score_line(board),
        "no_curve": NO_CURVE if board.score > 1 else "",
        "denied_heading": columns.DENIED,
        "worth_title": TITLE,
        "worth_table": worth_table(worths, views),
        "worth_alone": response_worths(views),
        "anchors": [view.anchor for view in views if view.row.by_worth],
        "worth_meaning": MEANING,
        "worth_curves": [_curve(row) for row in worths],
        "heads": headings,
        "lines": [{**_line(view), "texts": texts, "view": view} for view, texts in zip(plain, body, strict=True)],
        "limits": markdown.limits(board.suite).strip(),
        "remarks": board.remarks(),
        "pareto": _pareto(board),
        "front": [{"name": view.row.defense, **_line(view)} for view in views if view.on_front],
        "axis": measure(board.axis).heading,
        "responses": names if len(names) > 1 else [],
        "heat": _heat(plain, names),
        "listening": list(media_rows),
        "losses": losses.losses_table(board.records),
        "meaning": losses.MEANING,
        "attempts": attempts.attempts_table(board.records),
        "attempts_meaning": attempts.MEANING,
        "first_round": attempts.first_round(board.records),
        "memorisation": memorisation.memorisation_table(board.records),
        "memorisation_meaning": memorisation.MEANING,
        "music": list(music.tables(board.records, board.suite.published)),
        "epochs": markdown.epochs_table(board.records, board.suite),
        "checks": columns.checks_table(board.checks),
        "filters": {
            "data set": sorted({view.row.dataset for view in views}),
            "knowledge": sorted({view.row.knowledge for view in views if not view.row.control}),
            "scope": sorted({view.row.scope for view in views if view.row.scope}),
        },
    }


def cell_page(board: Board, view: RowView, cell: CellView, items: Sequence[MediaItem]) -> dict[str, Any]:
    """Prepare the page of a cell.

    Args:
        board: The suite with its records.
        view: The row of the cell.
        cell: The cell; it has records.
        items: The items that are played and shown.

    Returns:
        The values of its template.
    """
    score, records = cell.score, cell.records
    arms = [
        {
            "name": name,
            "says": meaning,
            "mean": number(score.means[arm], ".4f"),
            "seeds": [number(record.mean(arm), ".4f") for record in records],
        }
        for arm, name, meaning in _ARMS
        if arm in score.means
    ]
    first = records[0]
    return {
        "board": board,
        "view": view,
        "cell": cell,
        "title": f"{view.row.defense} against {cell.response}",
        "denied": _denied(score.denied, score.void),
        "worths": [_curve(row) for row in (row_worths(records) if view.row.by_worth else ())],
        "arms": arms,
        "seeds": [record.trial.seed for record in records],
        "per_seed": charts.seeds(score.per_seed, score.denied.mean, score.denied.low, score.denied.high)
        if score.per_seed and not math.isnan(score.denied.mean)
        else "",
        "curves": _curves(records),
        "checks": list(first.checks),
        "audibility": [
            (each.heading, number(view.row.audibility.get(each.name, math.nan), each.form))
            for each in AUDIBILITY
            if each.name in view.row.audibility
        ],
        "parts_listed": _parts(first),
        "command": board.command if board.file else first.provenance.get("command", "") or board.command,
        "provenance": first.provenance,
        "cost": _cost(records),
        "items": list(items),
        "errors": [record for record in records if record.error],
        "notes": first.notes,
    }


def markdown_html(text: str) -> Any:
    """Convert a suite's Markdown to HTML; raw HTML in it stays text."""
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    return Markup(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))


def _line(view: RowView) -> dict[str, Any]:
    """Return the values of a row in a table."""
    row, cell = view.row, view.shown
    void = view.status in ("void", "failed")
    kind = "control" if row.control else "void" if void else "ranked" if row.inside else "loud"
    return {
        "anchor": view.anchor,
        "dataset": row.dataset,
        "defense": row.defense,
        "knowledge": row.knowledge,
        "scope": row.scope,
        "kind": kind,
        "denied": _denied(view.denied, cell.score.void) if cell and view.denied else None,
        "worth": _worth(view.worth) if view.worth else None,
        "response": cell.response if cell else DASH,
        "responses": len(row.cells),
        "cell": f"cells/{cell.slug}.html" if cell and cell.slug else "",
        "seeds": len(cell.score.per_seed) if cell else 0,
    }


def _curve(row: RowWorth) -> dict[str, str]:
    """Return the clean curve with the protected set's point on it, and what it says."""
    picture = charts.clean_curve(row.curve, row.worth, row.metric)
    return {"title": worth_title(row), "text": sentence(row), "picture": picture}


def _worth(row: RowWorth) -> dict[str, Any]:
    """Return what a protected set is worth, as text."""
    worth = row.worth
    return {
        "items": number(worth.items.mean, ",.0f"),
        "low": number(worth.items.low, ",.0f"),
        "high": number(worth.items.high, ",.0f"),
        "share": number(worth.share, ".0%"),
        "published": f"{worth.published:,}",
        "quality": f"{number(worth.protected, '.3f')} of {number(worth.clean, '.3f')}",
    }


def _denied(value: Interval, void: Sequence[str] = ()) -> dict[str, Any]:
    """Return learning denied with its place on a bar from -0.2 to 1.2, clipped to its ends."""
    has_interval = not math.isnan(value.low)
    return {
        "mean": value.mean,
        "text": number(value.mean, "+.3f"),
        "interval": bounds(value),
        "at": _place(value.mean),
        "low": _place(value.low if has_interval else value.mean),
        "high": _place(value.high if has_interval else value.mean),
        "void": ", ".join(void),
    }


def _place(value: float) -> float:
    """Return a score's place on the bar, 0 to 1."""
    return 0.0 if math.isnan(value) else round(min(max((value + 0.2) / 1.4, 0.0), 1.0), 4)


def _card(board: Board) -> dict[str, Any]:
    """Return the values of a suite's card."""
    ranked_rows = [row for row in board.rows if row.rank and row.best]
    best = max(ranked_rows, key=lambda row: row.best.denied.mean if row.best else -math.inf, default=None)
    first = next((row for row in board.worths if row.rank), None)
    return {
        "name": board.name,
        "about": board.suite.about.strip(),
        "trials": len(board.records),
        "defenses": len({row.defense for row in board.rows if not row.control}),
        "responses": len({cell.response for row in board.rows for cell in row.cells}),
        "datasets": sorted({row.dataset for row in board.rows}),
        "smoke": board.suite.preset == "smoke",
        "worth": f"{worth_title(first)}: {sentence(first)}" if first else "",
        "best": best.defense if best else "",
        "denied": _denied(best.best.denied, best.best.void) if best and best.best else None,
        "response": best.best.response if best and best.best else "",
        "failed": len(board.failed),
    }


def _heat(views: Sequence[RowView], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return a line a row: learning denied under every response, with a link and a shade."""
    lines = []
    for view in views:
        cells = view.by_response()
        entries = [_entry(cells[name]) if name in cells and cells[name].slug else None for name in names]
        lines.append({"row": view.row, "anchor": view.anchor, "entries": entries})
    return lines


def _entry(cell: CellView) -> dict[str, Any]:
    """Return the values of a cell in the table of responses."""
    mean = cell.score.denied.mean
    return {
        "text": number(mean, "+.2f"),
        "interval": bounds(cell.score.denied),
        "shade": 0.0 if math.isnan(mean) else round(min(abs(mean), 1.0), 3),
        "below": mean < 0,
        "void": bool(cell.score.void),
        "best": cell.best,
        "cell": f"cells/{cell.slug}.html",
    }


def _pareto(board: Board) -> str:
    """Draw audibility against score. Clean and scrambled controls, which would stretch the plane, are left out."""
    points = []
    for view, title in zip(board.views, columns.titles(board.views), strict=True):
        x = view.row.audibility.get(board.axis, math.nan)
        denied = view.denied
        if denied is None or math.isnan(x) or view.control in (Control.CLEAN, Control.SCRAMBLE):
            continue
        if not math.isnan(denied.mean):
            kind = (view.on_front, view.row.control)
            group = str(view.row.ranking_group)
            point = plots.Point(title, x, denied.mean, denied.low, denied.high, *kind, f"#{view.anchor}", group)
            points.append(point)
    better = "left: less audible" if board.axis in CEILINGS else "right: less audible"
    return plots.front(points, measure(board.axis).heading, better, "pareto") if len(points) > 1 else ""


def _curves(records: Sequence[Record]) -> str:
    """Draw the validation curves of all trained arms."""
    arms: dict[str, list[list[tuple[float, float]]]] = {}
    for arm in TRAINED:
        seed_curves = []
        for record in records:
            lines = record.epochs.get(arm, [])
            points = [(line.get("step"), line.get("validation")) for line in lines]
            curve = [(float(step), float(value)) for step, value in points if step is not None and value is not None]
            if curve:
                seed_curves.append(curve)
        if seed_curves:
            arms[arm.replace("_", ", ")] = seed_curves
    return charts.curves(arms, "quality on clean validation data") if arms else ""


def _parts(record: Record) -> list[tuple[str, str, int, str, str]]:
    """Return role, name, version, digest and parameters of every plugin, in the order of what happens."""
    return [
        (role.title, part.name, part.version, part.digest, _parameters(part)) for role, part in parts_of(record.trial)
    ]


def _parameters(part: PartRecord) -> str:
    """Return a plugin's parameters as text."""
    return ", ".join(f"{name} = {value}" for name, value in part.params.items())


def _cost(records: Sequence[Record]) -> list[tuple[str, str, str, str]]:
    """Return (stage, seconds, CPU seconds, MB), means over seeds."""
    roles = list(dict.fromkeys(role for record in records for role in record.cost))
    lines = []
    for role in roles:
        costs = [record.cost[role] for record in records if role in record.cost]
        seconds, cpu, memory = (
            mean(cost.get(name) for cost in costs) for name in ("seconds", "cpu_seconds", "peak_memory_mb")
        )
        lines.append((role.replace("_", " "), number(seconds, ".1f"), number(cpu, ".1f"), number(memory, ".0f")))
    return lines
