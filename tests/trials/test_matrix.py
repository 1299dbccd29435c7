"""A suite expands into the cells that can be, and says what cannot."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from bench.results.suite import Suite, suite
from bench.trials.matrix import expand
from bench.trials.plan import plan

PLUGINS = Path(__file__).resolve().parents[1] / "plugins"
Make = Callable[..., Suite]


def test_every_cell_once_with_matched_controls(small_suite: Make) -> None:
    trials = expand(small_suite(controls=["noise"], adaptations=["none", "quieter"], seeds=[0, 1, 2])).trials
    rows = [trial.row for trial in trials]
    assert {row: rows.count(row) for row in rows} == {"clean": 6, "hiss": 6, "noise ~ hiss": 6}
    control = next(trial for trial in trials if trial.row == "noise ~ hiss")
    assert control.reference is not None
    assert control.reference.title == "hiss"


def test_variants_of_one_defense_are_rows_of_their_own(small_suite: Make) -> None:
    file = str(PLUGINS / "hiss.py")
    given = {"soft": {"plugin": file, "epsilon": 0.01}, "loud": {"plugin": file, "epsilon": 0.2}}
    made = small_suite(defenses=["soft", "loud"], seeds=[0]).model_copy(update={"defense": given})
    assert {trial.row: trial.defense.params["epsilon"] for trial in expand(made).trials} == {"soft": 0.01, "loud": 0.2}


def test_excluded_cells_are_left_out(small_suite: Make) -> None:
    for adaptation in ("quieter", ["quieter", "louder"]):
        rule = {"defense": "hiss", "adaptation": adaptation}
        trials = expand(small_suite(adaptations=["none", "quieter"], exclude=[rule], seeds=[0])).trials
        cells = {(trial.row, trial.adaptation.title if trial.adaptation else "none") for trial in trials}
        assert cells == {("clean", "none"), ("clean", "quieter"), ("hiss", "none")}


def test_a_preset_gives_defaults_and_the_suite_overrides_them(small_suite: Make) -> None:
    (trial,) = expand(small_suite(preset="smoke", defenses=["hiss"], seeds=[0])).trials
    assert trial.attacker.params["steps"] == 10
    (trial,) = expand(
        small_suite(preset="smoke", defenses=["hiss"], seeds=[0], attacker={"linear": {"steps": 7}})
    ).trials
    assert trial.attacker.params["steps"] == 7
    assert trial.attacker.given == {"steps": 7}


def test_knowledge_decides_the_surrogates(small_suite: Make, tmp_path: Path) -> None:
    (white,) = expand(small_suite(defenses=["hiss"], seeds=[0])).trials
    assert [part.title for part in white.surrogates] == ["linear"]
    (blind,) = expand(small_suite(defenses=["hiss"], seeds=[0], knowledge=["none"])).trials
    assert blind.surrogates == ()
    with pytest.raises(UsageError, match="black-box against 'linear' needs other attackers"):
        expand(small_suite(defenses=["hiss"], seeds=[0], knowledge=["black-box"]))
    second = tmp_path / "second.py"
    second.write_text((PLUGINS / "linear.py").read_text())
    made = small_suite(defenses=["hiss"], seeds=[0], knowledge=["black-box"]).model_copy(
        update={"attackers": ["linear", "second"], "attacker": {
            "linear": {"plugin": str(PLUGINS / "linear.py")}, "second": {"plugin": str(second)}}}
    )  # fmt: skip
    bags = {trial.attacker.title: [part.title for part in trial.surrogates] for trial in expand(made).trials}
    assert bags == {"linear": ["second"], "second": ["linear"]}
    both = expand(made.model_copy(update={"knowledge": ["ensemble"]})).trials
    assert [[part.title for part in trial.surrogates] for trial in both] == [["linear", "second"]] * 2
    assert (
        sum(stage.task == "protect" for stage in plan(both).stages.values()) == 1
    )  # one protected set for all attackers


def test_a_defense_may_expect_other_adaptations_than_the_suite(small_suite: Make) -> None:
    file = str(PLUGINS / "hiss.py")
    given = {"ready": {"plugin": file}, "blind": {"plugin": file, "expects": []}}
    made = small_suite(defenses=["clean", *given], seeds=[0], expects=["mp3"]).model_copy(update={"defense": given})
    found = {trial.row: [part.title for part in trial.expects] for trial in expand(made).trials}
    assert found == {"clean": [], "ready": ["mp3"], "blind": []}
    with pytest.raises(UsageError, match="expected a list of adaptations"):
        suite({"attackers": ["musicgen"], "defenses": ["noise"], "defense": {"noise": {"expects": "mp3"}}})


def test_plugins_of_another_domain_are_left_out_by_name(small_suite: Make, tmp_path: Path) -> None:
    notes = tmp_path / "notes.py"
    source = (PLUGINS / "hiss.py").read_text()
    source = source.replace("class Hiss(Defense[Clips]):", "class Notes(Defense[Rolls]):\n    domains = ('midi',)")
    notes.write_text(source.replace("from bench.api import ", "from bench.api import Rolls, ", 1))
    made = small_suite(defenses=["hiss"], seeds=[0]).model_copy(
        update={"defenses": ["hiss", "notes"], "defense": {
            "hiss": {"plugin": str(PLUGINS / "hiss.py")}, "notes": {"plugin": str(notes)}}}
    )  # fmt: skip
    expansion = expand(made)
    assert [trial.row for trial in expansion.trials] == ["hiss"]
    assert expansion.left_out == ("defense 'notes' is for midi, attacker 'linear' takes audio",)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"attackers": []}, "names no attacker"),
        ({"attackers": ["musicgen"], "seeds": []}, "names no seed"),
        ({"attackers": ["musicgen"], "preset": "tiny"}, "unknown preset 'tiny'"),
        ({"attackers": ["musicgen"], "knowledge": ["whitebox"]}, "did you mean 'white-box'"),
        ({"attackers": ["musicgen"], "defense": {"noize": {}}}, "defense.noize"),
        ({"attackers": ["musicgen"], "exclude": [{"defence": "noise"}]}, "did you mean 'defense'"),
        ({"attackers": "musicgen"}, "attackers"),
        ({"attackers": ["musicgen"], "atackers": []}, "did you mean 'attackers'"),
    ],
)
def test_a_wrong_suite_is_one_line(data: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said) as error:
        suite(data)
    assert "\n" not in str(error.value)


def test_changed_files_are_new_data(small_suite: Make, tmp_path: Path) -> None:
    data, file = tmp_path / "data.py", tmp_path / "file.txt"
    source = (PLUGINS / "tones.py").read_text()
    data.write_text(source + f"\n    def fingerprint(self) -> str:\n        return open({str(file)!r}).read()\n")
    keys = set()
    for words in ("one", "two", "one"):
        file.write_text(words)
        (trial,) = expand(small_suite(defenses=["hiss"], seeds=[0], dataset={"tones": {"plugin": str(data)}})).trials
        keys.add(str(trial.dataset.identity))
    assert len(keys) == 2


def test_who_does_not_know_the_attacker_crafts_against_its_bag_where_no_other_is_named() -> None:
    asked = {"defenses": ["harmonycloak"], "knowledge": ["black-box", "ensemble"], "seeds": [0]}
    found = {
        trial.knowledge: [part.name for part in trial.surrogates]
        for trial in expand(suite({**asked, "attackers": ["symphonynet"]})).trials
    }
    assert found == {
        "black-box": ["pianoroll_gru", "musegan"],
        "ensemble": ["pianoroll_gru", "musegan", "symphonynet"],
    }
    named = suite({**asked, "attackers": ["symphonynet"], "bag": ["symphonynet", "pianoroll_gru"]})
    assert [[part.name for part in trial.surrogates] for trial in expand(named).trials] == [
        ["pianoroll_gru"], ["symphonynet", "pianoroll_gru"],
    ]  # fmt: skip


def test_a_suite_may_hold_published_metrics_of_music() -> None:
    made = suite(
        {"attackers": ["musegan"], "published": [{"defense": "x", "title": "a paper", "music": {"EB[bass]": 0.1}}]}
    )
    assert made.published[0].music == {"EB[bass]": 0.1}


def test_what_is_excluded_need_not_fit(small_suite: Make) -> None:
    rule = {"attacker": "linear", "defense": "ghosts"}
    given: dict[str, Any] = {
        "defenses": ["clean", "hiss", "ghosts"],
        "defense": {"ghosts": {"plugin": str(PLUGINS / "ghosts.py")}},
    }
    named = expand(small_suite(**given))
    assert named.left_out == ("defense 'ghosts' is for midi, attacker 'linear' takes audio",)
    told = expand(small_suite(**given, exclude=[rule]))
    assert told.left_out == ()
    assert told.trials == named.trials


def test_a_matched_control_is_excluded_by_its_reference(small_suite: Make) -> None:
    given: dict[str, Any] = {"defenses": ["clean", "hiss", "labels"], "controls": ["noise"]}
    whole = {trial.row for trial in expand(small_suite(**given)).trials}
    assert {"noise ~ hiss", "noise ~ labels"} <= whole
    rows = {trial.row for trial in expand(small_suite(**given, exclude=[{"reference": "hiss"}])).trials}
    assert rows == whole - {"noise ~ hiss"}
