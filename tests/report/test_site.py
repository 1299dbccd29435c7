"""The folder of pages: complete, linked, honest about what it lacks, and never in the way of what is there."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import sqlite3
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.api import Clips
from bench.errors import UsageError
from bench.report import tables
from bench.report.media import MediaBuilder
from bench.report.site import build
from bench.results.board import Board
from bench.trials.artefacts import load_data
from bench.trials.store import Store


class Links(HTMLParser):
    """Every address that a page names, and every id that it has."""

    def __init__(self, text: str):
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src", "data-src", "xlink:href") and value:
                self.addresses.append(value)
            if name == "id" and value:
                self.ids.append(value)


def test_every_address_leads_somewhere_and_every_id_is_its_own(pages: Path) -> None:
    read = {path: Links(path.read_text()) for path in pages.rglob("*.html")}
    assert len(read) > 8
    for path, links in read.items():
        assert len(links.ids) == len(set(links.ids)), path
        for address in links.addresses:
            if address.startswith("data:"):
                continue
            assert not address.startswith(("http:", "https:", "//")), (path, address)
            file, _, anchor = address.partition("#")
            target = (path.parent / file).resolve() if file else path
            assert target.is_file(), (path, address)
            if anchor and target.suffix == ".html":
                assert anchor in read[target].ids, (path, address)


def test_nothing_is_fetched_from_elsewhere(pages: Path) -> None:
    for path in [*pages.rglob("*.css"), *pages.rglob("*.js")]:
        assert not re.search(r"https?://|@import|fetch\(|XMLHttpRequest", path.read_text()), path


def test_what_a_suite_says_is_text_and_never_markup(pages: Path) -> None:
    for name in ("index.html", "small/index.html"):
        text = (pages / name).read_text()
        assert "<script>alert(1)" not in text
        assert "&lt;script&gt;alert(1)" in text
    text = (pages / "small/index.html").read_text()
    assert "<em>does</em>" in text
    assert "&lt;b&gt;raw" in text


def test_the_tables_hold_what_the_board_holds_in_every_format(pages: Path, board: Board) -> None:
    with (pages / "small/trials.csv").open() as file:
        trials = list(csv.DictReader(file))
    assert len(trials) == len(board.records)
    by_record = {record.name: record for record in board.records}
    for line in trials:
        record = by_record[line["record"].removesuffix(".json")]
        assert record.denied is not None
        assert float(line["denied"]) == pytest.approx(record.denied, rel=1e-5, abs=1e-9)
        assert (pages / "small/records" / line["record"]).is_file()
    whole = json.loads((pages / "small/board.json").read_text())
    counts = {"rows": len(board.rows), "cells": len(board.records_of), "trials": len(board.records), "worths": 0}
    assert {name: len(lines) for name, lines in whole.items()} == {"suites": 1, **counts}
    base = sqlite3.connect(pages / "bench.sqlite")
    hiss = base.execute("SELECT denied, best_response, inside_budget FROM rows WHERE defense = 'hiss'").fetchone()
    row = next(row for row in board.rows if row.defense == "hiss")
    assert row.best is not None
    assert hiss == (pytest.approx(row.best.denied.mean, rel=1e-5, abs=1e-9), row.best.response, 1)
    means = dict(base.execute("SELECT defense || adaptation, avg(denied) FROM trials GROUP BY 1"))
    cells = dict(base.execute("SELECT defense || adaptation, denied FROM cells"))
    assert means == pytest.approx(cells, rel=1e-4, abs=1e-6)
    base.close()
    assert (pages / "small/table.md").read_text().startswith("# small")


def test_a_missing_number_is_empty_null_and_never_zero(tmp_path: Path) -> None:
    tables.write_csv(tmp_path / "a.csv", [{"a": None, "b": 1.5}, {"a": 2}])
    assert (tmp_path / "a.csv").read_text() == "a,b\n,1.5\n2,\n"


def test_rows_outside_the_budget_are_on_the_page_and_not_ranked(pages: Path) -> None:
    text = (pages / "small/index.html").read_text()
    loud = re.search(r'<tr id="row-tones-loud-white-box" class="(\w+)".*?</tr>', text, re.S)
    assert loud
    assert loud[1] == "loud"
    assert "too loud" in loud[0]


def test_what_is_played_is_what_the_store_holds(board: Board, store: Store, tmp_path: Path) -> None:
    record = next(one for one in board.records if one.trial.row == "hiss" and one.trial.adaptation)
    (shown, *_) = MediaBuilder([store], tmp_path).of_cell(record)
    sounds = {version.name: soundfile.read(tmp_path / version.file)[0] for version in shown.clips}
    clean_set, protected_set = (load_data(store.open(record.stages[role])) for role in ("clean_set", "protected_set"))
    assert isinstance(clean_set, Clips)
    assert isinstance(protected_set, Clips)
    clean, protected = clean_set.audio, protected_set.audio
    at = load_data(store.open(record.stages["clean_set"])).ids.index(shown.item)
    assert np.allclose(sounds["clean"], clean[at, 0].numpy(), atol=1e-4)
    assert np.allclose(sounds["protected"], protected[at, 0].numpy(), atol=1e-4)
    assert np.allclose(sounds["noise alone"], (protected - clean)[at, 0].numpy(), atol=1e-4)
    raised = sounds["noise, raised"]
    assert np.sqrt((raised**2).mean()) == pytest.approx(np.sqrt((sounds["clean"] ** 2).mean()), rel=0.02)
    assert np.allclose(sounds["protected, after quieter"], 0.5 * sounds["protected"], atol=1e-3) or (
        np.abs(sounds["protected, after quieter"]).max() < np.abs(sounds["protected"]).max()
    )


def test_without_artefacts_there_is_no_sound_and_it_is_said(board: Board, tmp_path: Path) -> None:
    silent = build([board], tmp_path / "site", [Store(tmp_path / "empty")])
    assert len(silent) >= 3
    assert "<audio" not in (tmp_path / "site/small/index.html").read_text()


def test_a_folder_that_is_not_ours_is_left_alone(board: Board, tmp_path: Path) -> None:
    mine = tmp_path / "photos"
    mine.mkdir()
    (mine / "cat.txt").write_text("mine")
    with pytest.raises(UsageError, match="was not written by `bench leaderboard`"):
        build([board], mine, [])
    assert [path.name for path in mine.iterdir()] == ["cat.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_light_install_is_told_what_pages_need(board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "matplotlib" else find(name, *more)
    )
    with pytest.raises(UsageError, match=r"cloakbench\[page\]"):
        build([board], tmp_path / "site", [])
    assert list(tmp_path.iterdir()) == []


def test_pages_that_fail_leave_the_old_ones(board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "site"
    build([board], out, [])
    before = (out / "index.html").read_text()

    def breaks(*_: object) -> None:
        raise RuntimeError("disk full")

    monkeypatch.setattr(tables, "write_sqlite", breaks)
    with pytest.raises(RuntimeError):
        build([board], out, [])
    assert (out / "index.html").read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["site"]
    monkeypatch.undo()
    build([board], out, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site"]
