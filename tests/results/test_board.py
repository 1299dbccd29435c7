"""A board: which rows lie on the front, what a reader is told beside the table, and which suites there are."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

from bench import plugins
from bench.errors import DataError, UsageError
from bench.report import markdown
from bench.results.board import Board, boards, suite_files
from bench.results.cells import cell_of
from bench.results.statistics import smallest_detectable

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def speech() -> Board:
    if not (ROOT / "leaderboards" / "records").is_dir():
        pytest.skip("not a checkout: a wheel has no records")
    (board,) = boards(["digits"])
    return Board(board.suite, board.records, score=1)


def test_no_row_on_the_front_is_beaten_and_every_other_is(speech: Board) -> None:
    able = [row for row in speech.rows if row.best and not row.control]
    values = {id(row): (row.best.denied.mean, row.audibility["snr_db"]) for row in able if row.best}
    front = {id(view.row) for view in speech.views if view.on_front}
    for row in able:
        beaten = [
            other.defense for other in able
            if other.ranking_group == row.ranking_group and values[id(other)] != values[id(row)]
            and all(a >= b for a, b in zip(values[id(other)], values[id(row)], strict=True))
        ]  # fmt: skip
        assert (id(row) in front) == (not beaten), (row.defense, beaten)
    assert 0 < len(speech.front) < len(able)


def test_controls_and_void_rows_are_never_on_the_front(speech: Board) -> None:
    assert not any(row.control for row in speech.front)
    void = [replace(row, cells=tuple(replace(cell, void=("gate",)) for cell in row.cells)) for row in speech.rows]
    board = Board(speech.suite, speech.records)
    board.__dict__["rows"] = void
    assert board.front == []


def test_every_record_belongs_to_one_cell_and_every_cell_has_its_seeds(speech: Board) -> None:
    assert sum(map(len, speech.records_of.values())) == len(speech.records)
    cells = {cell.cell: cell for view in speech.views for cell in view.cells}
    assert cells.keys() == speech.records_of.keys()
    for key, made in speech.records_of.items():
        assert {record.trial.seed for record in made} >= set(cells[key].score.per_seed)
        assert cells[key].records == tuple(made)
        assert {cell_of(record) for record in made} == {key}


def test_a_reader_is_told_which_pairs_differ_and_what_could_be_seen(speech: Board) -> None:
    tested, power = speech.remarks()
    ranked = [row for row in speech.rows if row.rank]
    pairs = [(a, b) for a, b in pairwise(ranked) if a.ranking_group == b.ranking_group]
    different = sum(b.key in a.better_than for a, b in pairs)
    assert tested.startswith(f"Of {len(pairs)} neighbouring pairs of ranked rows {different} differ significantly")
    assert power.startswith("With 5 seeds a difference of 1.68 paired standard deviations")


@pytest.mark.parametrize("name", ["harmonycloak-midi"])
def test_rows_with_one_seed_leave_the_others_tested(name: str) -> None:
    (found,) = boards([name])
    board = Board(found.suite, found.records, score=1)
    able = [row for row in board.rows if row.best and row.inside and not row.control]
    assert any(row.best and len(row.best.per_seed) == 1 for row in able)
    for one, other in combinations(able, 2):
        assert one.best is not None
        assert other.best is not None
        if one.ranking_group == other.ranking_group:
            shared = one.best.per_seed.keys() & other.best.per_seed.keys()
            assert (other.key in one.untested_against) == (one.key in other.untested_against) == (len(shared) < 2)
    alone = [row for row in able if row.rank is None]
    assert all(row.best and len(row.best.per_seed) == 1 for row in alone)
    assert all(any(row.defense in line and "without a rank" in line for line in board.remarks()) for row in alone)


@pytest.mark.parametrize("count", [3, 5, 10])
def test_the_smallest_difference_seen_is_seen_four_times_in_five(count: int) -> None:
    rng = np.random.default_rng(count)
    draws = rng.normal(smallest_detectable(count), 1.0, (40_000, count))
    t = np.abs(draws.mean(1)) / (draws.std(1, ddof=1) / np.sqrt(count))
    critical = {3: 4.303, 5: 2.776, 10: 2.262}[count]  # a table of Student's t, two-sided 5 %
    assert (t > critical).mean() == pytest.approx(0.8, abs=0.01)
    assert np.isnan(smallest_detectable(1))


def test_the_costs_of_shared_stages_count_once(speech: Board) -> None:
    every = sum(cost["cpu_seconds"] for record in speech.records for cost in record.cost.values())
    assert 0 < speech.cpu_seconds < every


def test_the_summary_in_the_repository_is_that_of_its_records() -> None:
    if not (ROOT / "leaderboards" / "records").is_dir():
        pytest.skip("not a checkout: a wheel has no records")
    text = markdown.summary(boards())
    assert (ROOT / "leaderboards" / "README.md").read_text() == text, (
        "write it anew: bench leaderboard --all --markdown"
    )
    assert text.index("| tones ") < text.index("| no budget |") < text.index("| too loud ")


@pytest.mark.parametrize("name", sorted(suite_files()))
def test_the_pages_in_the_repository_are_those_of_their_records(name: str) -> None:
    (board,) = boards([name])
    place = f"leaderboards/{board.page_link.removesuffix('.md')}"
    assert board.page_command == f"bench matrix {place}.toml --page {place}.md"
    page = markdown.page(board, board.page_command)
    assert board.page_file.read_text() == page, "write it anew: bench leaderboard --all --markdown"


def test_records_stand_in_the_order_of_their_suite(speech: Board) -> None:
    names = [row.trial.row for row in speech.records if not row.trial.reference]
    order = list(dict.fromkeys(names))
    suite = speech.suite
    assert sorted(order, key=suite.defenses.index) == [name for name in suite.defenses if name in order]
    first = [record for record in speech.records if record.trial.attacker.label == suite.attackers[0]]
    assert [record.trial.row for record in first] == sorted(
        (record.trial.row for record in first), key=suite.defenses.index
    )


def test_suites_are_found_by_name_or_file_and_others_are_refused(tmp_path: Path) -> None:
    known = suite_files()
    assert {"digits", "midi", "music"} <= set(known)
    by_name, by_file = boards(["midi"]), boards([str(known["midi"])])
    assert by_name[0].command == by_file[0].command == "bench matrix leaderboards/studies/midi.toml"
    with pytest.raises(UsageError, match="did you mean 'digits'"):
        boards(["digit"])
    with pytest.raises(UsageError, match="does not exist"):
        boards([str(tmp_path / "absent.toml")])
    (tmp_path / "mine.toml").write_text('name = "mine"\nattackers = ["m5"]\n')
    with pytest.raises(DataError, match=r"run `bench matrix .*mine.toml` first"):
        boards([str(tmp_path / "mine.toml")])
    with pytest.raises(UsageError, match="one suite"):
        boards(["digits", "midi"], plugins.home())
