"""Worth from records: which arms it reads, which model is chosen, and what the controls come to."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.results import table, worths
from bench.results.arms import Arm
from bench.results.board import boards
from bench.results.curve import CleanCurve
from bench.results.record import Record
from bench.results.worth import worth
from bench.results.worths import RowWorth, row_worths
from bench.trials.run import execute, prepare
from bench.trials.store import Store
from bench.trials.trial import Trial
from bench.vocabulary import Control

THREAT = {"published": 12, "granted": 6, "sizes": [3, 6]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("worths")


@pytest.fixture
def records(small_trials: Callable[..., tuple[Trial, ...]], folder: Path) -> list[Record]:
    """Two seeds of clean and hiss, with a response that halves the sound; from the store after the first test."""
    trials = small_trials(defenses=["clean", "hiss"], adaptations=["none", "halves"], threat=THREAT)
    return execute(prepare(trials, Store(folder / "store")), folder / "records", lambda event: None, jobs=1)


def test_every_defense_has_a_worth_over_its_responses_and_seeds(records: list[Record]) -> None:
    rows = {row.defense: row for row in row_worths(records)}
    assert set(rows) == {"clean", "hiss"}
    for row in rows.values():
        assert row.seeds == (0, 1)
        assert row.curve.sizes == (0, 3, 6, 12)
        assert row.curve.granted == 6
        assert 0 <= row.worth.items.low <= row.worth.items.mean <= row.worth.items.high <= 12
        assert row.response in ("linear", "linear + halves")


def test_the_clean_control_is_worth_all_of_it_under_every_response(records: list[Record]) -> None:
    """Its curve is chosen among the same responses: what improves the attacker on clean items too is no attack."""

    def improved(record: Record) -> Record:
        if record.trial.adaptation is None:
            return record
        better = {record.metric: [9.0] * len(record.ids)}, {record.metric: [9.0] * 3}
        arms = {**record.arms, Arm.CLEAN_ADAPTED: better[0]}
        arms |= {Arm.PROTECTED: better[0]} if record.trial.control.is_clean else {}
        granted = {**record.granted, Arm.CLEAN_ADAPTED: better[1], Arm.PROTECTED: better[1]}
        return record.model_copy(update={"arms": arms, "granted": granted})

    for found in (records, [improved(record) for record in records]):
        clean = next(row for row in row_worths(found) if row.defense == "clean")
        assert clean.worth.items.high == 12
        assert clean.worth.denied.mean == pytest.approx(0.0, abs=1e-9)


def test_the_response_is_chosen_by_the_granted_items_alone(records: list[Record]) -> None:
    def changed(record: Record, granted: float, test: float) -> Record:
        values = {record.metric: [granted] * 3}
        arms = {**record.arms, "protected": {record.metric: [test] * len(record.ids)}}
        return record.model_copy(update={"granted": {**record.granted, "protected": values}, "arms": arms})

    best_on_granted = [
        changed(record, 5.0, -3.0) if record.trial.adaptation else changed(record, 1.0, -1.0) for record in records
    ]
    for row in row_worths(best_on_granted):
        assert row.response == "linear + halves"
        assert row.worth.protected == pytest.approx(-3.0)


def test_attackers_that_share_a_scale_have_one_curve_of_the_better_model(records: list[Record]) -> None:
    def accuracy(record: Record, attacker: str, quality: float) -> Record:
        count = len(record.ids)
        values, three = {"accuracy": [quality] * count}, {"accuracy": [quality] * 3}
        trial = record.trial.model_copy(
            update={"attacker": record.trial.attacker.model_copy(update={"label": attacker})}
        )
        return record.model_copy(
            update={
                "metric": "accuracy",
                "trial": trial,
                "arms": {str(arm): values for arm in (Arm.CLEAN, Arm.PROTECTED, Arm.UNTRAINED)},
                "curve": dict.fromkeys(record.curve, values),
                "granted": dict.fromkeys(record.granted, three),
            }
        )

    plain = [record for record in records if record.trial.adaptation is None]
    both = [accuracy(record, name, level) for record in plain for name, level in (("weak", 0.3), ("strong", 0.9))]
    rows = row_worths(both)
    assert [row.defense for row in rows] == ["hiss", "clean"]  # controls last
    for row in rows:
        assert row.attackers == ("weak", "strong")
        assert row.response == "strong"
        assert row.curve.means == pytest.approx([0.9] * 4)
        assert [check.name for check in row.worth.void] == ["publishing adds", "not saturated"]


def _row(record: Record, defense: str, quality: float, control: Control = Control.NONE) -> Record:
    """A record whose clean curve rises from -1 to 0 and whose protected arm has a quality."""
    label = record.trial.defense.model_copy(update={"label": defense})
    trial = record.trial.model_copy(update={"defense": label, "control": control})
    noise = [0.01 * (at % 3) for at in range(len(record.ids))]
    values = {record.metric: [quality + each for each in noise]}
    curve = {size: {record.metric: [-1.0 + 0.1 * at] * len(record.ids)} for at, size in enumerate(record.curve)}
    clean = {record.metric: [0.0] * len(record.ids)}
    arms = {**record.arms, "protected": values, "clean": clean}
    return record.model_copy(update={"trial": trial, "arms": arms, "curve": curve})


def test_rows_are_ranked_by_quality_paired_by_seed_and_item_and_controls_are_not(records: list[Record]) -> None:
    hiss = [record for record in records if record.trial.adaptation is None and not record.trial.control]
    changed_rows = [
        _row(record, name, quality) for record in hiss for name, quality in (("weak", -0.2), ("strong", -0.7))
    ]
    changed_rows += [_row(record, "noise", -0.9, Control.MATCHED) for record in hiss]
    rows = row_worths(changed_rows)
    assert [(each.defense, each.rank) for each in rows] == [("strong", (1, 1)), ("weak", (2, 2)), ("noise", None)]
    assert rows[0].worth.share < rows[1].worth.share
    loud = row_worths(changed_rows, table.rows(changed_rows, {"snr_db": 1e9}))  # no noise is as soft as that
    assert {each.rank for each in loud} == {None}


@pytest.mark.parametrize(("quality", "void"), [(-0.8, False), (-0.5, True)])
def test_rows_beside_scrambled_items_that_teach_a_third_are_void(
    records: list[Record], quality: float, void: bool
) -> None:
    hiss = [record for record in records if record.trial.adaptation is None and not record.trial.control]
    changed = [_row(record, "hiss", -0.4) for record in hiss]
    changed += [_row(record, "scramble", quality, Control.SCRAMBLE) for record in hiss]
    for row in row_worths(changed):
        assert ("scrambled items teach less" in [check.name for check in row.worth.void]) == void
    alone = row_worths(changed[: len(hiss)])
    assert "scrambled items teach less" not in [check.name for check in alone[0].worth.checks]


def test_records_without_a_threat_model_and_failed_ones_have_no_worth(records: list[Record]) -> None:
    without = [
        record.model_copy(update={"trial": record.trial.model_copy(update={"threat": None})}) for record in records
    ]
    assert row_worths(without) == []
    failed = [record.model_copy(update={"status": "failed"}) for record in records]
    assert row_worths(failed) == []


def test_seeds_without_a_choice_and_items_without_a_quality_are_left_out_and_counted(records: list[Record]) -> None:
    def blank(record: Record) -> Record:
        """No number for the first item in any arm; in seed 1 none on the granted items either."""
        arms = {arm: {record.metric: [None, *metrics[record.metric][1:]]} for arm, metrics in record.arms.items()}
        curve = {size: {record.metric: [None, *metrics[record.metric][1:]]} for size, metrics in record.curve.items()}
        none: dict[str, list[float | None]] = {record.metric: [None] * 3}
        granted = dict.fromkeys(record.granted, none) if record.trial.seed == 1 else record.granted
        return record.model_copy(update={"arms": arms, "curve": curve, "granted": granted})

    for row in row_worths([blank(record) for record in records]):
        assert row.seeds == (0,)
        assert row.worth.missing == 5  # four sizes and the protected arm
        assert row.curve.qualities.shape[2] == row.protected.shape[1] == len(records[0].ids) - 1
    lost = [record for record in map(blank, records) if record.trial.seed == 1]
    assert row_worths(lost) == []


def of_quality(name: str, mean: float, seeds: tuple[int, ...], control: bool = False) -> RowWorth:
    """A row whose attacker has that quality on average, beside a clean curve from .2 to .8; noise as in all others."""
    rng = np.random.default_rng(3)
    noise = rng.normal(0.0, 0.05, (5, 40))[: len(seeds)]
    values = {size: level + noise for size, level in {0: 0.2, 6: 0.5, 12: 0.8}.items()}
    curve = CleanCurve(tuple(values), np.stack(list(values.values())), granted=4)
    protected = mean + noise + rng.normal(0.0, 0.02, (5, 40))[: len(seeds)]
    return RowWorth(
        "d", name, "white-box", ("m5",), "m5", "accuracy", seeds, worth(curve, protected), curve, protected,
        tuple(map(str, range(40))), "clip", control,
    )  # fmt: skip


def test_a_row_is_compared_with_the_strongest_of_its_matched_controls() -> None:
    row = of_quality("hiss", 0.35, (0, 1, 2))
    controls = [of_quality("noise ~ hiss", 0.7, (0, 1, 2), True), of_quality("random ~ hiss", 0.5, (0, 1), True)]
    beyond = worths._beside_matched(row, controls).beyond
    assert beyond is not None
    assert beyond.mean == pytest.approx((0.5 - 0.35) / 0.6, abs=0.02)  # of what publishing adds
    assert beyond.low > 0.2
    assert beyond.high < 0.3, "what seeds and items have in common cancels"
    other = replace(controls[0], groups=tuple("x" * 40))
    assert worths._beside_matched(row, [other]).beyond is None
    assert worths._beside_matched(row, [replace(controls[0], seeds=(7, 8, 9))]).beyond is None


def test_the_rows_of_a_suite_stand_beside_their_own_controls() -> None:
    (board,) = boards(["dynamic-epsilon"])
    by_name = {row.defense: row for row in board.worths}
    for name, row in by_name.items():
        control = by_name.get(f"noise ~ {name}")
        assert (row.beyond is None) == (control is None)
        if control is not None and row.beyond is not None:
            assert row.beyond.mean == pytest.approx(row.worth.denied.mean - control.worth.denied.mean, abs=0.02)
