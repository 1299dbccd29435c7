"""docs/records.md is true: its code runs on real records, and its tables name every field."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import load_results
from bench.results.record import PartRecord, Record, TrialRecord
from bench.results.worths import RowWorth

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "records.md"
SHOWN = "leaderboards/results/digits.json"
DIGITS = 1e-5  # summaries keep six digits
Row = tuple[str, str, str]  # data set, defense, knowledge
Worths = dict[Row, tuple[float, str]]  # -> worth in clean items, response


def blocks(engine: str) -> list[str]:
    """The page's blocks of Python that are about one engine: how to read, and the query."""
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    found = [block for block in code if f"import {engine}" in block or block.startswith(f"# {engine}")]
    assert len(found) == 2
    return found


ENGINES: dict[str, Callable[[Any], list[tuple[Any, ...]]]] = {
    "pandas": lambda best: [tuple(row) for row in best.values.tolist()],
    "polars": lambda best: list(best.rows()),
    "duckdb": lambda best: list(best.fetchall()),
}


def by_the_page(engine: str, summary: str) -> Worths:
    """What the page's own code says of a summary, in place of the one it names; lowest worth first."""
    names: dict[str, Any] = {}
    for block in blocks(engine):
        exec(block.replace(SHOWN, summary), names)
    return {(row[0], row[1], row[2]): (row[3], row[4]) for row in ENGINES[engine](names["best"])}


def agree(theirs: Worths, rows: list[RowWorth]) -> None:
    ours = {(row.dataset, row.defense, row.knowledge): row for row in rows if not row.worth.void}
    assert set(theirs) == set(ours)
    for key, (items, response) in theirs.items():
        assert items == pytest.approx(ours[key].worth.items.mean, rel=DIGITS)
        assert response == ours[key].response
    assert list(theirs.values()) == sorted(theirs.values(), key=lambda one: one[0])


@pytest.mark.parametrize("engine", ENGINES)
def test_the_worths_of_the_page_are_those_of_the_table(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(engine)
    monkeypatch.chdir(ROOT)
    rows = load_results("digits").worths
    assert len({row.response for row in rows}) > 1  # not everybody falls to the same response
    agree(by_the_page(engine, SHOWN), rows)


@pytest.mark.parametrize("engine", ENGINES)
def test_void_rows_are_left_out(engine: str, tmp_path: Path) -> None:
    pytest.importorskip(engine)
    content = json.loads((ROOT / SHOWN).read_text())
    content["worths"][0]["void"] = "not saturated"
    (tmp_path / "mine.json").write_text(json.dumps(content))
    left = {key[1] for key in by_the_page(engine, str(tmp_path / "mine.json"))}
    assert left == {one["row"]["defense"] for one in content["worths"][1:] if not one["void"]}


def test_the_python_of_the_page_reads_a_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    monkeypatch.chdir(ROOT)
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "import bench" in b]
    names: dict[str, Any] = {}
    exec(block, names)
    assert len(names["df"]) == len(names["results"]) > len(names["worths"]) > 1
    assert len(names["items"]) == 300


def test_the_tables_name_every_field() -> None:
    page = PAGE.read_text().split("## Fields of a record")[1]
    fields = [re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE) for part in page.split("Fields of `trial`:")]
    assert sorted(fields[0]) == sorted(Record.model_fields)
    assert sorted(fields[1]) == sorted(TrialRecord.model_fields)
    last = page.split("A plugin has its")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", last)) == set(PartRecord.model_fields)
    computed = re.findall(r"`(?:trial\.)?(\w+)`", page.split("Computed when")[1].split("Fields of `trial`:")[0])
    known = {name for owner in (Record, TrialRecord) for name in dir(owner)} | {*Record.model_fields}
    assert set(computed) <= known
