"""The command: quick where it must be, one line for bad input, its codes as promised."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.commands import app, main
from tests.factories import PLUGINS, suite_text

COMMANDS = [name for name in app if not name.startswith("-")]

MATCH = ["--dataset", f"{PLUGINS}/tones.py", "--attacker", f"{PLUGINS}/linear.py", "--jobs", "1"]
SMALL = [*MATCH, "--seeds", "2"]


def bench(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert isinstance(left.value.code, int)
    return left.value.code


def test_help_and_list_import_nothing_heavy() -> None:
    """In one process, which names what each command has imported beyond those before it."""
    heavy = ("torch", "ray", "transformers", "scipy", "numpy", "pydantic")
    every = [["--help"], ["list"], *([name, "--help"] for name in COMMANDS)]
    code = (
        "import contextlib, io, sys, bench.commands\n"
        f"heavy, every = {heavy}, {every}\n"
        "for words in every:\n"
        "    before, text = set(sys.modules), io.StringIO()\n"
        "    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):\n"
        "        bench.commands.main(words)\n"
        "    print(len(text.getvalue()) > 50, words, [name for name in heavy if name in {*sys.modules} - before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"True {words} []" for words in every]


def test_list_names_every_plugin(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("list", "--json") == 0
    found = {(entry["kind"], entry["name"]) for entry in json.loads(capsys.readouterr().out)}
    assert found >= {
        ("defenses", "clean"),
        ("defenses", "harmonycloak"),
        ("attackers", "musicgen"),
        ("adaptations", "mp3"),
    }
    assert bench("list", "defenses") == 0
    assert "harmonycloak" in capsys.readouterr().out


def test_every_commands_summary_is_the_first_line_of_its_docstring(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--help") == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name in COMMANDS:
        command = app[name].default_command
        summary = (command.__doc__ or "").splitlines()[0] if command else app[name].help
        assert summary
        assert f"{name} {summary}" in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_in_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(command, "--help") == 0
    assert f"bench {command}" in capsys.readouterr().out.split("Examples:")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--defense", "harmonycloack", "--attacker", "musicgen"], "did you mean 'harmonycloak'"),
        (["run", "--defense", "clean", "--attacker", "musicgne"], "did you mean 'musicgen'"),
        (["run", "--defense", "clean"], "expected --attacker NAME or FILE: ast, "),
        (["run", *SMALL, "--set", "linear.steps=2", "--set", "linear.steps=3"], "linear.steps is given twice"),
        (["run", *MATCH[2:]], "has no default data set: give --dataset NAME or FILE; datasets for audio: "),
        (["run", "--defense", "missing.py", "--attacker", "musicgen"], "missing.py"),
        (["run", "--defence", "clean"], "--defence"),
        (["run", *MATCH, "--seeds", "0"], "at least 1"),
        (["run", *MATCH[:-1], "0"], "--jobs"),
        (["run", *MATCH[:-1], "-3"], "expected 1 or more"),
        (["run", *SMALL, "--set", "nonsense"], "NAME.KEY=VALUE"),
        (["run", *SMALL, "--set", "linear.steps=many"], "linear"),
        (["run", *SMALL, "--defense", f"{PLUGINS}/hiss.py", "--set", "defense.epsilonn=1"], "epsilonn"),
        (["run", *SMALL, "--knowledge", "black-box", "--defense", f"{PLUGINS}/hiss.py"], "black-box"),
        (["matrix", "nothing.toml"], "nothing.toml"),
        (["frobnicate"], "frobnicate"),
        (["check", "harmonicloak"], "harmonycloak"),
        (["check", str(Path(__file__))], "must hold one public class that inherits Defense, Attacker, Adaptation or"),
        (["check", "nowhere.py"], "no plugin file 'nowhere.py'"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "store"))
    assert bench(*words) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert out == ""
    assert not list(tmp_path.rglob("*.json"))


def test_run_prints_the_table_and_writes_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--store", str(tmp_path / "store"), "--records", str(tmp_path / "records"), "--display", "plain"]
    hiss = ["--defense", f"{PLUGINS}/hiss.py", "--set", "hiss.epsilon=0.02", "--adapt", f"{PLUGINS}/quieter.py"]
    words = ["run", *SMALL, *hiss, "--control", "noise", *place]
    assert bench(*words) == 0
    out, err = capsys.readouterr()
    for expected in ("denied, score 1", "hiss", "noise ~ hiss", "clean", "linear", "quieter", "SNR dB", "records:"):
        assert expected in out
    assert "protect tones with hiss against linear, seed" in err
    assert len(list((tmp_path / "records").glob("*.json"))) == 3 * 2 * 2  # rows x responses x seeds
    assert bench(*words) == 0
    again = capsys.readouterr()
    assert again.out.split("records:")[0] == out.split("records:")[0]
    assert "[1/" not in again.err  # no stage ran


def test_a_failed_trial_is_code_3_and_the_table_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--store", str(tmp_path / "store"), "--control", "none"]
    assert bench("run", *SMALL, "--defense", f"{PLUGINS}/breaks.py", *place) == 3
    out, err = capsys.readouterr()
    assert "failed" in out
    assert "this defense always breaks" in err


def test_matrix_shows_its_plan_and_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = tmp_path / "tiny.toml"
    head = 'name = "tiny"\ndefenses = ["clean", "soft", "loud"]\nseeds = [0]'
    loud = "".join(
        f'[defense.{name}]\nplugin = "{PLUGINS}/hiss.py"\nepsilon = {epsilon}\n'
        for name, epsilon in (("soft", 0.01), ("loud", 0.2))
    )
    suite.write_text(suite_text(head, f"{loud}[budget]\nsnr_db = 15.0"))
    place = ["--store", str(tmp_path / "store")]
    assert bench("matrix", str(suite), "--dry-run", *place) == 0
    assert "protect tones with loud" in capsys.readouterr().out
    assert not (tmp_path / "records").exists()
    assert bench("matrix", str(suite), "--jobs", "1", *place) == 0
    out = capsys.readouterr().out
    assert "too loud" in out
    assert len(list((tmp_path / "records" / "tiny").glob("*.json"))) == 3


def test_a_suite_with_an_unknown_key_names_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = tmp_path / "bad.toml"
    suite.write_text('attackers = ["musicgen"]\nadaptation_ = ["mp3"]\n')
    assert bench("matrix", str(suite)) == 2
    assert "did you mean 'adaptation'" in capsys.readouterr().err


def test_missing_data_is_one_line_code_2_and_no_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    absent = tmp_path / "absent.py"
    source = (PLUGINS / "tones.py").read_text()
    absent.write_text(
        source.replace(
            "        rng =", '        raise DataError("no tones here: buy a tuning fork")\n        rng ='
        ).replace("from bench.api import", "from bench.errors import DataError\nfrom bench.api import")
    )
    words = ["--dataset", str(absent), "--attacker", f"{PLUGINS}/linear.py", "--jobs", "1"]
    place = ["--store", str(tmp_path / "store"), "--records", str(tmp_path / "records"), "--display", "none"]
    assert bench("run", *words, *place, "--defense", f"{PLUGINS}/hiss.py") == 2
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == "bench: no tones here: buy a tuning fork"
    assert out == ""
    assert not (tmp_path / "records").exists()
