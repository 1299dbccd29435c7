"""An honest record holds; a number that was altered is found, by the record's own arithmetic or by running it again."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import plugins
from bench.commands import main
from bench.results import consistency, packing, reading, sources
from bench.results.record import Record
from bench.trials import verify
from bench.trials.again import trial_of
from bench.trials.plan import plan
from bench.trials.run import execute, prepare
from bench.trials.store import Store
from bench.trials.trial import Trial

Trials = Callable[..., tuple[Trial, ...]]
Change = Callable[[dict[str, Any]], None]
PLUGINS = Path(__file__).resolve().parents[1] / "plugins"
NAMES = ("tones", "labels", "linear", "halves")
OWN = [word for name in NAMES for word in ("--plugin", str(PLUGINS / f"{name}.py"))]
FILES = {name: PLUGINS / f"{name}.py" for name in NAMES}
LABELS = "tones--labels--white-box--linear--none--s0"
HALVES = "tones--labels--white-box--linear--halves--s0"
OWN_CHECK = {"name": "plays", "passed": True, "value": None, "limit": 1.0, "meaning": "one of the attacker's own"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("honest")


@pytest.fixture
def honest(folder: Path, small_trials: Trials) -> Path:
    """A folder of four honest records, made once."""
    records = folder / "records"
    if not records.exists():
        trials = small_trials(defenses=["labels"], adaptations=["none", "halves"], seeds=[0, 1])
        execute(prepare(trials, Store(folder / "store")), records, lambda event: None, jobs=1)
    return records


def tampered(source: Path, folder: Path, change: Change, name: str = LABELS) -> Path:
    """A copy of one record with something changed, in a folder of its own."""
    data = json.loads((source / f"{name}.json").read_text())
    change(data)
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.json"
    file.write_text(json.dumps(data))
    return file


def bench(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["verify", *words, "--display", "none", "--jobs", "1"])
    return int(ended.value.code or 0)


def spoil_items(data: dict[str, Any]) -> None:
    values = data["arms"]["protected"]["log likelihood"]
    data["arms"]["protected"]["log likelihood"] = [value - 0.5 for value in values]


def scored(made: Record, seed: int, denied: float) -> Record:
    """The record of another seed in which just so much was denied."""
    metric = made.metric
    clean, untrained = made.mean("clean"), made.mean("untrained")
    protected = clean - denied * (clean - untrained)
    arms = {**made.arms, "protected": {**made.arms["protected"], metric: [protected] * len(made.ids)}}
    trial = made.trial.model_copy(update={"seed": seed})
    return made.model_copy(update={"arms": arms, "trial": trial})


def swap_items(data: dict[str, Any]) -> None:
    """The means stay, and with them the score."""
    data["arms"]["protected"]["log likelihood"].reverse()


def lift_untrained(data: dict[str, Any]) -> None:
    data["arms"]["untrained"]["log likelihood"] = [v + 0.01 for v in data["arms"]["untrained"]["log likelihood"]]


def quieten(data: dict[str, Any]) -> None:
    data["audibility"]["snr_db"] = [value + 3.0 for value in data["audibility"]["snr_db"]]


def rename_parameter(data: dict[str, Any]) -> None:
    data["trial"]["defense"]["params"]["level"] = 0.1


def forge_parameter(data: dict[str, Any]) -> None:
    """Another level, and the keys that go with it."""
    rename_parameter(data)
    made = Record.model_validate(data)
    (cell,) = plan([trial_of(made, FILES)]).cells
    data["stages"], data["key"] = dict(cell.keys), cell.key


def test_an_honest_record_is_made_again_to_the_last_digit(honest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(str(honest), *OWN, "--sample", "2", "--seed", "3") == 0
    out = capsys.readouterr().out
    assert "internal consistency: ok" in out
    assert "run again: 2 of 4, drawn by --seed 3" in out
    assert out.count(": identical (denied") == 2
    assert "plugins and data match the records" in out


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda d: d["trial"].update(seed=5), "name '.*--s5': the file is called .*--s0.json"),
        (lambda d: d["stages"].update(protected=d["stages"]["clean"]), "arms.protected: it is the same stage"),
        (lambda d: d.update(key="0" * 32), "key 00000000: its stages give"),
        (lambda d: d["ids"].pop(), "groups: 24 for 23 items"),
        (lambda d: d["ids"].__setitem__(1, d["ids"][0]), "duplicate ids"),
        (lambda d: d["labels"].pop(), "labels: 23 for 24 items"),
        (lambda d: d["arms"].pop("untrained"), "arms: clean, protected; expected"),
        (lambda d: d["arms"]["clean"]["accuracy"].__setitem__(0, 1.5), r"holds 1.5, expected 0..1"),
        (lambda d: d["audibility"]["snr_db"].pop(), "audibility.snr_db: 23 values for 24 clips"),
        (lambda d: d["attacker_checks"].append(OWN_CHECK), "validity check 'plays' is passed without a value"),
        (lambda d: d["audibility"]["snr_db"].__setitem__(0, float("inf")), r"audibility.snr_db\[0\] is not finite"),
        (lambda d: d.update(error={"type": "x"}), "it is ok and names an error"),
    ],
)
def test_a_record_that_contradicts_itself_is_found_without_running_it(
    honest: Path, tmp_path: Path, change: Change, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tampered(honest, tmp_path, change)
    assert bench(str(file), *OWN, "--sample", "0") == 1
    out = capsys.readouterr().out
    assert any(re.search(line, text) for text in out.splitlines() if text.startswith("  wrong: ")), out


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (rename_parameter, "stage protected: key .*, expected .* by its parameters"),
        (lambda d: d["trial"]["dataset"]["params"].update(seed=9), "stage clean: key"),
        (lambda d: d["trial"].update(control="clean"), "control 'clean', expected '' of its trial"),
    ],
)
def test_a_record_that_its_own_plugins_contradict_is_found(
    honest: Path, tmp_path: Path, change: Change, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tampered(honest, tmp_path, change)
    assert bench(str(file), *OWN) == 1
    out = capsys.readouterr().out
    assert any(re.search(line, text) for text in out.splitlines() if text.startswith("  wrong: ")), out


def test_records_alone_are_read_without_their_plugins(honest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(str(honest), "--sample", "0") == 0
    out = capsys.readouterr().out
    assert "internal consistency: ok" in out
    assert "plugins, keys and suite were not compared" in out


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (spoil_items, "arms.protected: mean .* when run again: more than"),
        (swap_items, "arms.protected.log likelihood: .* values differ"),
        (quieten, "audibility.snr_db: mean .* when run again: more than 1% apart"),
        (forge_parameter, "denied .* when run again"),
        (lambda d: d["groups"].__setitem__(0, d["groups"][2]), "groups: differs from the second run"),
        (
            lambda d: d["distance"]["protected_set"].update({next(iter(d["distance"]["protected_set"])): 0.0}),
            "distance: 1 of",
        ),
        (lambda d: d["epochs"]["clean"][4].update(loss=0.0), "epochs: 1 of"),
        (lift_untrained, "does not depend on training"),
    ],
)
def test_numbers_that_fit_together_and_are_not_what_the_trial_gives_do_not_hold(
    honest: Path, tmp_path: Path, change: Change, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tampered(honest, tmp_path, change)
    assert bench(str(file), *OWN) == 1
    out = capsys.readouterr().out
    assert "internal consistency: ok" in out, out
    assert ": does not hold (denied" in out
    assert any(re.search(line, text) for text in out.splitlines()), out


def test_two_records_that_tell_one_stage_in_two_ways_are_found(
    honest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tampered(honest, tmp_path, lambda data: None)

    def other_clean_arm(data: dict[str, Any]) -> None:
        data["arms"]["clean"]["accuracy"] = [1.0] * 24
        data["arms"]["clean"]["accuracy"][0] = 0.0

    tampered(honest, tmp_path, other_clean_arm, HALVES)
    assert bench(str(tmp_path), *OWN, "--sample", "0") == 1
    assert "arms.clean of stage" in capsys.readouterr().out


def test_a_suite_whose_records_are_not_all_there_is_found(
    honest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = {"dataset": "tones", "defense": "labels", "attacker": "linear", "adaptation": "halves"}
    lines = ['name = "mine"', "seeds = [0, 1]", 'adaptations = ["none", "halves"]']
    lines += [f'{kind}s = ["{name}"]' for kind, name in tables.items() if kind != "adaptation"]
    lines += [f"[{kind}.{name}]\nplugin = '{PLUGINS / name}.py'" for kind, name in tables.items()]
    (tmp_path / "mine.toml").write_text("\n".join(lines))
    (tmp_path / "records").mkdir()
    tampered(honest, tmp_path / "records" / "mine", lambda data: None)
    assert bench(str(tmp_path / "records" / "mine"), *OWN) == 1
    out = capsys.readouterr().out
    assert f"wrong: {HALVES}: missing, though the suite mine.toml asks for it" in out
    assert "3 things are wrong" in out


def test_a_suite_beside_the_records_cannot_say_which_file_is_run_either(
    honest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = tmp_path / "evil.py"
    evil.write_text(f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n")
    suite = 'name = "mine"\nattackers = ["linear"]\ndefenses = ["quiet"]\n[defense.quiet]\nplugin = "{}"\n'
    (tmp_path / "mine.toml").write_text(suite.format(evil))
    (tmp_path / "records").mkdir()
    tampered(honest, tmp_path / "records" / "mine", lambda data: None)
    assert bench(str(tmp_path / "records" / "mine"), *OWN) == 2
    assert f"the suite mine.toml would import the file {evil}" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_a_store_that_holds_the_work_is_told(honest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(honest), *OWN, "--seed", "1", "--store", str(tmp_path)]
    assert bench(*words) == 0
    assert "were already in" not in capsys.readouterr().out
    assert bench(*words) == 0
    assert re.search(r"(\d+) of \1 stages were already in", capsys.readouterr().out)


def test_contradictions_are_told_where_the_plugins_are_not_here(
    honest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(str(tampered(honest, tmp_path, lambda data: data.update(key="0" * 32)))) == 1
    out = capsys.readouterr().out
    assert "its stages give" in out
    assert "nothing was run again: record" in out


def test_what_another_machine_blurs_still_holds(honest: Path) -> None:
    """Other bits and the same science hold, but on the same machine the same bits are asked for."""
    made = reading.load(honest / f"{LABELS}.json")
    arms = {arm: dict(values) for arm, values in made.arms.items()}
    arms["protected"]["log likelihood"] = [v + 0.002 for v in arms["protected"]["log likelihood"] if v is not None]
    blurred = made.model_copy(update={"arms": arms})
    assert verify.compare(made, blurred).finding == "holds"
    verdict = verify.compare(made, blurred, same_code=True)
    assert verdict.finding == "does not hold"
    assert "though code, packages and processor are the record's" in verdict.reasons[0]
    elsewhere = blurred.model_copy(update={"provenance": {**made.provenance, "processor": "another"}})
    assert verify.compare(made, elsewhere, same_code=True).finding == "holds"


def test_the_spread_over_seeds_widens_what_holds_up_to_a_limit(honest: Path) -> None:
    made = reading.load(honest / f"{LABELS}.json")
    seeds = [scored(made, seed, value) for seed, value in enumerate((0.0, 0.2, 0.4))]
    assert verify.spread(made, seeds) == pytest.approx(0.2)
    assert verify.spread(made, [made]) == 0.0
    defense = made.trial.defense.model_copy(update={"label": "other"})
    other = made.model_copy(update={"trial": made.trial.model_copy(update={"defense": defense})})
    assert verify.spread(made, [made, other]) == 0.0
    assert made.denied is not None
    for apart, over_seeds, finding in ((0.1, 0.0, "does not hold"), (0.1, 0.12, "holds"), (0.2, 9.0, "does not hold")):
        again = scored(made, 0, made.denied + apart)
        assert verify.compare(made, again, over_seeds).finding == finding


def test_what_cannot_be_read_or_run_is_told_apart(
    honest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench(str(tmp_path / "nowhere")) == 2
    assert bench(str(tmp_path)) == 2
    (tmp_path / "broken.json").write_text("{")
    assert bench(str(tmp_path)) == 2
    assert "is not a record" in capsys.readouterr().err
    link = tmp_path / "links" / f"{LABELS}.json"
    link.parent.mkdir()
    link.symlink_to(honest / f"{LABELS}.json")
    assert bench(str(link)) == 2
    assert "is a symbolic link" in capsys.readouterr().err
    assert bench(str(honest)) == 2
    assert "unknown dataset 'tones'" in capsys.readouterr().err
    assert bench(str(honest), "--plugin", "nothing.py") == 2
    assert bench(str(honest), "--sample", "-1") == 2
    breaking = tmp_path / "labels.py"
    source = (PLUGINS / "labels.py").read_text()
    breaking.write_text(source.replace("assert data.labels is not None", "raise RuntimeError('no more')"))
    words = [word for word in OWN if word not in ("--plugin", str(PLUGINS / "labels.py"))]
    own = [each for word in (*words, str(breaking)) for each in ("--plugin", word)]
    assert bench(str(honest / f"{LABELS}.json"), *own) == 3
    assert "could not be run: RuntimeError: no more" in capsys.readouterr().out


def test_a_record_never_says_which_file_is_run(
    honest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = tmp_path / "evil.py"
    evil.write_text(f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n")
    file = tampered(honest, tmp_path, lambda data: data["trial"]["defense"].update(name=str(evil), label="labels"))
    words = [each for name in NAMES if name != "labels" for each in ("--plugin", str(FILES[name]))]
    assert bench(str(file), *words) == 2
    assert "is a path, expected a name" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_every_committed_record_says_nothing_against_itself() -> None:
    archives = sorted((plugins.home() / "leaderboards" / "records").glob("*.jsonl.xz"))
    assert len(archives) == 7
    for path in archives:
        found = reading.load_archive(path)
        assert {one.name: lines for one in found if (lines := consistency.problems(one))} == {}
        assert consistency.clashes(found) == []
        assert packing.summary_problems(sources.find(path), found) == []
