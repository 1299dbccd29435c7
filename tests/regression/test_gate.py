"""The gate: each verdict for its own reason, in its order, and no alarm where nothing happened."""

import itertools
import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_rel

from bench.errors import DataError, UsageError
from bench.regression import baseline as baselines
from bench.regression import junit
from bench.regression.baseline import Baseline
from bench.regression.gate import EXITS, Report, faults, judge
from bench.regression.paired import seeds_that_decide, smallest_drop
from bench.results.cells import Cell
from bench.results.record import CheckRecord, Record
from bench.results.statistics import holm
from bench.results.suite import Limits, suite
from tests.factories import part, trial

SUITE = suite({"name": "mine", "attackers": ["musicgen"]})
PLACE = {"packages": {"torch": "2.11.0", "numpy": "2.0"}, "processor": "a fast one", "accelerator": None}
VOID = CheckRecord(name="learns clean data", passed=False, value=1.2, limit=3.0, meaning="")
Denied = Sequence[float | None]
ITEMS = 12
NAMES = [f"song {number}" for number in range(ITEMS)]


def records(row: str, denied: Denied, *, adaptation: str = "", control: str = "", **more: Any) -> list[Record]:
    """A record a seed with that score, on twelve songs that vary a little.

    `more`: defense (a part), sound, snr, attacker, and fields of `Record`.
    """
    defense, sound = more.pop("defense", part(row)), more.pop("sound", "s")
    snr, attacker = more.pop("snr", 20.0), more.pop("attacker", "learner")
    made = []
    for seed, score in enumerate(denied):
        protected = 1 - (score or 0.0)
        clean = 0.0 if score is None else 1.0  # as good as untrained: no score
        arms = {"clean": [clean] * ITEMS, "protected": [protected] * ITEMS, "untrained": [-0.01, 0.01] * (ITEMS // 2)}
        given: dict[str, Any] = {
            "key": f"{row} {defense.digest} {defense.params}",
            "status": "ok",
            "trial": trial(row, seed=seed, adaptation=adaptation, attacker=attacker, control=control, defense=defense),
            "metric": "accuracy",
            "arms": {arm: {"accuracy": values} for arm, values in arms.items()},
            "ids": NAMES,
            "groups": NAMES,
            "stages": {"protected_set": f"key of {row} {seed}"},
            "alignment": {} if control == "clean" else {"protected_set": f"{sound} {seed}"},
            "audibility": {} if control == "clean" else {"snr_db": [snr, snr]},
            "provenance": PLACE,
        }
        made.append(Record(**{**given, **more}))
    return made


CLEAN = records("clean", [0.0] * 5, control="clean")
USUAL = [0.40, 0.43, 0.38, 0.41, 0.39]


def base(*more: list[Record]) -> Baseline:
    return baselines.from_records(SUITE, [*CLEAN, *itertools.chain(*more)], "as it should be")


def verdict_of(report: Report, row: str = "cloak") -> Any:
    (found,) = [verdict for verdict in report.verdicts if verdict.cell.defense == row]
    return found


def judged(was: list[Record], now: list[Record], **more: Any) -> Any:
    return verdict_of(judge(base(was), [*CLEAN, *now], **more))


def test_the_same_again_is_the_same() -> None:
    report = judge(base(records("cloak", USUAL)), [*CLEAN, *records("cloak", USUAL)])
    assert [verdict.word for verdict in report.verdicts] == ["same", "same"]
    assert report.exit == 0
    assert report.tested == 0  # equal work in the same place, with an equal result, is nothing to test
    assert all(math.isnan(verdict.p) and not verdict.notes for verdict in report.verdicts)


def test_a_real_drop_regresses_and_a_real_gain_must_be_accepted() -> None:
    newer = part("cloak", version=2, digest="1" * 16)
    fell = judged(
        records("cloak", USUAL), records("cloak", [x - 0.10 - i / 500 for i, x in enumerate(USUAL)], defense=newer)
    )
    assert (fell.word, fell.exit) == ("regressed", 1)
    assert fell.drop == pytest.approx(0.104)
    assert "it protects less, by 0.104 (tolerance 0.02), adjusted p" in fell.sentence
    assert "over 5 seeds and 12 held-out items" in fell.sentence
    assert (fell.seeds, fell.items) == (5, ITEMS)
    assert [name for name, *_ in fell.moved] == NAMES[:5]
    assert fell.sets == (("seed 4", "key of cloak 4"), ("seed 4", "key of cloak 4"))
    rose = judged(
        records("cloak", USUAL), records("cloak", [x + 0.10 + i / 500 for i, x in enumerate(USUAL)], defense=newer)
    )
    assert (rose.word, rose.exit) == ("improved", 1)
    assert "accept it" in rose.sentence


def test_p_is_students_one_sided_paired_t_with_holm_over_both_directions() -> None:
    newer: dict[str, Any] = {"defense": part("cloak", version=2, digest="1" * 16)}
    now = [0.30, 0.41, 0.33, 0.37, 0.30]
    found = judged(records("cloak", USUAL), records("cloak", now, **newer))
    falls = float(ttest_rel(USUAL, now, alternative="greater").pvalue)
    assert found.p == pytest.approx(holm([falls, 1 - falls])[0], rel=0.01)  # these items vary hardly at all
    other = records("veil", [0.2] * 5), records("veil", [0.21, 0.19, 0.2, 0.2, 0.22], defense=part("veil", version=2))
    both = judge(base(records("cloak", USUAL), other[0]), [*CLEAN, *records("cloak", now, **newer), *other[1]])
    assert verdict_of(both).p == pytest.approx(4 * falls, rel=0.01)  # two cells, two directions each
    assert both.tested == 2


def test_significant_and_small_is_the_same() -> None:
    now = records("cloak", [x - 0.01 for x in USUAL], defense=part("cloak", version=2))
    found = judged(records("cloak", USUAL), now)
    assert found.p < 1e-6
    assert found.word == "same"
    assert judged(records("cloak", USUAL), now, limits=Limits(tolerance=0.005)).word == "regressed"


def test_large_and_uncertain_is_suspicious_and_says_how_many_seeds_would_decide() -> None:
    now = records("cloak", [0.15, 0.60, 0.20, 0.45, 0.36], defense=part("cloak", version=2))
    found = judged(records("cloak", USUAL), now)
    assert (found.word, found.exit) == ("suspicious", 0)
    drops = np.asarray(USUAL) - np.asarray([0.15, 0.60, 0.20, 0.45, 0.36])
    error = float(drops.std(ddof=1)) / math.sqrt(5)
    assert found.detectable_drop == pytest.approx(smallest_drop(error, 4, 2), rel=0.01)
    assert found.decide == seeds_that_decide(float(drops.mean()), float(drops.std(ddof=1)), 2)
    assert f"{found.decide} seeds would decide" in found.sentence


def test_one_seed_cannot_be_tested_and_is_not_passed_over() -> None:
    found = judged(records("cloak", [0.4]), records("cloak", [0.1], defense=part("cloak", version=2)))
    assert found.word == "suspicious"
    assert "a test over seeds would decide" in found.sentence


@pytest.mark.parametrize("change", [{"sound": "other"}, {"sound": "other", "snr": 21.0}, {}])
def test_changed_code_that_moves_things_wants_a_version(change: dict[str, Any]) -> None:
    scores = USUAL if change else [x + 0.001 for x in USUAL]
    now = records("cloak", scores, defense=part("cloak", digest="1" * 16), **change)
    found = judged(records("cloak", USUAL), now)
    assert (found.word, found.exit) == ("unversioned", 1)
    assert "defense 'cloak' (000000 -> 111111, still version 1)" in found.sentence
    versioned = records("cloak", scores, defense=part("cloak", digest="1" * 16, version=2), **change)
    assert judged(records("cloak", USUAL), versioned).word == "same"


def test_unversioned_comes_before_regressed() -> None:
    now = records("cloak", [x - 0.2 for x in USUAL], defense=part("cloak", digest="1" * 16))
    assert judged(records("cloak", USUAL), now).word == "unversioned"


def test_changed_code_that_moves_nothing_passes_and_says_so() -> None:
    found = judged(records("cloak", USUAL), records("cloak", USUAL, defense=part("cloak", digest="1" * 16)))
    assert found.word == "same"
    assert found.notes == ("code changed, nothing moved",)


def test_a_hash_alone_convicts_only_where_the_baseline_was_made() -> None:
    elsewhere = {**PLACE, "processor": "another one"}
    code = part("cloak", digest="1" * 16)
    was = records("cloak", USUAL)
    assert judged(was, records("cloak", USUAL, defense=code, sound="rounded")).word == "unversioned"
    there = [*records("clean", [0.0] * 5, control="clean", provenance=elsewhere)]

    def on_another(**more: Any) -> Any:
        return verdict_of(
            judge(base(was), [*there, *records("cloak", USUAL, provenance=elsewhere, defense=code, **more)])
        )

    assert on_another(sound="rounded").word == "same"  # the last bit differs from processor to processor
    assert on_another(sound="other", snr=20.1).word == "unversioned"


def test_what_moves_without_code_is_drift() -> None:
    elsewhere = {**PLACE, "packages": {"torch": "2.12.0", "numpy": "2.0"}}
    now = [*records("clean", [0.0] * 5, control="clean", provenance=elsewhere)]
    now += records("cloak", [x + 0.002 * (-1) ** i for i, x in enumerate(USUAL)], provenance=elsewhere, sound="other")
    found = verdict_of(judge(base(records("cloak", USUAL)), now))
    assert found.word == "same"
    assert "drift" in found.notes[0]
    assert "another processor or torch" in found.notes[0]


def test_elsewhere_the_clean_arm_tells_drift_from_change() -> None:
    elsewhere = {**PLACE, "processor": "another one"}
    code, was = part("cloak", digest="1" * 16), records("cloak", USUAL)
    scores = [x + 0.003 * (-1) ** i for i, x in enumerate(USUAL)]

    def there(**more: Any) -> Any:
        now = records("cloak", scores, provenance=elsewhere, defense=code, sound="rounded", **more)
        return judge(base(was), [*records("clean", [0.0] * 5, control="clean", provenance=elsewhere), *now])

    steady = verdict_of(there())
    assert steady.word == "unversioned"  # the clean arm is what it was: this place moves nothing
    drifted = {"clean": [1.001] * ITEMS, "protected": [0.6] * ITEMS, "untrained": [-0.01, 0.01] * (ITEMS // 2)}
    arms = {arm: {"accuracy": values} for arm, values in drifted.items()}
    moves = verdict_of(there(arms=arms))
    assert moves.word == "same"
    assert any("drift" in note for note in moves.notes)
    assert verdict_of(there(arms=arms, snr=20.1)).word == "unversioned"  # what is heard does not drift so far


def test_other_parameters_are_told_and_tested() -> None:
    was, now = (records("cloak", [x - d for x in USUAL], defense=part("cloak", level=n)) for d, n in ((0, 1), (0.1, 2)))
    found = judged(was, now)
    assert found.word == "regressed"
    assert found.notes == ("other parameters than the baseline's: defense",)


def test_missing_cells_and_seeds() -> None:
    held = base(records("cloak", USUAL))
    gone = judge(held, CLEAN)
    assert (verdict_of(gone).word, gone.exit) == ("missing", 3)
    few = judge(held, [*CLEAN, *records("cloak", USUAL[:3])])
    assert verdict_of(few).word == "missing"
    assert "seed 3, 4" in verdict_of(few).sentence
    due = [(Cell("songs", "veil", "white-box", "learner", "none"), 0)]
    assert verdict_of(judge(held, [*CLEAN, *records("cloak", USUAL)], due=due), "veil").word == "missing"


def test_broken_records_and_null_scores() -> None:
    error = {"stage": "learn", "type": "RuntimeError", "message": "out of luck"}
    bad = [
        *records("cloak", USUAL[:4]),
        records("cloak", USUAL)[4].model_copy(update={"status": "failed", "error": error}),
    ]
    found = judged(records("cloak", USUAL), bad)
    assert (found.word, found.exit) == ("broken", 3)
    assert "seed 4 failed: learn: RuntimeError: out of luck" in found.sentence
    unlearnt = judged(records("cloak", USUAL), records("cloak", [*USUAL[:4], None]))
    assert (unlearnt.word, unlearnt.exit) == ("missing", 3)
    assert "control failed, seed 4: validity check 'learns clean data' failed" in unlearnt.sentence
    assert judged(records("cloak", USUAL), bad[1:]).word == "missing"  # a seed that is not there comes first


def test_controls_that_fail() -> None:
    void = judged(records("cloak", USUAL), records("cloak", USUAL, attacker_checks=[VOID]))
    assert (void.word, void.exit) == ("missing", 3)
    assert "learns clean data" in void.sentence
    held = base(records("cloak", USUAL))
    tilted = judge(held, [*records("clean", [0.0, 0.0, 0.01, 0.0, 0.0], control="clean"), *records("cloak", USUAL)])
    assert verdict_of(tilted, "clean").word == "missing"
    assert "must be 0" in verdict_of(tilted, "clean").sentence
    other = records("cloak", USUAL, attacker="stranger")
    assert faults([*CLEAN, *other]) == {
        Cell("songs", "clean", "none", "stranger", "none"): (
            "missing",
            "the clean control is not there: name a clean defense in the suite",
        )
    }
    price = records("clean", [0.1] * 5, control="clean", adaptation="mp3")  # what a response costs is no fault
    assert faults([*CLEAN, *price]) == {}


@pytest.mark.parametrize("kind", ["matched", "scramble"])
def test_a_control_that_moves_is_told_and_not_judged(kind: str) -> None:
    was, now = records("noise", USUAL, control=kind), records("noise", [x - 0.2 for x in USUAL], control=kind)
    report = judge(base(was), [*CLEAN, *now])
    found = verdict_of(report, "noise")
    assert (found.word, found.exit, report.tested) == ("moved", 0, 0)
    assert found.drop == pytest.approx(0.2)
    assert verdict_of(judge(base(was), CLEAN), "noise").word == "missing"  # but there it must be
    code = records("noise", [x - 0.2 for x in USUAL], control=kind, defense=part("noise", digest="1" * 16))
    assert verdict_of(judge(base(was), [*CLEAN, *code]), "noise").word == "unversioned"


def test_a_new_cell_is_to_be_accepted() -> None:
    report = judge(base(records("cloak", USUAL)), [*CLEAN, *records("cloak", USUAL), *records("veil", USUAL)])
    assert (verdict_of(report, "veil").word, report.exit) == ("new", 1)


def test_three_wins_over_one_and_one_over_nothing() -> None:
    held = base(records("cloak", USUAL), records("veil", USUAL))
    fell = records("cloak", [x - 0.2 for x in USUAL], defense=part("cloak", version=2))
    assert judge(held, [*CLEAN, *fell, *records("veil", USUAL)]).exit == 1
    both = judge(held, [*CLEAN, *fell])
    assert both.exit == 3
    assert [verdict.word for verdict in both.verdicts] == ["missing", "regressed", "same"]
    assert set(EXITS.values()) == {0, 1, 3}


def test_a_baseline_survives_its_file(tmp_path: Path) -> None:
    held = base(records("cloak", USUAL))
    held.save(tmp_path / "b.json")
    assert baselines.read(tmp_path / "b.json") == held
    text = (tmp_path / "b.json").read_text()
    assert '"denied": {"0": 0.4, "1": 0.43, "2": 0.38, "3": 0.41, "4": 0.39}' in text  # a line that a diff shows
    assert list(held.held_out) == ["songs / learner"]
    assert held.held_out["songs / learner"].ids == NAMES
    assert '"0": [0.6, 0.6' in text  # the protected arm's items, a line a seed
    assert held.environment == {"torch": "2.11.0", "numpy": "2.0", "processor": "a fast one", "accelerator": "none"}


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema_version": 99}', '{"schema_version": 1, "suite": 3}'])
def test_what_is_no_baseline_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(DataError, match=r"b\.json"):
        baselines.read(tmp_path / "b.json")


def test_junit_is_what_ci_systems_read(tmp_path: Path) -> None:
    held = base(records("cloak", USUAL), records("veil", USUAL), records("mask", USUAL))
    wild = {"stage": "learn", "type": "ValueError", "message": "a\x1b[31mred\x00 <tag> & \ud800 \ufffe end"}
    now = [*CLEAN, *records("cloak", [x - 0.2 for x in USUAL], defense=part("cloak", version=2))]
    now += records("mask", [0.1, 0.6, 0.2, 0.45, 0.36], defense=part("mask", version=2))
    now += [r.model_copy(update={"status": "failed", "error": wild}) for r in records("veil", USUAL)]
    report = judge(held, now)
    junit.write(replace(report, suite="my\x07suite"), tmp_path / "deep" / "j.xml")
    root = ET.parse(tmp_path / "deep" / "j.xml").getroot()
    valid_junit(root)
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert len(cases) == 4
    told = {name: [child.tag for child in case] for name, case in cases.items()}
    assert told["songs: cloak against learner"] == ["failure"]
    assert told["songs: veil against learner"] == ["error"]
    assert told["songs: mask against learner"] == ["system-out"]
    assert told["songs: clean against learner"] == []
    message = cases["songs: veil against learner"][0].get("message") or ""
    assert r"a\x1b[31mred\x00 <tag> & \ud800 \ufffe end" in message
    assert root[0].get("name") == r"my\x07suite"


def valid_junit(root: ET.Element) -> None:
    """The rules of the schema that Jenkins and GitLab read (junit-10.xsd), as far as this document goes."""
    assert root.tag == "testsuites"
    assert set(root.keys()) - {"name", "time", "tests", "failures", "errors", "skipped", "disabled"} == set()
    for suite_ in root:
        assert suite_.tag == "testsuite"
        assert {"name", "tests", "failures", "errors"} <= set(suite_.keys())
        cases = list(suite_)
        assert {case.tag for case in cases} == {"testcase"}
        assert int(suite_.get("tests") or 0) == len(cases)
        for tag, count in (("failure", "failures"), ("error", "errors")):
            assert int(suite_.get(count) or 0) == len(suite_.findall(f"testcase/{tag}"))
        for case in cases:
            assert {"name", "classname"} <= set(case.keys())
            assert float(case.get("time") or "x") >= 0
            assert [child.tag for child in case] in ([], ["failure"], ["error"], ["system-out"])
            assert all(child.get("type") for child in case if child.tag != "system-out")


def test_records_of_another_device_are_not_compared() -> None:
    elsewhere = {**PLACE, "accelerator": "NVIDIA H200"}
    there = [each.model_copy(update={"provenance": elsewhere}) for each in [*CLEAN, *records("cloak", USUAL)]]
    with pytest.raises(UsageError, match="made on processors, these records on NVIDIA H200, and scores of different"):
        judge(base(records("cloak", USUAL)), there)
    with pytest.raises(UsageError, match="these records on NVIDIA H200, processors"):  # some there, some here
        judge(base(records("cloak", USUAL)), [*CLEAN, *there[len(CLEAN) :]])
    accepted = baselines.from_records(SUITE, there, "why")
    assert judge(accepted, there).exit == 0
