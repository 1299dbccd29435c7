"""Results in Python: the same numbers as in the tables, found by suite, archive or folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import bench
from bench.errors import UsageError
from bench.results import table
from bench.results.board import boards
from bench.results.lookup import find
from bench.results.sources import Source, records_of
from bench.results.sources import find as source_of


def test_a_suite_an_archive_and_a_folder_give_the_same_results(tmp_path: Path) -> None:
    by_name = bench.load_results("midi-smoke")
    (board,) = boards(["midi-smoke"])
    assert by_name.rows == table.rows(by_name.records, board.suite.budget)
    file = Path("leaderboards/studies/midi-smoke.toml").resolve()
    assert bench.load_results(records_of(file)).records == by_name.records
    for record in by_name:
        record.save(tmp_path / "mine")
    assert bench.load_results(tmp_path / "mine").records == by_name.records
    assert len(by_name) == 6
    for row in by_name.rows:
        assert row.defense in str(by_name)


def test_a_data_frame_has_a_row_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    results = bench.load_results("digits-smoke")
    frame = results.to_pandas()
    assert list(frame["record"]) == [record.name for record in results]
    for record, denied, clean in zip(results, frame["denied"], frame["q_clean"], strict=True):
        assert denied == record.denied
        assert clean == record.mean("clean")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        results.to_pandas()


def test_importing_bench_imports_nothing_and_names_what_it_has() -> None:
    code = "import sys, bench; assert not {'numpy', 'pydantic', 'bench.results'} & set(sys.modules); bench.load_results"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert {"run", "load_results", "Results"} <= set(dir(bench))
    with pytest.raises(AttributeError, match="no attribute 'walk'"):
        bench.walk  # noqa: B018


def test_a_cell_is_found_by_id_name_key_and_file(tmp_path: Path) -> None:
    source = source_of("digits-smoke")
    (view, *_) = boards(["digits-smoke"])[0].views
    assert view.shown
    cell, first = view.shown.cell, view.shown.records[0]
    for word in (cell.id, cell.name, first.name, first.key[:10], str(first.save(tmp_path))):
        match = find(word, [source])
        assert match.trial == first
        assert {record.cell_name for record in match.records} == {cell.name}
    assert [record.trial.seed for record in find(cell.id, [source]).records] == [0, 1]
    with pytest.raises(UsageError, match="did you mean"):
        find(first.name + "x", [source])
    other = first.model_copy(update={"key": "0" * 32})
    other.save(tmp_path / "other")
    part = other.trial.attacker
    part = part.model_copy(update={"params": {**part.params, "batch": 7}})
    other.model_copy(update={"trial": other.trial.model_copy(update={"attacker": part})}).save(tmp_path / "other")
    with pytest.raises(
        UsageError, match=rf"stands for 2 cells .*{part.label}\.batch = 64, .*{part.label}\.batch = 7: "
    ):
        find(cell.id, [source, Source("other", tmp_path / "other")])
