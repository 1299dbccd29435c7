"""Every command of an installation without extras works, or says in one line which extra it needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.exits import BAD_INPUT, OK
from bench.extras import command
from tests.factories import PLUGINS, suite_text

pytestmark = pytest.mark.install
# Runs every line of standard input as a command, all in one process, and prints [code, output] of each.
DRIVER = """
import contextlib, io, json, shlex, sys, traceback
from importlib.metadata import entry_points

if __name__ == "__main__":
    (point,) = entry_points(group="console_scripts", name="bench")
    results = []
    for line in sys.stdin.read().splitlines():
        out, code = io.StringIO(), 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                point.load()(shlex.split(line))
            except SystemExit as end:
                code = end.code
            except BaseException:
                traceback.print_exc()
                code = "raised"
        results.append([code, out.getvalue()])
    print(json.dumps(results))
"""
SUITE = suite_text(
    'name = "light"\npreset = "smoke"\nseeds = [0]\ndefenses = ["clean", "hiss"]',
    f'[defense.hiss]\nplugin = "{PLUGINS}/hiss.py"',
)
RUN = "run --defense noise --preset smoke --seeds 1 --jobs 1 --display none"
TONES = f"--dataset {PLUGINS}/tones.py"
# A piano part of one quarter note, as the bytes of a track: its length, on, off, end.
NOTES = bytes([0, 0, 0, 12, 0, 0x90, 60, 80, 96, 0x80, 60, 0, 0, 0xFF, 0x2F, 0])
WORK = [
    "list",
    "doctor",
    "new defense idea --out .",
    "check idea.py --fast",
    "check musicgen --fast",
    "protect song.wav --out noisy.wav --defense noise --attacker none",
    "matrix suite.toml --jobs 1 --display none --records records",
    "matrix suite.toml --dry-run",
    "verify records --sample 0 " + " ".join(f"--plugin {PLUGINS}/{name}.py" for name in ("tones", "hiss", "linear")),
    "show tones--hiss--white-box--linear--none --records records",
    "records show records tones--hiss--white-box--linear--none--s0",
    "rescore records",
    "inspect sounds",
    "protect song.mid --out cloaked.mid --defense noise --attacker none",
    f"{RUN} --attacker {PLUGINS}/linear.py {TONES}",
]
# Command -> the extra that it must name.
NEED = {
    "protect song.ogg --out cloaked.ogg --defense harmonycloak": "models",
    "export records --to mlflow --out mlruns": "mlflow",
    "export records --to tensorboard --out runs": "tensorboard",
    "leaderboard suite.toml --records records": "page",
    "listen records/tones--hiss--white-box--linear--none--s0.json": "page",
    f"{RUN} --attacker musicgen": "music",
    f"{RUN} --attacker ast {TONES}": "models",
    f"{RUN} --attacker m5 --dataset spoken_words": "espeak",
    f"{RUN} --attacker m5 {TONES} --on ray": "ray",
    f"{RUN} --attacker m5 {TONES} --store s3://bucket/store": "s3",
    "gate --jobs 1 --display none": "music",
    "attack --track speech --defense noise": "search",
}


@dataclass(frozen=True)
class Result:
    """How one command ended, and what it printed."""

    code: int | str
    output: str


@pytest.fixture(scope="module")
def results(light: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """Every command's result, run in the light environment in the order in which they are listed."""
    folder = tmp_path_factory.mktemp("user")
    sine = 0.5 * np.sin(2 * np.pi * 440 / 16000 * np.arange(16000))
    soundfile.write(folder / "song.wav", sine, 16000)
    soundfile.write(folder / "song.ogg", sine, 16000)
    (folder / "sounds").mkdir()
    soundfile.write(folder / "sounds" / "song.wav", sine, 16000)
    (folder / "song.mid").write_bytes(b"MThd" + bytes([0, 0, 0, 6, 0, 0, 0, 1, 0, 96]) + b"MTrk" + NOTES)
    (folder / "suite.toml").write_text(SUITE)
    (folder / "driver.py").write_text(DRIVER)
    commands = [*WORK, *NEED, "--help"]
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "BENCH_STORE": str(folder / "store")}
    environment |= {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "LANG": os.environ.get("LANG", "C.UTF-8")}
    ran = subprocess.run(
        [str(light / "python"), "driver.py"],
        input="\n".join(commands),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    ended = [Result(code, output) for code, output in json.loads(ran.stdout.splitlines()[-1])]
    return dict(zip(commands, ended, strict=True))


@pytest.mark.parametrize("line", WORK)
def test_a_command_without_optional_parts_works(results: dict[str, Result], line: str) -> None:
    assert "Traceback" not in results[line].output
    assert results[line].code == OK, results[line].output


@pytest.mark.parametrize(("line", "extra"), NEED.items())
def test_a_command_that_needs_an_extra_says_which(results: dict[str, Result], line: str, extra: str) -> None:
    result = results[line]
    assert "Traceback" not in result.output
    assert result.code == BAD_INPUT, result.output
    assert command(extra) in result.output.splitlines()[-1]


def test_every_command_is_tried(results: dict[str, Result]) -> None:
    shown = set(re.findall(r"^│ ([a-z]+) ", results["--help"].output, re.MULTILINE))
    assert shown == {line.split()[0] for line in (*WORK, *NEED)}


def test_no_optional_package_is_in_the_light_environment(light: Path) -> None:
    code = "import importlib.util as u, bench.extras as e; print([m for m in e.EXTRAS if u.find_spec(m)])"
    python = [str(light / "python"), "-P", "-c", code]  # -P: not from the current folder, which has a `datasets/`
    assert subprocess.run(python, capture_output=True, text=True, check=True, env={}).stdout.strip() == "[]"
