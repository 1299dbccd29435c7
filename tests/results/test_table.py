"""Tables: the best response is the minimum, void cells do not count, the loud are not ranked."""

import math
from pathlib import Path
from typing import Any

import pytest

from bench.errors import DataError
from bench.report.columns import main_table, response_table
from bench.results import table
from bench.results.board import Board
from bench.results.formats import DASH
from bench.results.reading import load_all
from bench.results.record import CheckRecord, Record
from bench.results.suite import Suite
from bench.results.views import RowView
from tests.factories import trial


def made(row: str, protected: float, *, seed: int = 0, adaptation: str = "", **more: Any) -> Record:
    """A record in which the clean arm has quality 1, the untrained 0, the protected what is asked for."""
    control = more.pop("control", "")
    attacker = more.pop("attacker", "learner")
    # Ten items of ten groups, all alike: the interval is over seeds.
    arms = {arm: {"nll": [value] * 10} for arm, value in (("clean", 1.0), ("protected", protected), ("untrained", 0.0))}
    given: dict[str, Any] = {
        "key": "k",
        "status": "ok",
        "trial": trial(row, seed=seed, adaptation=adaptation, attacker=attacker, control=control),
        "metric": "nll",
        "arms": arms,
        "ids": [str(i) for i in range(10)],
        "groups": [str(i) for i in range(10)],
        "audibility": {"snr_db": [20.0] * 10},
        "distance": {"protected_set": {"kad[logmel]": 1.0}},
        "stages": {"protected_set": "p", "audit": "a"},
        "cost": {"protected_set": {"cpu_seconds": 2.0}, "audit": {"cpu_seconds": 7.0}},
    }
    return Record(**{**given, **more})


def views(records: list[Record], budget: dict[str, float] | None = None) -> tuple[RowView, ...]:
    return Board(Suite(budget=budget or {}), tuple(records)).views


def seeds(row: str, *values: float, **more: Any) -> list[Record]:
    return [made(row, value, seed=seed, **more) for seed, value in enumerate(values)]


def test_a_defense_is_worth_what_the_best_response_leaves() -> None:
    records = [
        *seeds("cloak", 0.2, 0.21, 0.19),
        *seeds("cloak", 0.7, 0.71, 0.69, adaptation="mp3"),
        *seeds("cloak", 0.4, 0.4, 0.4, attacker="other"),
    ]
    (row,) = table.rows(records)
    assert row.best is not None
    assert row.best.response == "learner + mp3"
    assert row.best.denied.mean == pytest.approx(0.3)
    headings, body = main_table(views(records))
    assert "learner + mp3" in body[0]
    assert "+0.300" in body[0]
    assert len(headings) == len(body[0])


def test_a_void_cell_is_shown_and_does_not_count() -> None:
    gate = CheckRecord(name="learns clean data", passed=False, value=1.0, limit=3.0, meaning="")
    records = [*seeds("cloak", 0.9, 0.9, adaptation="mp3", attacker_checks=[gate]), *seeds("cloak", 0.5, 0.5)]
    (row,) = table.rows(records)
    assert row.best is not None
    assert row.best.response == "learner"
    assert any("(void)" in cell for cell in response_table(views(records))[1][0])
    (alone,) = table.rows(seeds("cloak", 0.9, 0.9, attacker_checks=[gate]))
    assert alone.best is None
    line = main_table(views(seeds("cloak", 0.9, 0.9, attacker_checks=[gate])))[1][0]
    assert line[0] == "void"
    assert "+0.100" in line  # shown all the same
    assert table.check_summaries(records)[0].passed is False


def test_rows_outside_the_budget_and_controls_are_not_ranked() -> None:
    quiet, loud = {"snr_db": [30.0] * 10}, {"snr_db": [5.0] * 10}
    records = [
        *seeds("loud", 0.0, 0.01, 0.0, audibility=loud),
        *seeds("quiet", 0.5, 0.51, 0.49, audibility=quiet),
        *seeds("silent", 0.9, 0.91, 0.89, audibility={"snr_db": [None] * 10}),
        *seeds("clean", 1.0, 1.0, 1.0, control="clean", audibility={}),
    ]
    rows = views(records, {"snr_db": 20.0})
    ranks = {line[1]: line[0] for line in main_table(rows)[1]}
    assert ranks == {"quiet": "1", "silent": "2", "loud": "too loud", "clean": "control"}
    assert [view.row.defense for view in rows] == ["quiet", "silent", "loud", "clean"]


def test_what_is_longer_goes_down_the_page() -> None:
    many = [*seeds("cloak", 0.5), *seeds("cloak", 0.4, adaptation="mp3"), *seeds("cloak", 0.3, adaptation="trim")]
    headings, body = response_table(views(many))
    assert headings == ["response", "cloak"]
    assert [line[0] for line in body] == ["learner", "learner + mp3", "learner + trim"]
    headings, body = response_table(views([*seeds("a", 0.5), *seeds("b", 0.4)]))
    assert headings == ["defense", "knowledge", "learner"]
    assert sorted(line[0] for line in body) == ["a", "b"]


def test_noise_that_copies_the_signal_has_a_column_that_says_so() -> None:
    honest, copy = ({"snr_db": [9.0] * 10, "correlation": [value] * 10} for value in (0.02, 0.6))
    headings, body = main_table(views([*seeds("a", 0.5, audibility=honest), *seeds("b", 0.4, audibility=copy)]))
    assert {line[headings.index("noise-signal correlation")] for line in body} == {"+0.02", "+0.60"}
    assert "noise-signal correlation" not in main_table(views(seeds("a", 0.5, audibility=honest)))[0]


def test_a_failed_trial_is_not_hidden() -> None:
    good, bad = seeds("cloak", 0.5, 0.5)
    bad = bad.model_copy(update={"status": "failed", "arms": {}, "metric": "", "audibility": {}, "cost": {}})
    (row,) = table.rows([good, bad])
    assert row.cells[0].failed == 1
    assert len(row.cells[0].per_seed) == 1
    assert "failed" in main_table(views([bad]))[1][0]
    assert "failed" in response_table(views([bad]))[1][0]


def _check(passed: bool, value: float | None) -> CheckRecord:
    return CheckRecord(name="plays in tune", passed=passed, value=value, limit=3.0, meaning="")


def test_a_void_row_says_void_and_why_and_keeps_its_arms() -> None:
    arms = {arm: {"nll": [0.5] * 10} for arm in ("clean", "protected", "untrained")}
    records = seeds("cloak", 0.5, 0.5, arms=arms)
    rows = views(records)
    headings, body = main_table(rows)
    line = dict(zip(headings, body[0], strict=True))
    assert (line["rank"], line["denied, score 1"], line["95 % interval"]) == ("void", DASH, DASH)
    assert (line["quality, clean"], line["quality, protected"], line["quality, untrained"]) == (
        "0.5000",
        "0.5000",
        "0.5000",
    )
    assert response_table(rows)[1][0][-1] == "– (void)"
    (why,) = table.void_reasons(table.rows(records), records)
    assert why.startswith("void: cloak on songs has no score: 'learns clean data' failed for learner, seed 0 (0.000")
    assert "failed" not in str(body)
    assert table.void_reasons(table.rows(seeds("cloak", 0.5)), seeds("cloak", 0.5)) == []


def test_the_worst_seed_of_a_check_is_the_one_furthest_below_its_limit() -> None:
    values = [2.9, 0.0, 4.0]
    checks = [[_check(value > 3, value)] for value in values]
    records = [made("cloak", 0.5, seed=at, attacker_checks=own) for at, own in enumerate(checks)]

    def worst(records: list[Record]) -> tuple[float, float, bool]:
        _, check = table.check_summaries(records)
        return check.value, check.limit, check.passed

    assert worst(records) == (0.0, 3.0, False)
    assert worst(records[2:]) == (4.0, 3.0, True)
    unknown = [*records, made("cloak", 0.5, seed=3, attacker_checks=[_check(False, None)])]
    value, limit, passed = worst(unknown)
    assert math.isnan(value)
    assert (limit, passed) == (3.0, False)


def test_a_missing_item_is_counted_shown_and_keeps_the_cell_in_the_minimum() -> None:
    whole = seeds("cloak", 0.5, 0.5, adaptation="mp3")
    lost = made("cloak", 0.9, seed=0)
    arms = {**lost.arms, "protected": {"nll": [None, *[0.9] * 9]}}
    records = [*whole, lost.model_copy(update={"arms": arms}), made("cloak", 0.9, seed=1)]
    best = table.rows(records)[0].best
    assert best is not None
    assert best.response == "learner"
    assert best.denied.mean == pytest.approx((0.09 + 0.1) / 2)  # the missing item counts as fully learned
    headings, body = main_table(views(records))
    assert body[0][headings.index("missing items")] == "1"
    assert "(1 items missing)" in str(response_table(views(records))[1])


@pytest.mark.parametrize("copy", ["{} (1).json", "{} copy.json", "{} (conflicted copy 2026-01-01).json"])
def test_copies_of_a_record_do_not_count_as_seeds(tmp_path: Path, copy: str) -> None:
    record = made("cloak", 0.5)
    file = record.save(tmp_path)
    assert load_all(tmp_path) == [record]
    (tmp_path / copy.format(file.stem)).write_text(file.read_text())
    with pytest.raises(DataError, match=r"hold the same trial, .*remove one"):
        load_all(tmp_path)
    file.unlink()
    with pytest.raises(DataError, match=r"a renamed copy\?"):
        load_all(tmp_path)


def test_what_protecting_costs_is_protecting_alone_and_unknown_where_auditing_was_part_of_it() -> None:
    (row,) = table.rows(seeds("cloak", 0.5, 0.5))
    assert row.seconds == 2.0
    (old,) = table.rows(seeds("cloak", 0.5, 0.5, stages={"protected_set": "p"}))
    assert math.isnan(old.seconds)
    (mixed,) = table.rows([*seeds("cloak", 0.5), *seeds("cloak", 0.5, stages={"protected_set": "p"})])
    assert mixed.seconds == 2.0
