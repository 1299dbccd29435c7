"""What stands on a page: boards as plain values for the templates. Nothing is written here, nothing is measured."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.report import charts, losses, markdown, music, plots
from bench.report.media import Exhibit
from bench.results import table
from bench.results.board import Board, cell_in, standings
from bench.results.cells import Cell
from bench.results.table import DASH, CellScore, Row
from bench.trials.again import recorded_parts
from bench.trials.record import Record

__all__ = ["CellView", "cell_page", "cells", "first_records", "index", "markdown_html", "suite_page"]

_ARMS = (
    ("clean", "clean", "the same attacker, unprotected data: the best they can do"),
    ("protected", "protected", "what they did with the protected data"),
    ("untrained", "untrained", "a model that never saw the data"),
    ("clean_adapted", "clean, adapted", "unprotected data under the same adaptation: what the adaptation costs"),
    ("remainder", "the unprotected rest", "learning from the clips that were left unprotected, alone"),
)

# The parts of a trial in the order of what happens, as `recorded_parts` calls them and as a page does.
_ROLES = {
    "dataset": "data set",
    "defense": "defense",
    "reference": "matched to",
    "surrogate": "surrogate",
    "expected": "prepared for",
    "adaptation": "adaptation",
    "attacker": "attacker",
}


@dataclass(frozen=True)
class CellView:
    """One attacker under one adaptation, with its records."""

    key: Cell
    slug: str  # its page's name, without ending
    row: Row
    score: CellScore
    records: tuple[Record, ...]

    @property
    def denied(self) -> dict[str, Any]:
        return _denied(self.score)


def cells(board: Board) -> list[CellView]:
    """Every cell of a board that has records, under a name for its page."""
    return [
        CellView(key, re.sub(r"--s\d+$", "", made[0].name), *board.cells[key], tuple(made))
        for key, made in board.records_of.items()
    ]


def first_records(board: Board) -> Iterator[tuple[Row, Record]]:
    """The first good record of every row that protects something: whose set is shown and played."""
    for row in board.rows:
        for cell in row.cells:
            found = board.records_of.get(cell_in(row, cell), [])
            made = next((one for one in found if one.status == "ok"), None)
            if made is not None and made.trial.control != "clean":
                yield row, made
                break


def index(boards: Sequence[Board]) -> dict[str, Any]:
    """The summary: a card a suite, and every defense of every suite that decides something in one table."""
    slugs = {id(board): {view.key: view.slug for view in cells(board)} for board in boards}
    lines = [
        {**_line(board, row, slugs[id(board)]), "standing": standing, "suite": board.name, "heard": board.heard(row)}
        for board, row, standing in standings(boards)
    ]
    return {
        "cards": [_card(board) for board in boards],
        "lines": lines,
        "trials": sum(len(board.records) for board in boards),
        "hours": sum(board.cpu_seconds for board in boards) / 3600,
        "datasets": sorted({line["dataset"] for line in lines}),
    }


def suite_page(board: Board, listening: Sequence[tuple[Row, list[Exhibit]]]) -> dict[str, Any]:
    """A board's page."""
    rows, views = board.rows, cells(board)
    slugs = {view.key: view.slug for view in views}
    heads, body = table.main_table(rows)
    lines = [{**_line(board, row, slugs), "texts": texts, "row": row} for row, texts in zip(rows, body, strict=True)]
    responses = list(dict.fromkeys(cell.response for row in rows for cell in row.cells))
    return {
        "board": board,
        "heads": heads,
        "lines": lines,
        "limits": markdown.limits(board.suite).strip(),
        "said": board.said(),
        "pareto": _pareto(board),
        "front": [{"name": row.defense, **_line(board, row, slugs)} for row in board.front],
        "axis": _axis(board)[0],
        "responses": responses if len(responses) > 1 else [],
        "heat": _heat(board, views),
        "listening": [(_anchor(row), row, exhibits) for row, exhibits in listening],
        "moved": losses.moved_table(board.records),
        "meaning": losses.MEANING,
        "music": list(music.tables(board.records, board.suite.published)),
        "epochs": markdown.epochs_table(board.records, board.suite),
        "gates": [
            (name, f"{value:.3f}", f"{limit:.3f}", "passed" if passed else "FAILED", meaning)
            for name, value, limit, passed, meaning in table.gates_of(board.records)
        ],
        "filters": {
            "data set": sorted({row.dataset for row in rows}),
            "knows": sorted({row.knowledge for row in rows if not row.control}),
            "noise per": sorted({row.per for row in rows if row.per}),
        },
    }


def cell_page(board: Board, view: CellView, exhibits: Sequence[Exhibit]) -> dict[str, Any]:
    """A cell's page."""
    score, made = view.score, view.records
    arms = [
        {
            "name": name,
            "says": says,
            "mean": table.number(score.means[arm], ".4f"),
            "seeds": [table.number(record.mean(arm), ".4f") for record in made],
        }
        for arm, name, says in _ARMS
        if arm in score.means
    ]
    first = made[0]
    return {
        "board": board,
        "view": view,
        "title": f"{view.row.defense} against {score.response}",
        "denied": view.denied,
        "arms": arms,
        "seeds": [record.trial.seed for record in made],
        "per_seed": charts.seeds(score.per_seed, score.denied.mean, score.denied.low, score.denied.high)
        if score.per_seed and not math.isnan(score.denied.mean)
        else "",
        "curves": _curves(view),
        "gates": list(first.gates),
        "audibility": [
            (head, table.number(view.row.audibility.get(name, math.nan), form))
            for name, head, form in table.AUDIBILITY
            if name in view.row.audibility
        ],
        "parts_listed": _parts(first),
        "command": board.command if board.file else first.made.get("command", "") or board.command,
        "made": first.made,
        "cost": _cost(made),
        "exhibits": list(exhibits),
        "errors": [record for record in made if record.error],
        "notes": first.notes,
    }


def markdown_html(text: str) -> Any:
    """A suite's sentences as HTML; raw HTML in them stays text."""
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    return Markup(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))


def _line(board: Board, row: Row, slugs: dict[Cell, str]) -> dict[str, Any]:
    best = row.shown
    key = cell_in(row, best) if best else None
    kind = "control" if row.control else "void" if row.best is None else "ranked" if row.inside else "loud"
    return {
        "anchor": _anchor(row),
        "dataset": row.dataset,
        "defense": row.defense,
        "knows": row.knowledge,
        "per": row.per,
        "kind": kind,
        "denied": _denied(best) if best else None,
        "response": best.response if best else DASH,
        "responses": len(row.cells),
        "cell": f"cells/{slugs[key]}.html" if key in slugs else "",
        "seeds": len(best.per_seed) if best else 0,
    }


def _denied(cell: CellScore) -> dict[str, Any]:
    """Numbers and what the bar needs: everything on the scale of -0.2 to 1.2, cut off there."""
    value = cell.denied
    told = not math.isnan(value.low)
    return {
        "mean": value.mean,
        "text": table.number(value.mean, "+.3f"),
        "interval": table.bounds(value),
        "at": _place(value.mean),
        "low": _place(value.low if told else value.mean),
        "high": _place(value.high if told else value.mean),
        "void": ", ".join(cell.void),
    }


def _place(value: float) -> float:
    return 0.0 if math.isnan(value) else round(min(max((value + 0.2) / 1.4, 0.0), 1.0), 4)


def _card(board: Board) -> dict[str, Any]:
    ranked = [row for row in board.rows if row.rank and row.best]
    best = max(ranked, key=lambda row: row.best.denied.mean if row.best else -math.inf, default=None)
    return {
        "name": board.name,
        "about": board.suite.about.strip(),
        "trials": len(board.records),
        "defenses": len({row.defense for row in board.rows if not row.control}),
        "responses": len({cell.response for row in board.rows for cell in row.cells}),
        "datasets": sorted({row.dataset for row in board.rows}),
        "smoke": board.suite.preset == "smoke",
        "best": best.defense if best else "",
        "denied": _denied(best.best) if best and best.best else None,
        "response": best.best.response if best and best.best else "",
        "failed": len(board.failed),
    }


def _heat(board: Board, views: Sequence[CellView]) -> list[dict[str, Any]]:
    """A line a row of the table: learning denied under every response, with a link and a shade."""
    found = {(id(view.row), view.score.response): view for view in views}
    responses = list(dict.fromkeys(cell.response for row in board.rows for cell in row.cells))
    lines = []
    for row in board.rows:
        entries = []
        for response in responses:
            view = found.get((id(row), response))
            entries.append(None if view is None else {
                "text": table.number(view.score.denied.mean, "+.2f"),
                "interval": view.denied["interval"],
                "shade": 0.0 if math.isnan(view.score.denied.mean) else round(min(abs(view.score.denied.mean), 1.0), 3),
                "below": view.score.denied.mean < 0,
                "void": bool(view.score.void),
                "best": row.best is view.score,
                "cell": f"cells/{view.slug}.html",
            })  # fmt: skip
        lines.append({"row": row, "anchor": _anchor(row), "entries": entries})
    return lines


def _axis(board: Board) -> tuple[str, str]:
    heads = {name: head for name, head, _ in table.AUDIBILITY}
    better = "left: heard less" if board.axis in table.CEILINGS else "right: heard less"
    return heads.get(board.axis, board.axis), better


def _pareto(board: Board) -> str:
    points = []
    kinds = {(one.trial.dataset.label, one.trial.row, one.trial.knowledge): one.trial.control for one in board.records}
    several = len({row.knowledge for row in board.rows if not row.control}) > 1
    for row in board.rows:
        x = row.audibility.get(board.axis, math.nan)
        if row.shown is None or math.isnan(x) or math.isnan(row.shown.denied.mean):
            continue
        if kinds[row.dataset, row.defense, row.knowledge] in ("clean", "scramble"):
            continue  # these would stretch the plane, and say nothing in it
        value = row.shown.denied
        name = f"{row.defense} ({row.knowledge})" if several and not row.control else row.defense
        points.append(
            plots.Point(
                name,
                x,
                value.mean,
                value.low,
                value.high,
                board.on_front(row),
                row.control,
                f"#{_anchor(row)}",
                str(row.league),
            )
        )
    return plots.front(points, *_axis(board), "pareto") if len(points) > 1 else ""


def _curves(view: CellView) -> str:
    arms: dict[str, list[list[tuple[float, float]]]] = {}
    for arm in ("clean", "protected", "clean_adapted", "remainder"):
        runs = []
        for record in view.records:
            lines = record.epochs.get(arm, [])
            known = [(line.get("step"), line.get("validation")) for line in lines]
            run = [(float(step), float(value)) for step, value in known if step is not None and value is not None]
            if run:
                runs.append(run)
        if runs:
            arms[arm.replace("_", ", ")] = runs
    return charts.curves(arms, "quality on clean validation data") if arms else ""


def _parts(record: Record) -> list[tuple[str, str, int, str, str]]:
    order = list(_ROLES)
    return [
        (
            _ROLES[role],
            part.name,
            part.version,
            part.digest,
            ", ".join(f"{key} = {it}" for key, it in part.params.items()),
        )
        for role, _, part in sorted(recorded_parts(record), key=lambda found: order.index(found[0]))
    ]


def _cost(records: Sequence[Record]) -> list[tuple[str, str, str, str]]:
    """(what, seconds, CPU seconds, MB), means over seeds."""
    good = [record for record in records if record.cost]
    roles = list(dict.fromkeys(role for record in good for role in record.cost))
    names = ("seconds", "cpu_seconds", "peak_memory_mb")
    lines = []
    for role in roles:
        each = [record.cost[role] for record in good if role in record.cost]
        means = [sum(float(cost.get(name, 0.0)) for cost in each) / len(each) for name in names]
        lines.append((role.replace("_", " "), f"{means[0]:.1f}", f"{means[1]:.1f}", f"{means[2]:.0f}"))
    return lines


def _anchor(row: Row) -> str:
    return "row-" + re.sub(r"[^A-Za-z0-9]+", "-", f"{row.dataset} {row.defense} {row.knowledge}").strip("-").lower()
