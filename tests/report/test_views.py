"""What a page says follows from the board, and figures stand in any page without getting in one another's way."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from bench.report import charts, plots, views
from bench.results.board import Board


def test_the_summary_puts_what_kept_a_budget_first_and_leaves_smoke_out(board: Board) -> None:
    free = Board(board.suite.model_copy(update={"name": "free", "budget": {}}), board.records)
    smoke = Board(board.suite.model_copy(update={"name": "smoky", "preset": "smoke"}), board.records)
    shown = views.index([free, smoke, board])
    assert [card["name"] for card in shown["cards"]] == ["free", "smoky", "small"]
    assert "smoky" not in {line["suite"] for line in shown["lines"]}
    kinds = [line["standing"] for line in shown["lines"]]
    assert kinds == sorted(kinds, key=["ranked", "no budget", "too loud"].index)
    assert set(kinds) == {"ranked", "no budget", "too loud"}
    for kind in set(kinds):
        means = [line["denied"]["mean"] for line in shown["lines"] if line["standing"] == kind]
        assert means == sorted(means, reverse=True)
    assert not [line for line in shown["lines"] if line["defense"] == "clean"]


def test_a_cells_page_tells_its_arms_parts_and_costs(board: Board) -> None:
    view = next(view for view in board.views if view.row.defense == "hiss")
    cell = next(cell for cell in view.cells if cell.cell.adaptation == "quieter")
    shown = views.cell_page(board, view, cell, [])
    arms = {arm["name"]: arm for arm in shown["arms"]}
    assert list(arms) == ["clean", "protected", "untrained", "clean, adapted"]
    for arm in arms.values():
        seeds = [float(value) for value in arm["seeds"]]
        assert float(arm["mean"]) == pytest.approx(sum(seeds) / len(seeds), abs=1e-4)
    assert [role for role, *_ in shown["parts_listed"]] == [
        "data set",
        "defense",
        "surrogate",
        "adaptation",
        "attacker",
    ]
    assert shown["denied"]["text"] == f"{cell.score.denied.mean:+.3f}"
    assert {what for what, *_ in shown["cost"]} >= {"protected set", "clean learned"}


def test_a_void_row_is_shown_and_called_void(board: Board) -> None:
    void = Board(board.suite, board.records)
    void.__dict__["rows"] = [
        replace(row, rank=None, cells=tuple(replace(cell, void=("learns clean data",)) for cell in row.cells))
        for row in board.rows
    ]
    lines = views.suite_page(void, [])["lines"]
    assert {line["kind"] for line in lines if line["defense"] != "clean"} == {"void"}
    assert all(line["denied"]["void"] == "learns clean data" for line in lines)


def test_sentences_are_markdown_and_never_markup() -> None:
    made = str(views.markdown_html("* **a** and `b`\n\n<script>x</script> [y](javascript:alert(1))"))
    assert "<strong>a</strong>" in made
    assert "<script>" not in made
    assert 'href="javascript' not in made


def test_figures_keep_their_ids_apart_and_take_the_pages_colours() -> None:
    points = [
        plots.Point("a <b>", 20.0, 0.4, 0.3, 0.5, front=True, link="#row-a", ranking_group="one"),
        plots.Point("c", 21.0, 0.1, ranking_group="one"),
        plots.Point("noise", 20.0, 0.0, control=True),
    ]
    first = plots.front(points, "SNR dB", "right: less audible", "first")
    second = plots.front(points, "SNR dB", "right: less audible", "second")
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for text, prefix in ((first, "first-"), (second, "second-")):
        ElementTree.fromstring(text)  # well-formed, or it would break the page it stands in
        assert all(name.startswith(prefix) for name in re.findall(r'\bid="([^"]+)"', text))
        assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(re.findall(r'\bid="([^"]+)"', text))
        assert 'href="#row-a"' in text
        assert "var(--ink-2)" in text
        assert "#010203" not in text
    label = re.search(r'aria-label="([^"]+)"', first)
    assert label
    assert "a &lt;b&gt; denies +0.400 at 20" in label[1]
    assert first.replace("first-", "") == second.replace("second-", "")  # the same picture every time


def test_figures_of_one_seed_or_one_point_are_drawn() -> None:
    arms = {"clean": [[(0.0, 0.1), (5.0, 0.4)]], "protected": [[(0.0, 0.1)]]}
    drawn = {
        "seed 0: +0.200": charts.seeds({0: 0.2}, 0.2, math.nan, math.nan),
        "accuracy over training, clean, protected": charts.curves(arms, "accuracy"),
        "a denies +0.500 at 1": plots.front([plots.Point("a", 1.0, 0.5, front=True)], "SNR dB", "", "x"),
    }
    for says, text in drawn.items():
        assert says in ElementTree.fromstring(text).attrib["aria-label"]
