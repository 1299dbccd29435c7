"""The gate as people use it: whole suites of small plugins, through the command and through pytest."""

import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.commands import main
from tests.processes import Python, start_python

PLUGINS = Path(__file__).resolve().parents[1] / "plugins"
NAME = "mine"


def bench(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert isinstance(left.value.code, int)
    return left.value.code


class House:
    """A repository of a defense: its file, its suite, its baseline, its store."""

    def __init__(self, folder: Path):
        self.folder, self.suite, self.baseline = folder, folder / "mine.toml", folder / "baseline.json"
        self.defense = folder / "labels.py"
        self.defense.write_text((PLUGINS / "labels.py").read_text())
        self.write()

    def write(self, defenses: str = '"clean", "labels", "hiss"', seeds: str = "0, 1, 2", more: str = "") -> None:
        self.suite.write_text(
            f"""
            name = "{NAME}"
            datasets = ["tones"]
            defenses = [{defenses}]
            attackers = ["linear"]
            seeds = [{seeds}]
            [dataset.tones]
            plugin = "{PLUGINS}/tones.py"
            [attacker.linear]
            plugin = "{PLUGINS}/linear.py"
            """
            + ('[defense.labels]\nplugin = "' + str(self.defense) + '"\n' if '"labels"' in defenses else "")
            + (f'[defense.hiss]\nplugin = "{PLUGINS}/hiss.py"\n' if '"hiss"' in defenses else "")
            + more
        )

    def gate(self, *words: str) -> int:
        place = ["--suite", str(self.suite), "--store", str(self.folder / "store"), "--jobs", "1", "--display", "none"]
        return bench("gate", *place, *words)

    def edit(self, old: str, new: str) -> None:
        """Change the defense, as a commit would: in a file that is imported for the first time."""
        source = self.defense.read_text()
        assert old in source
        self.defense = self.folder / f"v{len(list(self.folder.glob('v*')))}" / "labels.py"
        self.defense.parent.mkdir()
        self.defense.write_text(source.replace(old, new))
        self.write()


WEAKER = ("level: float = 0.5", "level: float = 0.02")
VERSION = ("class Labels(Defense[Clips]):\n", "class Labels(Defense[Clips]):\n    version = 2\n\n")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a house whose first baseline was accepted; the tests work on copies of it."""
    house = House(tmp_path_factory.mktemp("accepted"))
    assert house.gate("--accept", "first baseline") == 0
    return house.folder


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    return House(tmp_path)


@pytest.fixture
def accepted(first: Path, house: House, capsys: pytest.CaptureFixture[str]) -> House:
    shutil.copytree(first, house.folder, dirs_exist_ok=True)
    house.write()
    capsys.readouterr()
    return house


def verdicts(out: str) -> dict[str, str]:
    """Row -> verdict, as the table prints them."""
    return dict(re.findall(r"^tones: (\w+) against linear .* (\w+)$", out, re.MULTILINE))


@pytest.mark.parametrize("way", ["import sys; sys.exit(0)", "import os; os._exit(0)"])
def test_a_defense_that_ends_the_process_is_broken(
    way: str, accepted: House, capsys: pytest.CaptureFixture[str]
) -> None:
    accepted.edit("    def protect(self,", f"    def _ended(self):\n        {way}\n\n    def protect(self,")
    source = accepted.defense.read_text()
    head, _, body = source.partition("-> Clips:\n")
    accepted.defense.write_text(f"{head}-> Clips:\n        self._ended()\n{body}")
    assert accepted.gate() == 3
    assert verdicts(capsys.readouterr().out)["labels"] == "broken"


def test_without_a_baseline_one_line_names_the_command_that_makes_one(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    assert house.gate() == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert "--accept 'first baseline'" in err
    assert not house.baseline.exists()
    assert not (house.folder / "store").exists()


def test_accept_then_the_same(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    assert house.gate("--accept", "first baseline") == 0
    assert "accepted: first baseline" in capsys.readouterr().out
    held = json.loads(house.baseline.read_text())
    assert held["reason"] == "first baseline"
    assert [cell["defense"] for cell in held["cells"]] == ["clean", "hiss", "labels"]
    before = house.baseline.read_bytes()
    assert house.gate() == 0
    out, err = capsys.readouterr()
    assert verdicts(out) == {"clean": "same", "hiss": "same", "labels": "same"}
    assert "gate: passed" in out
    assert "already in" in err
    assert house.baseline.read_bytes() == before


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_baseline_without_a_reason_is_refused(house: House, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert house.gate("--accept", reason) == 2
    assert "wants a reason" in capsys.readouterr().err
    assert not house.baseline.exists()


def test_a_weakened_defense_regresses(accepted: House, capsys: pytest.CaptureFixture[str]) -> None:
    accepted.edit(*WEAKER)
    accepted.edit(*VERSION)
    assert accepted.gate() == 1
    out = capsys.readouterr().out
    assert verdicts(out) == {"clean": "same", "hiss": "same", "labels": "regressed"}
    assert "held-out item test-" in out
    folders = re.findall(r"protected set (?:then|now), seed \d: (.*)", out)
    assert len(folders) == 2
    assert all((Path(folder) / "done.json").is_file() for folder in folders)
    assert "gate: FAILED" in out


def test_a_change_without_a_version_is_unversioned_until_it_has_one(
    accepted: House, capsys: pytest.CaptureFixture[str]
) -> None:
    accepted.edit("660.0 - 220.0", "660.0 - 219.0")
    assert accepted.gate() == 1
    out = capsys.readouterr().out
    assert verdicts(out)["labels"] == "unversioned"
    assert "raise `version`" in out
    accepted.edit(*VERSION)
    accepted.gate()
    assert verdicts(capsys.readouterr().out)["labels"] != "unversioned"


def test_a_change_that_computes_the_same_passes(accepted: House, capsys: pytest.CaptureFixture[str]) -> None:
    accepted.edit("data.audio * 0.2 + self.level * tones", "0.2 * data.audio + tones * self.level")
    assert accepted.gate() == 0
    out = capsys.readouterr().out
    assert verdicts(out)["labels"] == "same"
    assert "code changed, nothing moved" in out


def test_better_is_accepted_and_then_the_same(accepted: House, capsys: pytest.CaptureFixture[str]) -> None:
    accepted.edit(*WEAKER)
    accepted.edit(*VERSION)
    assert accepted.gate("--accept", "weaker on purpose") == 0
    assert "regressed: tones: labels against linear" in capsys.readouterr().out  # what changes is shown
    accepted.edit("level: float = 0.02", "level: float = 0.5")
    accepted.edit("version = 2", "version = 3")
    assert accepted.gate() == 1
    out = capsys.readouterr().out
    assert verdicts(out)["labels"] == "improved"
    assert "accept it" in out
    assert accepted.gate("--accept", "strong again") == 0
    assert accepted.gate() == 0
    assert json.loads(accepted.baseline.read_text())["reason"] == "strong again"


def test_a_missing_cell_and_a_missing_seed(accepted: House, capsys: pytest.CaptureFixture[str]) -> None:
    accepted.write(defenses='"clean", "labels"')
    assert accepted.gate() == 3
    assert verdicts(capsys.readouterr().out)["hiss"] == "missing"
    accepted.write(seeds="0, 1")
    assert accepted.gate() == 3
    out = capsys.readouterr().out
    assert set(verdicts(out).values()) == {"missing"}
    assert "no record of seed 2" in out
    accepted.write(defenses='"clean", "labels"')
    assert accepted.gate("--accept", "hiss was never ours") == 0  # what the suite no longer asks for may be dropped
    assert "dropped: tones: hiss against linear" in capsys.readouterr().out
    assert accepted.gate() == 0


def test_a_record_that_is_not_there_is_missing_and_is_not_accepted(
    accepted: House, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder,) = (accepted.folder / "store" / "records").iterdir()
    assert accepted.gate("--records", str(folder)) == 0
    next(folder.glob("*hiss*s1.json")).unlink()
    assert accepted.gate("--records", str(folder)) == 3
    before = accepted.baseline.read_bytes()
    assert accepted.gate("--records", str(folder), "--accept", "who needs seed 1") == 3
    assert "not accepted" in capsys.readouterr().err
    assert accepted.baseline.read_bytes() == before


def test_a_broken_defense(accepted: House, capsys: pytest.CaptureFixture[str]) -> None:
    accepted.edit("assert data.labels is not None", "raise RuntimeError('no more labels')")
    assert accepted.gate() == 3
    out = capsys.readouterr().out
    assert verdicts(out)["labels"] == "broken"
    assert "RuntimeError: no more labels" in out
    before = accepted.baseline.read_bytes()
    assert accepted.gate("--accept", "it is what it is") == 3
    assert accepted.baseline.read_bytes() == before


def test_an_attacker_that_learns_nothing_is_a_failed_control(
    accepted: House, capsys: pytest.CaptureFixture[str]
) -> None:
    lazy = accepted.folder / "linear.py"
    lazy.write_text((PLUGINS / "linear.py").read_text().replace("range(self.steps)", "range(0)"))
    accepted.suite.write_text(accepted.suite.read_text().replace(f"{PLUGINS}/linear.py", str(lazy)))
    assert accepted.gate() == 3
    out = capsys.readouterr().out
    assert set(verdicts(out).values()) <= {"missing", "broken"}
    assert "control failed" in out
    assert "learns clean data" in out


def test_a_suite_without_the_clean_control_is_not_accepted(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.write(defenses='"labels"')
    assert house.gate("--accept", "no controls, no worries") == 3
    assert "clean control is not there" in capsys.readouterr().err
    assert not house.baseline.exists()


def test_a_new_cell_and_anothers_baseline(accepted: House, capsys: pytest.CaptureFixture[str]) -> None:
    accepted.write(more='adaptations = ["none"]\n[defense.labels2]\n')
    accepted.write(defenses='"clean", "labels", "hiss", "loud"', more=f'[defense.loud]\nplugin = "{PLUGINS}/hiss.py"\n')
    assert accepted.gate() == 1
    out = capsys.readouterr().out
    assert verdicts(out)["loud"] == "new"
    assert "the suite has changed since" in out
    accepted.suite.write_text(accepted.suite.read_text().replace(f'name = "{NAME}"', 'name = "yours"'))
    assert accepted.gate() == 2
    assert "is the baseline of suite 'mine'" in capsys.readouterr().err


def test_junit_and_github(accepted: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    report, summary = accepted.folder / "gate.xml", accepted.folder / "summary.md"
    document = accepted.folder / "gate.json"
    accepted.edit(*WEAKER)
    accepted.edit(*VERSION)
    assert accepted.gate("--junit", str(report), "--json", str(document)) == 1
    assert "::error" not in capsys.readouterr().out
    verdicts = {verdict["cell"]["defense"]: verdict for verdict in json.loads(document.read_text())["verdicts"]}
    assert verdicts["labels"]["verdict"] == "regressed"
    assert verdicts["labels"]["drop"] > 0
    assert verdicts["clean"]["adjusted_p"] is None
    (failed,) = ET.parse(report).getroot().findall("testsuite/testcase/failure")
    assert failed.get("type") == "regressed"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert accepted.gate() == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("::")]
    assert line.startswith("::error title=regressed%3A tones%3A labels against linear::learning denied ")
    assert "| tones: labels against linear" in summary.read_text()


def test_an_unknown_suite_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("gate", "--suite", "cii") == 2
    assert "did you mean 'ci'" in capsys.readouterr().err
    assert bench("gate", "--suite", "nothing.toml") == 2
    assert "nothing.toml" in capsys.readouterr().err


@pytest.fixture
def pytest_in(house: House, python: Python) -> Callable[..., tuple[int, str]]:
    """Run pytest in a house, in a process of its own, with the plugin as its only guest."""

    def run(*words: str, started: bool = False) -> tuple[int, str]:
        environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "BENCH_STORE": str(house.folder / "store")}
        command = ("-m", "pytest", "-p", "bench.pytest_plugin", "-p", "no:cacheprovider", *words)
        begin = start_python if started else python.run
        done = begin(*command, cwd=house.folder, **environment)
        return done.returncode, done.stdout + done.stderr

    return run


def test_pytest_gives_a_test_a_cell(accepted: House, pytest_in: Callable[..., tuple[int, str]]) -> None:
    row = 'def test_denied(bench_row):\n    assert bench_row("mine.toml", "labels").best.denied.low > 0.5\n'
    (accepted.folder / "test_mine.py").write_text(row)
    code, out = pytest_in("--bench-suite", "mine.toml", "-v")
    assert code == 0, out
    assert "4 passed" in out  # three cells and the test of the house itself
    assert "tones: labels against linear PASSED" in out
    accepted.edit(*WEAKER)
    accepted.edit(*VERSION)
    accepted.write(defenses='"clean", "labels"')
    code, out = pytest_in("--bench-suite", "mine.toml")
    assert code == 1
    assert "3 failed, 1 passed" in out
    assert "regressed: learning denied" in out
    assert "missing: no record of it" in out
    assert "Traceback" not in out
    assert "warning" not in out


def test_pytest_without_a_baseline_says_what_to_do(house: House, pytest_in: Callable[..., tuple[int, str]]) -> None:
    code, out = pytest_in("--bench-suite", "mine.toml")
    assert code == 2
    assert "Traceback" not in out
    assert "--accept 'first baseline'" in out
    code, out = pytest_in("--bench-suite", "ic")
    assert code == 4
    assert "did you mean" in out


def test_the_pytest_plugin_costs_nothing_unasked(house: House, pytest_in: Callable[..., tuple[int, str]]) -> None:
    heavy = (
        'import sys\n\ndef test_light():\n    assert not {"torch", "scipy", "pydantic", "numpy"} & set(sys.modules)\n'
    )
    (house.folder / "test_light.py").write_text(heavy)
    code, out = pytest_in(started=True)
    assert code == 0, out
    assert "1 passed" in out
