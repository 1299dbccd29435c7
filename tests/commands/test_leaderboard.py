"""The command that renders records: what it prints, what it writes, and what it refuses."""

from __future__ import annotations

import csv
import sqlite3
from pathlib import Path

import pytest

from bench.commands import main
from bench.exits import INCOMPLETE, OK

PLUGINS = Path(__file__).resolve().parents[1] / "plugins"


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(words)
    return int(left.value.code or 0)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite of an author's own, run."""
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "store"))
    suite = tmp_path / "mine.toml"
    suite.write_text(
        'name = "mine"\nseeds = [0, 1]\ndatasets = ["tones"]\ndefenses = ["clean", "hiss"]\nattackers = ["linear"]\n'
        + "".join(
            f'[{kind}.{name}]\nplugin = "{PLUGINS / name}.py"\n'
            for kind, name in (("dataset", "tones"), ("defense", "hiss"), ("attacker", "linear"))
        )
    )
    assert run("matrix", str(suite), "--jobs", "1", "--display", "none") == 0
    return suite


def test_an_authors_own_suite_becomes_pages_and_is_printed(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run("leaderboard", str(mine), "--out", str(tmp_path / "site")) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("# mine\n")
    assert "| hiss" in printed.out
    assert str(tmp_path / "site" / "index.html") in printed.err
    assert "no sound" not in printed.err
    assert "<audio" in (tmp_path / "site/mine/index.html").read_text()
    for name in ("rows.csv", "cells.csv", "trials.csv", "board.json", "table.md"):
        assert (tmp_path / "site/mine" / name).stat().st_size > 0
    # Once more, over the old pages.
    assert run("leaderboard", str(mine), "--out", str(tmp_path / "site"), "--no-audio") == 0
    assert "<audio" not in (tmp_path / "site/mine/index.html").read_text()


def test_the_markdown_page_of_a_suite_is_written_beside_it_and_only_where_it_differs(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = mine.with_suffix(".md")
    assert run("leaderboard", str(mine), "--markdown") == 0
    assert f"Made by `bench matrix {mine} --page {page}`" in page.read_text()
    assert f"wrote {page}" in capsys.readouterr().err
    assert run("leaderboard", str(mine), "--markdown") == 0
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "site").exists()


def test_under_a_threat_model_every_output_says_what_protected_items_are_worth(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = mine.with_name("worth.toml")
    threat = "[threat]\npublished = 12\ngranted = 6\nsizes = [3, 6]\n"
    suite.write_text(mine.read_text().replace('"mine"', '"worth"') + threat)
    assert run("matrix", str(suite), "--jobs", "1", "--display", "none") in (OK, INCOMPLETE)  # so few may not suffice
    assert "what the protected items are worth in clean ones" in capsys.readouterr().out
    site = tmp_path / "site"
    assert run("leaderboard", str(suite), "--out", str(site), "--no-audio") == 0
    assert "## What the protected items are worth in clean ones" in capsys.readouterr().out
    page = (site / "worth/index.html").read_text()
    assert "12 protected items are worth" in page
    assert "log likelihood by clean items published (0: " in page
    with (site / "worth/worths.csv").open() as file:
        lines = {line["defense"]: line for line in csv.DictReader(file)}
    assert set(lines) == {"clean", "hiss"}
    assert lines["clean"]["published"] == "12"
    assert 0 <= float(lines["hiss"]["worth"]) <= 12
    with sqlite3.connect(site / "bench.sqlite") as base:
        assert base.execute("SELECT count(*) FROM worths").fetchone() == (2,)
        assert base.execute("SELECT DISTINCT score_version FROM rows").fetchall() == [(2,)]
    assert "Score version 2." in page
    assert "denied, score 1" not in page.partition("<h2")[2]  # no row is ranked by two scores
    assert run("rescore", str(suite)) == 0
    assert "score version 2" in (out := capsys.readouterr().out)
    assert "denied, score 1" not in out
    assert run("rescore", str(suite), "--score", "1") == 0
    assert "score version 1" in (out := capsys.readouterr().out)
    assert "denied, score 1" in out
    assert "worth" not in out.splitlines()[2]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["digit"], "did you mean 'digits'"),
        (["absent.toml"], "does not exist"),
        ([], "--all"),
        (["digits", "--all"], "--all"),
        (["digits", "midi", "--records", "."], "one suite"),
        (["digits", "--records", "nowhere"], "no record"),
        (["digits", "--out", __file__], "is a file, expected a folder"),
    ],
)
def test_bad_words_are_one_line_and_write_nothing(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = Path(__file__).read_bytes()
    assert run("leaderboard", *words) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    assert Path(__file__).read_bytes() == before
