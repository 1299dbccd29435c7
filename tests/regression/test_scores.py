"""What the gate compares: held-out items by seed, learning denied or worth, in a baseline's file and between runs."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import UsageError
from bench.regression import baseline as baselines
from bench.regression.baseline import Baseline, measured
from bench.regression.gate import faults, judge
from bench.regression.heldout import packed, unpacked
from bench.regression.text import WORTH, report_lines, rows
from bench.results.record import Number, Record
from bench.results.suite import Limits, suite
from bench.results.threat import ThreatModel
from benchmarks.gate_power import Spread, false_alarms, smallest
from tests.factories import part, trial

ITEMS, SEEDS = 40, 5
SUITE: dict[str, Any] = {"name": "mine", "attackers": ["learner"]}
THREAT = ThreatModel(published=32, granted=8, sizes=(4, 8, 16))
LEVELS = {0: 0.2, 4: 0.35, 8: 0.5, 16: 0.65}  # of the clean curve; .8 at 32
PLACE = {"packages": {"torch": "2", "numpy": "2"}, "processor": "one", "accelerator": None}


def qualities(level: float, *draw: int) -> list[Number]:
    """One quality an item around a level, the same for the same draw."""
    noise = np.random.default_rng([int(1000 * level), *draw]).normal(0.0, 0.05, ITEMS)
    return [float(value) for value in np.round(level + noise, 4)]


def records(
    row: str,
    protected: float,
    *,
    threat: ThreatModel | None = None,
    draw: int = 0,
    names: list[str] | None = None,
    control: str = "",
    levels: dict[int, float] = LEVELS,
    gap: int = 0,
) -> list[Record]:
    """A record a seed of a defense whose protected arm reaches this quality; `gap` of its items are missing."""
    ids = names or [f"item {number}" for number in range(ITEMS)]
    made = []
    for seed in range(SEEDS):
        clean = qualities(0.8, seed)
        arm = clean if control == "clean" else qualities(protected, seed, draw)
        arm = [None if number < gap else value for number, value in enumerate(arm)]
        version = 1 + draw
        defense = part(row, version=version, digest=f"{draw:016d}")
        what = trial(row, seed=seed, control=control, defense=defense).model_copy(update={"threat": threat})
        arms = {"clean": clean, "protected": arm, "untrained": qualities(0.1, seed)}
        curve = {str(size): {"accuracy": qualities(level, seed)} for size, level in levels.items()} if threat else {}
        made.append(
            Record(
                key=f"{row} {draw}",
                status="ok",
                trial=what,
                metric="accuracy",
                arms={name: {"accuracy": values} for name, values in arms.items()},
                curve=curve,
                ids=ids,
                groups=ids,
                provenance=PLACE,
            )
        )
    return made


def accepted(*more: list[Record], threat: ThreatModel | None = None) -> Baseline:
    clean = records("clean", 0.8, threat=threat, control="clean")
    definition = suite({**SUITE, **({"threat": threat.model_dump()} if threat else {})})
    return baselines.from_records(definition, [*clean, *itertools.chain(*more)], "why")


def judged(held: Baseline, now: list[Record], threat: ThreatModel | None = None, **more: Any) -> Any:
    report = judge(held, [*records("clean", 0.8, threat=threat, control="clean"), *now], **more)
    return next(verdict for verdict in report.verdicts if verdict.cell.defense == "cloak")


@pytest.mark.parametrize("values", [[1.0, 0.0, None, 1.0], [-4.25, 0.5, None], [], [0.0]])
def test_qualities_survive_the_file(values: list[Number]) -> None:
    there = json.loads(json.dumps(packed(values)))
    np.testing.assert_array_equal(unpacked(there), [math.nan if value is None else value for value in values])
    assert packed([1.0, 0.0, None]) == "10-"
    with pytest.raises(ValueError, match="hold '2'"):
        unpacked("012")


def test_arms_that_cells_share_stand_once() -> None:
    held = accepted(records("cloak", 0.5), records("veil", 0.6))
    assert list(held.held_out) == ["songs / learner"]
    assert {cell.held_out for cell in held.cells} == {"songs / learner"}
    other = records("veil", 0.6, names=[f"other {number}" for number in range(ITEMS)])
    assert list(measured([*records("cloak", 0.5), *other]).held_out) == ["songs / learner", "songs / learner (2)"]


def test_other_items_are_compared_by_seeds_alone_and_said_to_be() -> None:
    held = accepted(records("cloak", 0.5))
    renamed = [f"item {number + 1}" for number in range(ITEMS)]
    found = judged(held, records("cloak", 0.6, draw=1, names=renamed))
    assert (found.word, found.items) == ("regressed", 0)
    assert any("(1 of 40 gone, 1 new): compared by seeds alone" in note for note in found.notes)
    assert judged(held, records("cloak", 0.6, draw=1)).items == ITEMS


def test_missing_items_are_counted_for_the_attacker_and_said() -> None:
    held = accepted(records("cloak", 0.5))
    found = judged(held, records("cloak", 0.5, draw=1, gap=10))
    assert any("missing: 0 in the baseline, 50 now; counted in the attacker's favour" in note for note in found.notes)
    assert found.drop > 0.05  # ten of forty items count as if nothing had been denied on them
    assert found.word == "regressed"


def test_a_baseline_of_schema_1_is_read_and_compared_by_seeds(tmp_path: Path) -> None:
    data = json.loads(accepted(records("cloak", 0.5)).text())
    for name in ("held_out", "threats"):
        del data[name]
    for cell in data["cells"]:
        for name in ("held_out", "qualities", "worth"):
            del cell[name]
        cell["items"] = [0.5] * ITEMS
    data |= {"schema_version": 1, "ids": {"songs / learner": [f"item {number}" for number in range(ITEMS)]}}
    (tmp_path / "b.json").write_text(json.dumps(data))
    held = baselines.read(tmp_path / "b.json")
    now = [*records("clean", 0.8, control="clean"), *records("cloak", 0.6, draw=1)]
    report = judge(held, now)
    found = next(verdict for verdict in report.verdicts if verdict.cell.defense == "cloak")
    assert (found.word, found.items) == ("regressed", 0)
    lines = [line for line in report_lines(report, held, suite(SUITE), str) if "accept anew" in line]
    assert lines == [
        "the baseline is of an older form, without held-out items: cells are compared by seeds alone; accept anew"
    ]


def test_under_a_threat_model_worth_is_compared_in_words() -> None:
    held = accepted(records("cloak", 0.5, threat=THREAT), threat=THREAT)
    same = judged(held, records("cloak", 0.5, threat=THREAT), THREAT)
    assert (same.word, same.drop) == ("same", 0.0)
    assert same.sentence.startswith("worth 8 (")
    now = records("cloak", 0.65, threat=THREAT, draw=1)
    found = judged(held, now, THREAT)
    assert found.word == "regressed"
    assert found.baseline_score == pytest.approx(8, abs=0.5)
    assert found.score == pytest.approx(16, abs=1)
    assert found.drop == pytest.approx(math.log(24 / 16), abs=0.05)  # on the curve's axis, log(N + granted)
    assert "worth rose from 8 (" in found.sentence
    assert "a factor of 1.5" in found.sentence
    loose = judged(held, now, THREAT, limits=Limits(factor=2.0))
    assert loose.word == "same"
    better = judged(held, records("cloak", 0.2, threat=THREAT, draw=1), THREAT)
    assert better.word == "improved"
    assert math.isfinite(better.drop)  # at a worth of 0
    report = judge(held, [*records("clean", 0.8, threat=THREAT, control="clean"), *now])
    line = next(line for line in rows(report)[1] if "cloak" in line[0])
    assert line[1].startswith("8 (")
    assert line[3] == f"x {math.exp(found.drop):.2f}"
    assert WORTH in "\n".join(report_lines(report, held, suite(SUITE), str))


def test_a_void_worth_is_a_failed_control_and_another_threat_model_is_refused() -> None:
    flat = dict.fromkeys(LEVELS, 0.8)
    (fault,) = {word_and_line for word_and_line in faults(records("cloak", 0.5, threat=THREAT, levels=flat)).values()
                if "void" in word_and_line[1]}  # fmt: skip
    assert fault[0] == "missing"
    assert fault[1].startswith("control failed: void, publishing adds: ")
    more = THREAT.model_copy(update={"granted": 9})
    held = accepted(records("cloak", 0.5, threat=THREAT), threat=THREAT)
    with pytest.raises(UsageError, match=r"8 granted .* these records were made with 32 items published, 9 granted"):
        judged(held, records("cloak", 0.5, threat=more), more)
    with pytest.raises(UsageError, match="these records were made without a threat model: accept a baseline anew"):
        judged(held, records("cloak", 0.5))


def test_the_baseline_holds_worth_and_curve(tmp_path: Path) -> None:
    held = accepted(records("cloak", 0.5, threat=THREAT), threat=THREAT)
    held.save(tmp_path / "b.json")
    assert baselines.read(tmp_path / "b.json") == held
    worth = next(cell.worth for cell in held.cells if cell.defense == "cloak")
    assert worth[1] <= worth[0] <= worth[2]  # type: ignore[operator]
    assert set(held.held_out["songs / learner"].arms) == {"clean", "untrained", "0", "4", "8", "16"}


def test_alarms_are_rare_and_eleven_seeds_see_half_the_drop_that_five_did() -> None:
    """The full simulation is benchmarks/gate_power.py; the spreads are those of ci.toml's classifier."""
    cells = [Spread(f"cell {number}", 11, 51, 0.1, 0.1, 0.3) for number in range(5)]
    draws = 400
    limit = 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / draws)
    for shared in (0.0, 0.5):
        assert 0 < false_alarms(cells, shared, draws) <= limit
    assert false_alarms(cells, 1.0, draws=2) == 0
    drops = smallest(cells[0], factor=10, shared=0.0, draws=draws)
    assert drops.earlier / drops.now > 2 - 0.2  # 2.1 by the noncentral t; the quantile of 400 draws varies by 4 %
    assert drops.by_items == pytest.approx(drops.earlier, rel=0.05)  # seeds decide: items alone do not help
