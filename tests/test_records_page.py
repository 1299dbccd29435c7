"""docs/records.md is true: its code runs on real records, and its tables name every field."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.results import record, table
from bench.results.record import PartRecord, Record, TrialRecord

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "records.md"
SHOWN = "leaderboards/records/speech-frontier"
TIE = 1e-5  # records keep six digits
Best = dict[
    tuple[str, str, str], tuple[float, str, str]
]  # data set, defense, knowledge -> denied, attacker, adaptation


def blocks(engine: str) -> list[str]:
    """The page's blocks of Python that are about one engine: the two lines and the query."""
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    found = [block for block in code if f"import {engine}" in block or block.startswith(f"# {engine}")]
    assert len(found) == 2
    return found


def from_pandas(best: Any) -> list[tuple[Any, ...]]:
    return [tuple(None if value != value else value for value in row[:6]) for row in best.values.tolist()]


def from_polars(best: Any) -> list[tuple[Any, ...]]:
    return [row[:6] for row in best.rows()]


def from_duckdb(best: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in best.fetchall()]


ENGINES: dict[str, Callable[[Any], list[tuple[Any, ...]]]] = {
    "pandas": from_pandas,
    "polars": from_polars,
    "duckdb": from_duckdb,
}


def by_the_page(engine: str, folder: str) -> Best:
    """What the page's own code says of a folder of records, in place of the one it names."""
    names: dict[str, Any] = {}
    for block in blocks(engine):
        exec(block.replace(SHOWN, folder), names)
    rows = ENGINES[engine](names["best"])
    return {row[:3]: (row[5], row[3], row[4] or "none") for row in rows}


def by_bench(folder: Path) -> dict[tuple[str, str, str], tuple[float, set[tuple[str, str]]]]:
    """The least that is denied, and every response that reaches it: several may, to the last digit."""
    found = {}
    for row in table.rows(record.load_all(folder)):
        if row.best:
            sound = {(c.attacker, c.adaptation): c.denied.mean for c in row.cells if not c.void and c.per_seed}
            least = row.best.denied.mean
            found[row.dataset, row.defense, row.knowledge] = least, {one for one in sound if sound[one] <= least + TIE}
    return found


def agree(ours: dict[tuple[str, str, str], tuple[float, set[tuple[str, str]]]], theirs: Best) -> None:
    assert set(theirs) == set(ours)
    for key, (denied, responses) in ours.items():
        assert theirs[key][0] == pytest.approx(denied, abs=TIE)
        assert theirs[key][1:] in responses


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("suite", ["speech-frontier", "speech-smoke", "midi"])
def test_the_best_response_of_the_page_is_that_of_the_table(
    engine: str, suite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(engine)
    monkeypatch.chdir(ROOT)
    ours = by_bench(ROOT / "leaderboards" / "records" / suite)
    assert len({min(responses) for _, responses in ours.values()}) > 1  # not everybody falls to the same response
    agree(ours, by_the_page(engine, f"leaderboards/records/{suite}"))


def test_the_tables_name_every_field() -> None:
    fields = [re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE) for part in PAGE.read_text().split("Of `trial`:")]
    assert sorted(fields[0]) == sorted(Record.model_fields)
    assert sorted(fields[1]) == sorted(TrialRecord.model_fields)
    last = PAGE.read_text().split("Of a plugin:")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", last)) == set(PartRecord.model_fields)
