"""docs/records.md is true: its code runs on real records, and its tables name every field."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.results import packing, sources, table
from bench.results.record import CheckRecord, PartRecord, Record, TrialRecord

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "records.md"
SHOWN = "leaderboards/results/speech-frontier.json"
TIE = 1e-5  # summaries keep six digits
Row = tuple[str, str, str]  # data set, defense, knowledge
Best = dict[Row, tuple[float, str, str]]  # -> denied, attacker, adaptation


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


def by_the_page(engine: str, summary: str) -> Best:
    """What the page's own code says of a summary, in place of the one it names."""
    names: dict[str, Any] = {}
    for block in blocks(engine):
        exec(block.replace(SHOWN, summary), names)
    rows = ENGINES[engine](names["best"])
    return {(row[0], row[1], row[2]): (row[5], row[3], row[4]) for row in rows}


def by_bench(records: list[Record]) -> dict[Row, tuple[float, set[tuple[str, str]]]]:
    """The least that is denied, and every response that reaches it: several may, to the last digit."""
    found = {}
    for row in table.rows(records):
        if row.best:
            sound = {(c.attacker, c.adaptation): c.denied.mean for c in row.cells if not c.void and c.per_seed}
            least = row.best.denied.mean
            found[row.dataset, row.defense, row.knowledge] = least, {one for one in sound if sound[one] <= least + TIE}
    return found


def agree(ours: dict[Row, tuple[float, set[tuple[str, str]]]], theirs: Best) -> None:
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
    ours = by_bench(list(sources.read(sources.find(suite)).values()))
    assert len({min(responses) for _, responses in ours.values()}) > 1  # not everybody falls to the same response
    agree(ours, by_the_page(engine, f"leaderboards/results/{suite}.json"))


@pytest.mark.parametrize("engine", ENGINES)
def test_void_cells_and_failed_trials_are_left_out(engine: str, tmp_path: Path) -> None:
    pytest.importorskip(engine)
    records = list(sources.read(sources.find("speech-smoke")).values())
    whole = by_bench(records)
    key, (_, answers) = next(item for item in whole.items() if item[0][1] == "separable")
    ((attacker, adaptation),) = answers
    error = {"stage": "learn", "type": "RuntimeError", "message": "no", "tail": ""}
    failed = CheckRecord(name="plays in tune", passed=False, value=0.0, limit=1.0, meaning="the attacker's own")
    changed = []
    for one in records:
        trial = one.trial
        if (trial.row, trial.attacker.label, trial.adaptation_label, trial.seed) == (key[1], attacker, adaptation, 0):
            one = one.model_copy(update={"attacker_checks": [failed]})  # one seed voids the cell
        if trial.row == "dynamic_epsilon" and trial.seed == 1:
            one = one.model_copy(update={"status": "failed", "error": error, "attacker_checks": [], "arms": {}})
        one.save(tmp_path / "mine")
        changed.append(one)
    packing.pack(sources.find(tmp_path / "mine"), tmp_path / "mine.jsonl.xz", tmp_path / "mine.json")
    ours = by_bench(changed)
    assert not ours[key][1] & answers
    agree(ours, by_the_page(engine, str(tmp_path / "mine.json")))


def test_the_python_of_the_page_reads_a_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    monkeypatch.chdir(ROOT)
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "import bench" in b]
    names: dict[str, Any] = {}
    exec(block, names)
    assert len(names["df"]) == len(names["results"]) == 253
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
