"""The page of a suite says what the records say, and puts published figures beside them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.report import markdown
from bench.results.board import Board
from bench.results.record import Record
from bench.results.suite import Suite
from bench.trials.expand import expand
from bench.trials.run import execute, prepare
from bench.trials.store import Store

Suites = Callable[..., Suite]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


def made(suite: Suite, folder: Path) -> list[Record]:
    return execute(
        prepare(expand(suite).trials, Store(folder / "store")), folder / "records", lambda event: None, jobs=1
    )


def test_a_page_holds_the_tables_and_the_findings(small_suite: Suites, folder: Path) -> None:
    suite = small_suite(
        name="small", about="Noise against a line.", budget={"snr_db": 3.0}, notes="It *does* little.",
        adaptations=["none", "quieter"],
    )  # fmt: skip
    text = markdown.page(Board(suite, tuple(made(suite, folder))), "bench matrix small.toml")
    assert text.startswith("# small\n\nNoise against a line.\n\nMade by `bench matrix small.toml`: 8 trials, ")
    assert "Ranked where snr_db >= 3." in text
    assert "linear + quieter" in text
    assert "learns clean data" in text
    assert text.endswith("## Findings\n\nIt *does* little.\n")
    assert "Epoch by epoch" not in text


def test_published_figures_stand_beside_ours(small_suite: Suites, folder: Path) -> None:
    published = [{"defense": "hiss", "mean": 0.14156}, {"defense": "clean", "attacker": "another", "peak": 0.8945}]
    suite = small_suite(published=published)
    records = made(suite, folder)
    for record in records:  # this attacker does not validate: give it a curve that is known
        for arm in record.epochs.values():
            for step, line in enumerate(arm):
                line["validation"] = [0.2, 0.6, 0.4][step % 3] if step else 0.9
    headings, body = markdown.epochs_table(records, suite)
    assert headings[-3:] == ["published peak", "published mean", "published last"]
    row = next(row for row in body if row[1] == "hiss")
    assert row[3] == "0.600"  # the start, before any training, is no epoch
    assert row[-3:] == ["–", "0.142", "–"]
    assert next(row for row in body if row[1] == "clean")[-3:] == ["–"] * 3
