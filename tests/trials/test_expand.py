"""A suite expands into the cells that can be, and says what cannot."""

import math
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from bench.errors import PluginError, UsageError
from bench.results.suite import Suite, read, suite
from bench.trials.expand import expand
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
    assert trial.attacker.overrides == {"steps": 7}


def test_knowledge_decides_the_surrogates(small_suite: Make, tmp_path: Path) -> None:
    (white,) = expand(small_suite(defenses=["hiss"], seeds=[0])).trials
    assert [part.title for part in white.surrogates] == ["linear"]
    (blind,) = expand(small_suite(defenses=["hiss"], seeds=[0], knowledge=["none"])).trials
    assert blind.surrogates == ()
    with pytest.raises(UsageError, match="black-box knowledge of 'linear' needs at least one other"):
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


def in_notes(folder: Path, name: str) -> str:
    """A copy of a small plugin that says it is for notes; it is never run."""
    source = (PLUGINS / f"{name}.py").read_text()
    head, base, rest = source.partition("[Clips]):\n")
    assert base
    file = folder / f"{name}_notes.py"
    file.write_text(
        f"{head}[Rolls]):\n    domains = ('midi',)\n{rest}".replace(
            "from bench.api import ", "from bench.api import Rolls, ", 1
        )
    )
    return str(file)


def test_plugins_of_another_domain_are_left_out_where_they_fit_others(tmp_path: Path) -> None:
    tones, hiss, linear = (in_notes(tmp_path, name) for name in ("tones", "hiss", "linear"))
    own = {name: {"plugin": str(PLUGINS / f"{name}.py")} for name in ("tones", "hiss", "linear")}
    made = suite({
        "seeds": [0], "datasets": ["tones", tones], "defenses": ["clean", "hiss", hiss], "controls": ["noise"],
        "attackers": ["linear", linear],
        "dataset": {"tones": own["tones"]}, "defense": {"hiss": own["hiss"]}, "attacker": {"linear": own["linear"]},
    })  # fmt: skip
    expansion = expand(made)
    rows = {(trial.dataset.title, trial.row, trial.attacker.title) for trial in expansion.trials}
    assert rows == {
        (f"tones{end}", row, f"linear{end}")
        for end in ("", "_notes") for row in ("clean", f"hiss{end}", f"noise ~ hiss{end}")
    }  # fmt: skip
    assert f"defense '{hiss}' is for midi, attacker 'linear' takes audio" in expansion.left_out


@pytest.mark.parametrize("kind", ["dataset", "defense", "attacker", "adaptation"])
def test_a_plugin_that_fits_nothing_is_one_line_with_what_fits(small_suite: Make, tmp_path: Path, kind: str) -> None:
    """Its matched control would fit, and would run for minutes."""
    name = {"dataset": "tones", "defense": "hiss", "attacker": "linear", "adaptation": "quieter"}[kind]
    wrong, field = in_notes(tmp_path, name), f"{kind}s"
    made = small_suite(adaptations=["none", "quieter"], controls=["noise"], seeds=[0])
    listed = [*getattr(made, field), wrong]
    with pytest.raises(UsageError, match=rf"takes (audio|midi); {field} for (audio|midi): ") as error:
        expand(made.model_copy(update={field: listed}))
    assert "\n" not in str(error.value)
    fits = {"dataset": "chorales", "defense": "noise", "attacker": "symphonynet", "adaptation": "trim"}[kind]
    assert fits in str(error.value).split(": ")[-1].split(", ")


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
        ({"attackers": ["musicgen"], "budget": {"snr": 10.0}}, "did you mean 'snr_db'"),
        ({"attackers": ["musicgen"], "budget": {"snr_db": math.nan}}, "budget.snr_db"),
        ({"attackers": ["musicgen"], "budget": {"snr_db": True}}, "budget.snr_db"),
        ({"attackers": ["musicgen"], "gate": {"tolerance": True}}, "gate.tolerance"),
        ({"attackers": ["musicgen"], "budget": {"pesq": math.inf}}, "budget.pesq"),
        ({"attackers": ["musicgen"], "gate": {"tolerance": math.inf}}, "gate.tolerance"),
        ({"attackers": ["musicgen"], "defenses": [""]}, "one line of text"),
        ({"attackers": ["m5"], "attacker": {"m5": {"lr": math.nan}}}, r"\[attacker.m5\] lr = nan: expected"),
        ({"attackers": ["m5"], "attacker": {"m5": {"lr": [1.0, math.inf]}}}, "expected text, a finite number"),
        ({"attackers": ["m5"], "attacker": {"m5": {"lr": date(2026, 1, 1)}}}, "lr = 2026-01-01: expected"),
        ({"attackers": ["m5"], "attacker": {"m5": {"plugin": "a\0.py"}}}, "one line of text"),
        ({"attackers": ["musicgen"], "defenses": ["a\nb"]}, "one line of text"),
        ({"attackers": ["musicgen"], "defenses": ["n" * 240]}, "240 bytes"),
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
    with pytest.raises(UsageError, match="defense 'ghosts' is for midi, attacker 'linear' takes audio"):
        expand(small_suite(**given))
    told = expand(small_suite(**given, exclude=[rule]))
    assert told.left_out == ()
    assert told.trials == expand(small_suite(defenses=["clean", "hiss"])).trials


@pytest.mark.parametrize(
    "name",
    [
        "../out", "/abs/path", "..", ".", "", "a/b", "a\\b", "a\0b", "a b", ".hidden", "-x", "x.", "n" * 65, "\u202ex",
        "nul", "COM1", "aux.x", "assets", "Index.html", "a\n",
    ],
)  # fmt: skip
def test_a_suites_name_is_a_plain_name_of_a_folder(name: str) -> None:
    with pytest.raises(UsageError, match=r"^the suite: name = ") as error:
        suite({"name": name, "attackers": ["m5"]})
    assert "\n" not in str(error.value)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("name", ["run", "speech-frontier", "v1.2_b", "0", "comet", "n" * 64])
def test_plain_names_of_suites_are_taken(name: str) -> None:
    assert suite({"name": name, "attackers": ["m5"]}).name == name


def test_a_suite_without_a_name_is_called_by_its_file_and_may_begin_with_a_mark(tmp_path: Path) -> None:
    file = tmp_path / "my suite.toml"
    file.write_bytes(b'\xef\xbb\xbfattackers = ["m5"]\n')
    assert read(file).name == "my-suite"


def copied(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.py").write_text((PLUGINS / f"{name}.py").read_text())


def test_paths_of_plugins_start_at_the_suites_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied(tmp_path / "sub", "tones", "hiss", "linear", "quieter")
    copied(tmp_path, "hiss")
    (tmp_path / "hiss.py").write_text((tmp_path / "hiss.py").read_text().replace("0.1", "0.2"))
    (tmp_path / "sub" / "s.toml").write_text(
        'datasets = ["tones.py"]\ndefenses = ["hiss.py", "other"]\nattackers = ["linear"]\n'
        'adaptations = ["quieter.py"]\n'
        '[attacker.linear]\nplugin = "./linear.py"\n[defense.other]\nplugin = "../hiss.py"\n'
    )
    monkeypatch.chdir(tmp_path)
    here = expand(read(Path("sub/s.toml"))).trials
    assert {(trial.row, trial.defense.params["epsilon"]) for trial in here} == {("hiss", 0.1), ("other", 0.2)}
    monkeypatch.chdir("/")
    assert expand(read(tmp_path / "sub" / "s.toml")).trials == here


def test_the_path_of_data_starts_at_the_suites_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "sub" / "s.toml"
    file.parent.mkdir()
    file.write_text('datasets = ["folder"]\nattackers = ["m5"]\n[dataset.folder]\npath = "sounds"\n')
    for where in (tmp_path, file.parent, Path("/")):
        monkeypatch.chdir(where)
        _, params = read(file).resolve("datasets", "folder")
        assert Path(params["path"]).resolve() == file.parent / "sounds"
    monkeypatch.chdir(file.parent)
    assert read(file).resolve("datasets", "folder")[1] == {"path": "sounds"}
    file.write_text(file.read_text().replace('"sounds"', f'"{tmp_path}"'))
    assert read(file).resolve("datasets", "folder")[1] == {"path": str(tmp_path)}


@pytest.mark.parametrize(
    ("given", "called"),
    [
        (["v1/hiss.py", "v2/hiss.py"], {"v1/hiss", "v2/hiss"}),
        (["a/v1/hiss.py", "b/v1/hiss.py", "v2/hiss.py"], {"a/v1/hiss", "b/v1/hiss", "v2/hiss"}),
        (["v1/hiss.py", "./v1/hiss.py"], {"hiss"}),
        (["v1/hiss.py", "noise.py", "noise"], {"hiss", "HERE/noise", "noise"}),
    ],
)
def test_two_files_of_one_name_are_two_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], called: set[str]
) -> None:
    for number, folder in enumerate(("v1", "v2", "a/v1", "b/v1")):
        copied(tmp_path / folder, "hiss")
        file = tmp_path / folder / "hiss.py"
        file.write_text(file.read_text().replace("0.1", f"0.{number + 1}"))
    (tmp_path / "noise.py").write_text((tmp_path / "v1" / "hiss.py").read_text())
    copied(tmp_path, "tones", "linear")
    monkeypatch.chdir(tmp_path)
    made = suite({"datasets": ["tones.py"], "defenses": given, "attackers": ["linear.py"], "seeds": [0]})
    trials = expand(made).trials
    assert {trial.row.replace(tmp_path.name, "HERE") for trial in trials} == called
    assert len({trial.name for trial in trials}) == len(called)


def test_rows_that_would_share_a_record_are_refused(small_suite: Make) -> None:
    hiss = {"plugin": str(PLUGINS / "hiss.py")}
    made = small_suite().model_copy(
        update={"defenses": ["a b", "a-b"], "defense": {"a b": hiss, "a-b": {**hiss, "epsilon": 0.2}}}
    )
    with pytest.raises(UsageError, match=r"two cells have the record name .*a-b.*: rename"):
        expand(made)


def test_records_of_a_long_name_are_refused_before_the_work(small_suite: Make) -> None:
    names = {"defenses": "d" * 90, "attackers": "a" * 90}
    made = small_suite(seeds=[0]).model_copy(
        update={
            "defenses": [names["defenses"]], "defense": {names["defenses"]: {"plugin": str(PLUGINS / "hiss.py")}},
            "attackers": [names["attackers"]], "attacker": {names["attackers"]: {"plugin": str(PLUGINS / "linear.py")}},
        }
    )  # fmt: skip
    with pytest.raises(UsageError, match=r"\d+ bytes, expected at most 200: records are called by it"):
        expand(made)


def test_a_matched_control_is_excluded_by_its_reference(small_suite: Make) -> None:
    given: dict[str, Any] = {"defenses": ["clean", "hiss", "labels"], "controls": ["noise"]}
    whole = {trial.row for trial in expand(small_suite(**given)).trials}
    assert {"noise ~ hiss", "noise ~ labels"} <= whole
    rows = {trial.row for trial in expand(small_suite(**given, exclude=[{"reference": "hiss"}])).trials}
    assert rows == whole - {"noise ~ hiss"}


def test_the_control_random_is_the_defense_not_optimised_or_else_noise() -> None:
    """With the parameters of the row that it is matched to, in the domains for which the defense says how."""
    made = suite(
        {
            "seeds": [0], "datasets": ["chorales"], "attackers": ["musicgen", "symphonynet"], "controls": ["random"],
            "defenses": ["soft", "constant_epsilon"],
            "defense": {"soft": {"plugin": "harmonycloak", "bound": "masked"}},
        }
    )  # fmt: skip
    controls = {(t.row, t.attacker.title): t for t in expand(made).trials if t.reference}
    assert controls.keys() == {
        ("random ~ soft", "musicgen"), ("noise ~ soft", "symphonynet"),
        ("noise ~ constant_epsilon", "musicgen"), ("noise ~ constant_epsilon", "symphonynet"),
    }  # fmt: skip
    own = controls["random ~ soft", "musicgen"]
    assert own.control.is_matched
    assert own.defense.name == "harmonycloak"
    assert (own.defense.params["optimise"], own.defense.params["bound"]) == (False, "masked")
    assert own.reference is not None
    assert own.reference.params["optimise"] is True


def test_a_cell_whose_attacker_has_seen_the_data_is_flagged(small_suite: Make, tmp_path: Path) -> None:
    source = (PLUGINS / "linear.py").read_text()
    knowing = tmp_path / "knowing.py"
    knowing.write_text(source.replace("    steps: int = 30", '    seen = ("spoken_digits",)\n    steps: int = 30'))
    suite = small_suite(defenses=["hiss"], seeds=[0], attacker={"linear": {"plugin": str(knowing)}})
    assert expand(suite).contaminated == ()
    digits = suite.model_copy(update={"datasets": ["spoken_digits"], "dataset": {}})
    assert expand(digits).contaminated == ("attacker 'linear' was pretrained on data set 'spoken_digits'",)


def test_an_adaptation_that_requires_pairs_and_has_no_hook_for_them_is_refused(
    small_suite: Make, tmp_path: Path
) -> None:
    greedy = tmp_path / "greedy.py"
    source = (PLUGINS / "halves.py").read_text()
    greedy.write_text(
        source.replace("    preprocess = True", '    preprocess = True\n    requires = ("pairs", "labels")')
    )
    suite = small_suite(defenses=["hiss"], seeds=[0], adaptations=["halves"])
    suite = suite.model_copy(update={"adaptation": {"halves": {"plugin": str(greedy)}}})
    with pytest.raises(PluginError, match="expected both or neither of transform_with_pairs and requires"):
        expand(suite)


def declaring(folder: Path, threat: str) -> dict[str, dict[str, str]]:
    """The data set `tones` with a threat model that it declares."""
    source = (PLUGINS / "tones.py").read_text()
    file = folder / "declares.py"
    file.write_text(source.replace("    clips: int = 24\n", f"    threat = {threat}\n    clips: int = 24\n"))
    return {"tones": {"plugin": str(file)}}


def test_a_trial_has_the_threat_model_of_the_suite_or_of_its_data_set_or_none(
    small_suite: Make, tmp_path: Path
) -> None:
    other = {"plugin": str(PLUGINS / "tones.py"), "clips": 40}
    declared = {"audio": {"small": {"published": 8, "granted": 4, "sizes": (2, 4), "replacement": other}}}
    given: dict[str, Any] = {"seeds": [0], "dataset": declaring(tmp_path, repr(declared))}
    (trial, *_) = expand(small_suite(**given)).trials
    assert trial.threat is not None
    assert (trial.threat.published, trial.threat.granted, trial.threat.smaller) == (8, 4, (0, 2, 4))
    assert trial.replacement is not None
    assert (trial.replacement.title, trial.replacement.params["clips"]) == ("replacement", 40)
    (trial, *_) = expand(small_suite(**given, threat={"published": 6, "granted": 4})).trials
    assert trial.threat is not None
    assert (trial.threat.published, trial.replacement) == (6, None)
    for without in ({"score": 1}, {"preset": "smoke"}):
        expansion = expand(small_suite(**{**given, **without}))
        assert {trial.threat for trial in expansion.trials} == {None}
        assert expansion.without_curve == (() if "score" in without else ("tones",))
    with pytest.raises(UsageError, match="score 1 has no threat model"):
        small_suite(**given, score=1, threat={"published": 6, "granted": 4})


def test_a_declaration_that_is_no_threat_model_is_an_error_of_the_data_set(small_suite: Make, tmp_path: Path) -> None:
    for number, (threat, message) in enumerate(
        (
            ({"audio": {"small": {"published": 8}}}, "declares.py': threat: audio, small: Field required"),
            ({"midi": {"small": {"published": 8, "granted": 4}}}, "threat: unknown domain 'midi'"),
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(PluginError, match=message):
            expand(small_suite(seeds=[0], dataset=declaring(folder, repr(threat))))
