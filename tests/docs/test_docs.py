"""What the pages of docs/ say is run as it stands: every block, in order, in a folder of its own.

A block is `sh` (run by bash; the next block begins in the folder that it ends in), `toml title="FILE"` or `python
title="FILE"` (written to that file), or `output`: lines that the last `sh` block must have printed, in that order.
Numbers and gaps in them are taken for any others, since both depend on the machine; "…" stands for anything.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from bench.commands import app
from bench.regression import gate
from bench.trials import verify
from tests.fork_server import write_client
from tests.processes import Python, use_one_processor

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?")


def blocks(page: Path) -> Iterator[tuple[str, str, str]]:
    """(kind, title, text) of every fenced block."""
    for found in FENCE.finditer(page.read_text(encoding="utf-8")):
        kind, _, rest = found["info"].partition(" ")
        title = re.fullmatch(r'(title="([^"]+)")?', rest.strip())
        assert title is not None, f"{page.name}: '```{found['info']}'"
        yield kind, title[2] or "", found["text"]


def shape(line: str) -> str:
    """A line without what differs from machine to machine."""
    return " ".join(NUMBER.sub("#", line).split())


def shows(printed: str, line: str) -> bool:
    """Whether what was printed holds a line of the page."""
    parts = [re.escape(part.strip()) for part in shape(line).split("…")]
    return re.search(".*".join(parts), printed) is not None


class Shell:
    """Runs one block after another, each where the last one ended."""

    def __init__(self, folder: Path, python: Python):
        self.folder = folder / "work"
        self.folder.mkdir()
        self.printed = ""
        programs = folder / "bin"
        programs.mkdir()
        write_client(programs / "bench", python.address, "-m", "bench")
        (programs / "python").symlink_to(python.program)
        self._where = folder / "where"
        self._environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "BENCH_STORE": str(folder / "store"),
            "CI": "true",
            "PYTEST_PLUGINS": "bench.pytest_plugin",  # an entry point is known only to who installed it
            "GITHUB_ACTIONS": "",
        }

    def run(self, text: str) -> None:
        script = f"set -euo pipefail\n{text}\npwd > '{self._where}'\n"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
            preexec_fn=use_one_processor,
        )
        assert done.returncode == 0, f"{text}\nended with {done.returncode}:\n{done.stdout}"
        self.printed = done.stdout
        self.folder = Path(self._where.read_text().strip())


def checkout(place: Path) -> None:
    """What a clone holds that the pages use, without records and weights."""
    leave = shutil.ignore_patterns("__pycache__", "records", "*.safetensors")
    for name in ("bench", "defenses", "attackers", "datasets", "leaderboards"):
        shutil.copytree(ROOT / name, place / name, ignore=leave)
    shutil.copy2(ROOT / "pyproject.toml", place)


PAGES = (
    "from-idea-to-row.md",
    "gate.md",
    "writing-a-defense.md",
    "writing-an-attacker.md",
    "writing-an-adaptation.md",
    "writing-a-dataset.md",
    pytest.param("tracks.md", marks=pytest.mark.slow),
)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_does_what_it_says(page: str, tmp_path: Path, python: Python) -> None:
    shell = Shell(tmp_path, python)
    checkout(shell.folder / "cloakbench")
    kinds = []
    for kind, title, text in blocks(DOCS / page):
        kinds.append(kind)
        if kind == "sh":
            shell.run(text)
        elif kind in ("toml", "python"):
            assert title, f"a block of {kind} that names no file:\n{text}"
            (shell.folder / title).write_text(text, encoding="utf-8")
        elif kind == "output":
            printed = iter([shape(line) for line in shell.printed.splitlines()])
            for line in text.splitlines():
                assert any(shows(each, line) for each in printed), f"not printed, or not here:\n{line}\n{shell.printed}"
        else:
            pytest.fail(f"a block of kind '{kind}' that nobody runs:\n{text}")
    assert kinds.count("sh") >= 3
    assert kinds.count("output") >= 3


def test_the_workflow_runs_commands_that_there_are() -> None:
    workflow = yaml.safe_load((DOCS / "workflows" / "unlearnability.yml").read_text(encoding="utf-8"))
    triggers = workflow[True]  # YAML 1.1 takes "on" for a truth value, GitHub does not
    assert {"push", "pull_request"} <= set(triggers)
    (job,) = workflow["jobs"].values()
    steps = job["steps"]
    assert all(("uses" in step) != ("run" in step) for step in steps)
    used = [step["uses"].partition("@")[0] for step in steps if "uses" in step]
    assert used == ["actions/checkout", "actions/setup-python", "actions/cache", "actions/upload-artifact"]
    bench = [shlex.split(step["run"]) for step in steps if step.get("run", "").startswith("bench ")]
    assert [words[1] for words in bench] == ["check", "gate", "leaderboard"]
    for words in bench:
        command, _, leftover = app.parse_args(words[1:], exit_on_error=False, print_error=False)[:3]
        assert callable(command)
        assert not leftover
    store = next(step["with"]["path"] for step in steps if step.get("uses", "").startswith("actions/cache"))
    assert workflow["env"]["BENCH_STORE"].endswith(f"/{store}")
    shown = next(words for words in bench if words[1] == "leaderboard")
    assert shown[shown.index("--records") + 1] == f"{store}/records/gate-unlearnability"  # where the gate puts them
    (kept,) = [step for step in steps if step.get("uses", "").startswith("actions/upload-artifact")]
    assert kept["if"] == "failure()"
    assert {"gate.xml", "site"} <= set(kept["with"]["path"].split())


def test_the_verdicts_of_the_gates_page_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (\w+) \| .* \| (\d) \|$", (DOCS / "gate.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [(word, int(code)) for word, code in rows] == list(gate.EXITS.items())


def test_links_between_pages_lead_somewhere() -> None:
    for page in DOCS.glob("*.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_verdicts_of_the_page_are_those_of_the_code() -> None:
    text = " ".join((DOCS / "submitting.md").read_text(encoding="utf-8").split())
    assert f"every number but the costs within {verify.IDENTICAL:.0e}".replace("e-04", "e-4") in text
    assert f"the score within {verify.DENIED:g}, or" in text
    assert f"at most {verify.MOST_SPREAD:g} counts" in text
    assert f"audibility within {100 * verify.AUDIBLE:g} %" in text
