"""A plugin that would end the program is an error of the plugin, however it does it and wherever it runs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from bench import guard, plugins
from bench.commands import main
from bench.errors import PluginError
from bench.guard import exit_raises
from bench.results.suite import Suite
from bench.trials import scheduler
from bench.trials.expand import expand
from bench.trials.run import execute, prepare
from bench.trials.store import Store
from tests.processes import start_python

ROOT = Path(__file__).resolve().parents[1]
WAYS = [
    "import sys; sys.exit(0)",
    "quit()",
    "raise SystemExit('a licence is missing')",
    "import argparse; argparse.ArgumentParser().parse_args(['--help'])",
    "import os; os._exit(0)",
]
PLUGIN = '''"""A defense that ends the program."""

from dataclasses import dataclass

from bench.api import Clips, Defense

{imported}


@dataclass(frozen=True)
class Ends(Defense[Clips]):
    level: float = 0.1

    def __post_init__(self):
        {built}

    def protect(self, data, knowledge, rng):
        {protected}
        return data
'''


def ending(folder: Path, *, imported: str = "", built: str = "pass", protected: str = "pass") -> Path:
    """A defense's file that ends the program when it is imported, built or used."""
    folder.mkdir(exist_ok=True)
    file = folder / "ends.py"
    file.write_text(PLUGIN.format(imported=imported, built=built, protected=protected))
    return file


@pytest.mark.parametrize("way", WAYS)
def test_its_trials_fail_and_the_others_do_not(
    way: str, small_suite: Callable[..., Suite], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = ending(tmp_path / "plugin", protected=way)
    suite = small_suite(defenses=["clean", "ends"], seeds=[0], defense={"ends": {"plugin": str(file)}})
    suite = suite.model_copy(update={"defense": {"ends": {"plugin": str(file)}}})
    work = prepare(expand(suite).trials, Store(tmp_path / "store"))
    records = execute(work, tmp_path / "records", lambda event: None, jobs=1)
    status = {record.trial.row: (record.status, (record.error or {}).get("type")) for record in records}
    assert status == {"clean": ("ok", None), "ends": ("failed", "SystemExit")}
    broken = next(record for record in records if record.error)
    assert broken.error
    assert broken.error["message"].startswith("a plugin called exit(")
    assert "\n" not in broken.error["message"]


@pytest.mark.parametrize("name", ["CancelledError", "GeneratorExit"])
def test_an_exception_of_a_plugin_that_is_no_error_fails_its_stage(
    name: str, small_suite: Callable[..., Suite], tmp_path: Path
) -> None:
    """`BaseException` has children that a plugin's libraries raise: only the user's Ctrl-C may end the run."""
    source = f"from asyncio import CancelledError; raise {name}('stopped')"
    file = ending(tmp_path / "plugin", protected=source)
    suite = small_suite(defenses=["ends"], seeds=[0], defense={"ends": {"plugin": str(file)}})
    suite = suite.model_copy(update={"defense": {"ends": {"plugin": str(file)}}})
    work = prepare(expand(suite).trials, Store(tmp_path / "store"))
    (record,) = execute(work, tmp_path / "records", lambda event: None, jobs=1)
    assert record.status == "failed"
    assert record.error
    assert (record.error["type"], record.error["message"]) == (name, "stopped")


def test_a_plugin_that_ends_the_process_of_a_single_job_fails_its_trials_alone(
    small_suite: Callable[..., Suite], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No handler catches these in the process where they happen: the driver must be another one."""
    monkeypatch.setenv("BENCH_IN_PROCESS", "0")
    monkeypatch.setattr(scheduler, "MOST_ATTEMPTS", 1)
    left = "a plugin ended its process with exit code 0"
    ways = {
        "crashes": ("import ctypes; ctypes.string_at(0)", "WorkerLost: the worker was killed by SIGSEGV"),
        "leaves": ("import posix; posix._exit(0)", f"WorkerLost: {left}"),
        "becomes": ("import os; os.execv('/bin/true', ['true'])", f"WorkerLost: {left}"),
        "interrupts": ("raise KeyboardInterrupt('mine')", "KeyboardInterrupt: mine"),
    }
    files = {name: ending(tmp_path / name, protected=way) for name, (way, _) in ways.items()}
    tables = {name: {"plugin": str(file)} for name, file in files.items()}
    suite = small_suite(defenses=["clean", *ways], seeds=[0]).model_copy(update={"defense": tables})
    work = prepare(expand(suite).trials, Store(tmp_path / "store"))
    records = {record.trial.row: record for record in execute(work, tmp_path / "records", lambda event: None, jobs=1)}
    assert records.pop("clean").status == "ok"
    assert records.keys() == ways.keys()
    for name, record in records.items():
        assert record.error is not None
        assert f"{record.error['type']}: {record.error['message']}".startswith(ways[name][1])


@pytest.mark.parametrize("when", ["imported", "built"])
@pytest.mark.parametrize(
    ("way", "line"),
    [
        ("raise BaseException('a\\nb')", "BaseException: a b ("),
        ("raise GeneratorExit", "GeneratorExit ("),
        ("raise TypeError('one\\n  two')", "TypeError: one two ("),
        ("1 / 0", "ZeroDivisionError: division by zero ("),
    ],
)
def test_any_exception_of_loading_it_is_one_line_with_its_place(
    way: str, line: str, when: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = ending(tmp_path / "plugin", **{when: way})
    with pytest.raises(SystemExit) as left:
        main(["run", "--attacker", "m5", "--defense", str(file)])
    err = capsys.readouterr().err
    assert left.value.code == 2
    assert f"cannot be {when}: {line}{file}, line " in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("when", ["imported", "built"])
def test_loading_it_is_one_line(way: str, when: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = ending(tmp_path / "plugin", **{when: way})
    with pytest.raises(PluginError, match=r"a plugin called exit\("):
        plugins.build("defenses", str(file))


@pytest.mark.parametrize("when", ["imported", "built"])
@pytest.mark.parametrize(
    ("way", "end"),
    [
        ("import posix; posix._exit(0)", "exit code 0"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("import os; os.execv('/bin/sleep', ['sleep', '60'])", "another program took its place"),
    ],
)
def test_what_would_end_the_driver_without_an_exception_is_one_line(
    way: str, end: str, when: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """No handler sees these: the driver survives because a fork of it tries them first."""
    file = ending(tmp_path / "plugin", **{when: f"print('once'); {way}"})
    with pytest.raises(SystemExit) as left:
        main(["run", "--attacker", "m5", "--defense", str(file)])
    out, err = capfd.readouterr()
    assert left.value.code == 2
    assert f"cannot be {when}: that ends the process ({end})" in err
    assert (out, err.count("\n")) == ("", 1)


def test_a_rehearsal_changes_nothing_and_is_held_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    imported = "import os; print('imported by', os.getpid())"
    file = ending(tmp_path / "plugin", imported=imported, built="print('built')")
    for _ in range(2):
        plugins.build("defenses", str(file))
    assert capfd.readouterr().out == f"imported by {os.getpid()}\nbuilt\nbuilt\n"
    assert guard.fatal_end(lambda: 1 / 0) == ""
    assert guard.fatal_end(lambda: torch.ones(200_000).sum()) == ""  # with the threads of one


def test_a_command_that_uses_it_in_its_own_process_says_how_it_ended(tmp_path: Path) -> None:
    becomes = ending(tmp_path / "becomes", protected="import os; os.execv('/bin/true', ['true'])")
    soundfile.write(tmp_path / "a.wav", np.linspace(-0.5, 0.5, 4_000), 8_000)
    words = ["protect", "a.wav", "-o", "b.wav", "--attacker", "none"]
    done = start_python("-m", "bench", *words, "--defense", str(becomes), cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 3
    assert (
        done.stderr == "bench: a plugin ended the program (exit code 0), expected it to return or to raise an error\n"
    )
    assert not (tmp_path / "b.wav").exists()


@pytest.mark.parametrize("way", WAYS)
def test_a_command_that_it_ends_is_not_a_success(way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`bench check` uses the plugin in the command's own process."""
    with pytest.raises(SystemExit) as left:
        main(["check", str(ending(tmp_path / "plugin", protected=way))])
    assert left.value.code == 3
    assert "a plugin called exit(" in capsys.readouterr().err


def test_ctrl_c_is_not_taken_for_an_exit_of_a_plugin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*anything: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(plugins, "names", interrupt)
    with pytest.raises(SystemExit) as left:
        main(["list"])
    assert left.value.code == 130
    assert "plugin" not in capsys.readouterr().err


def test_os_exit_is_itself_again_afterwards_and_for_other_threads() -> None:
    leave = os._exit
    with exit_raises():
        with pytest.raises(SystemExit) as left:
            os._exit(7)
        assert left.value.code == 7
        assert os._exit is not leave
    assert os._exit is leave
    code = (
        "import os, threading\n"
        "from bench.guard import exit_raises\n"
        "with exit_raises():\n"
        "    thread = threading.Thread(target=lambda: os._exit(5))\n"
        "    thread.start(); thread.join()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert done.returncode == 5  # a worker whose driver died leaves so
    assert threading.current_thread() is threading.main_thread()


def test_importing_bench_changes_nothing() -> None:
    code = (
        "import sys, os, signal\n"
        "before = (list(sys.meta_path), list(sys.path), sys.excepthook, os._exit, signal.getsignal(signal.SIGINT))\n"
        "import bench, bench.api, bench.plugins, bench.commands\n"
        "after = (list(sys.meta_path), list(sys.path), sys.excepthook, os._exit, signal.getsignal(signal.SIGINT))\n"
        "assert before == after, (before, after)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
