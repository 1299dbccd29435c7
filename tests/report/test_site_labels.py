"""Labels with signs that mean something to regular expressions, HTML, Markdown, CSV, LaTeX or a template."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bench.commands import main
from bench.report import plots
from bench.results.formats import Markup, markdown_text, text_table
from bench.results.suite import Suite
from bench.trials.expand import expand
from bench.trials.run import execute, prepare
from bench.trials.store import Store

PLUGINS = Path(__file__).resolve().parents[1] / "plugins"
LABELS = [
    "C:\\tones\\x", "\\1 \\g<0>", "<b>&amp;", "=cmd()", "$\\alpha_1$ %", "a|b", "`t` *s* [l](u)", "{{7*7}} {% x %}",
    'q"\'q', "日本", "../up", "#0072b2", '" id="x',
]  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages of a suite whose defenses have these labels."""
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("labels")
    lines = ['seeds = [0]\ndatasets = ["tones"]\nattackers = ["linear"]']
    lines.append(f"defenses = {json.dumps(['clean', *LABELS], ensure_ascii=False)}")
    lines += [
        f"[{kind}.{name}]\nplugin = '{PLUGINS}/{name}.py'"
        for kind, name in (("dataset", "tones"), ("attacker", "linear"))
    ]
    for number, label in enumerate(LABELS):
        lines.append(f"[defense.{json.dumps(label, ensure_ascii=False)}]\nplugin = '{PLUGINS}/hiss.py'")
        lines.append(f"epsilon = 0.0{number + 10}")
    (folder / "odd.toml").write_text("\n".join(lines), encoding="utf-8")
    for words in (
        ["matrix", str(folder / "odd.toml"), "--jobs", "1", "--store", str(folder / "store"), "--display", "none",
         "--page", str(folder / "odd.md")],
        ["leaderboard", str(folder / "odd.toml"), "--out", str(folder / "site"), "--no-audio"],
    ):  # fmt: skip
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == 0
    return folder


class Text(HTMLParser):
    """The text of a page, and the ids of its elements."""

    def __init__(self) -> None:
        super().__init__()
        self.words: set[str] = set()
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_data(self, data: str) -> None:
        self.words.add(data.strip())


def test_pages_show_every_label_and_every_id_once(site: Path) -> None:
    page = Text()
    page.feed((site / "site" / "odd" / "index.html").read_text(encoding="utf-8"))
    assert set(LABELS) <= page.words
    assert len(page.ids) == len(set(page.ids))


def test_csv_and_json_keep_every_label(site: Path) -> None:
    for file in ("rows.csv", "cells.csv"):
        rows = csv.DictReader(io.StringIO((site / "site" / "odd" / file).read_text(encoding="utf-8")))
        assert set(LABELS) <= {row["defense"] for row in rows}
    board = (site / "site" / "odd" / "board.json").read_text(encoding="utf-8")
    assert all(
        json.dumps(label)[1:-1] in board or json.dumps(label, ensure_ascii=False)[1:-1] in board for label in LABELS
    )


def test_markdown_shows_every_label_as_it_is(site: Path) -> None:
    lines = (site / "odd.md").read_text(encoding="utf-8").splitlines()
    head = next(line for line in lines if line.startswith("| rank"))
    columns = head.count("|")
    for label in LABELS:
        (row,) = [line for line in lines if markdown_text(label) in line and line.count(" | ") > 5][:1]
        assert row.replace("\\|", "").count("|") == columns


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("constant_epsilon", "constant_epsilon"),
        ("noise ~ EB[bass]", "noise ~ EB[bass]"),
        ("a|b", "a\\|b"),
        ("a\\b", "a\\\\b"),
        ("*s* `t` <b> &amp; $x$ _y_", "\\*s\\* \\`t\\` \\<b> &amp;amp; \\$x\\$ \\_y\\_"),
        ("[l](u)", "[l]\\(u)"),
        ("a\nb", "a b"),
    ],
)
def test_what_markdown_would_take_for_markup_is_escaped(text: str, escaped: str) -> None:
    assert markdown_text(text) == escaped
    assert escaped in text_table(["x"], [[text]], "github")


def test_markup_stays_but_for_what_ends_a_cell() -> None:
    assert markdown_text(Markup("[a|b](c)")) == "[a\\|b](c)"


@pytest.mark.parametrize("label", LABELS)
def test_a_figure_holds_a_label_as_text(label: str) -> None:
    pytest.importorskip("matplotlib")
    svg = plots.front([plots.Point(label, 1.0, 0.5, front=True), plots.Point("b", 2.0, 0.1)], "SNR", "right", "f")
    page = Text()
    page.feed(svg)
    assert label in page.words
    assert all(name.startswith("f-") for name in page.ids)


@pytest.mark.parametrize("encoding", ["latin-1", "cp437", "ascii"])
def test_a_terminal_that_is_not_utf8_gets_its_table(encoding: str, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    page = site / f"{encoding}.md"
    with pytest.raises(SystemExit) as left:
        main(
            ["matrix", str(site / "odd.toml"), "--store", str(site / "store"), "--display", "none", "--page", str(page)]
        )
    assert left.value.code == 0
    shown = streams[0].buffer.getvalue().decode(encoding)
    assert "clean" in shown
    assert "?" in shown
    assert "日本" in page.read_text(encoding="utf-8")


def test_a_stage_that_fails_many_trials_is_said_once(small_suite: Callable[..., Suite], tmp_path: Path) -> None:
    from bench.report import terminal
    from bench.results.board import Board

    suite = small_suite(defenses=["clean", "breaks"], adaptations=["none", "quieter", "halves"], seeds=[0])
    records = execute(prepare(expand(suite).trials, Store(tmp_path / "s")), tmp_path / "r", lambda event: None, jobs=1)
    (line,) = [line for line in terminal.missing(Board(suite, tuple(records))) if line.startswith("failed")]
    assert line.count("protect tones with breaks") == 1
    assert line.endswith("and 2 more trials)")
