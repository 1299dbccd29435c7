"""What a run must know of its plugins is remembered, as long as it follows from their source."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench import plugins
from bench.trials import expand as expansion
from bench.trials.expand import resolve
from bench.trials.facts import facts

PLUGINS = Path(__file__).parents[1] / "plugins"
RUN = """
import sys
from bench.commands import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
print("torch" in sys.modules)
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the user's; the folder in which plugins are remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cloakbench" / "plugins"


def test_a_run_whose_stages_are_in_the_store_imports_no_torch(cache: Path, tmp_path: Path) -> None:
    words = ["run", "--control", "none", "--seeds", "1", "--display", "none", "--store", str(tmp_path / "store")]
    for kind, name in (("dataset", "tones"), ("attacker", "linear"), ("defense", "hiss")):
        words += [f"--{kind}", str(PLUGINS / f"{name}.py")]
    words += ["--set", "hiss.epsilon=0.01"]
    outputs = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout.splitlines())
    assert [lines[-1] for lines in outputs] == ["True", "False"]
    assert [line for line in outputs[0] if "records:" not in line][:-1] == [
        line for line in outputs[1] if "records:" not in line
    ][:-1]


def test_what_is_remembered_is_what_was_found(cache: Path) -> None:
    for kind, name in (
        ("attackers", "melcnn"),
        ("defenses", "noise"),
        ("adaptations", "mp3"),
        ("datasets", "chorales"),
    ):
        first, again = (resolve(kind, name, {}, "smoke", "mine", "audio") for _ in range(2))  # type: ignore[arg-type]
        assert first == again
        assert facts(kind, name) == facts(kind, name)  # type: ignore[arg-type]
    assert len(list(cache.glob("*.json"))) == 8


def test_another_source_and_other_parameters_are_not_remembered(cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "hiss.py"
    source = (PLUGINS / "hiss.py").read_text()
    file.write_text(source)
    assert resolve("defenses", str(file), {}).params != resolve("defenses", str(file), {"epsilon": 0.5}).params
    first = resolve("defenses", str(file), {})
    other = tmp_path / "other" / "hiss.py"
    other.parent.mkdir()
    other.write_text(source.replace("epsilon: float = ", "epsilon: float = 0.5 * "))
    assert resolve("defenses", str(other), {}).params["epsilon"] == 0.5 * first.params["epsilon"]


def test_a_plugin_that_reads_files_is_asked_for_its_fingerprint_every_time(cache: Path, tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "tones.py"
    data.write_text("one")
    source = (PLUGINS / "tones.py").read_text()
    file.write_text(source + f"\n    def fingerprint(self):\n        return open({str(data)!r}).read()\n")
    assert resolve("datasets", str(file), {}).data == "one"
    data.write_text("two")
    assert resolve("datasets", str(file), {}).data == "two"


def test_a_cache_that_is_broken_or_cannot_be_written_changes_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = resolve("defenses", "noise", {})
    for file in cache.glob("*.json"):
        file.write_text("{")
    assert resolve("defenses", "noise", {}) == expected
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert resolve("defenses", "noise", {}) == expected
    monkeypatch.setattr(expansion, "remembered", lambda kind, name, asked, find: find() or {})
    assert resolve("defenses", "noise", {}).digest == plugins.digest("defenses", "noise")
