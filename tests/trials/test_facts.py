"""What a run must know of its plugins is remembered, as long as it follows from their source."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench import plugins
from bench.trials import resolving
from bench.trials.facts import facts
from bench.trials.resolving import resolve

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
REFUSED = """
import sys
from bench.commands import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    print(end.code, "torch" in sys.modules)
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
    assert len(list(cache.glob("*.json"))) == 4  # what the classes declare stands in their source


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("run --defense loop --attacker symphonynet", "defense 'loop' is for audio, attacker 'symphonynet' takes midi"),
        ("run --defense noise --attacker musicgen --set noise.snr=3", "did you mean 'snr_db'?"),
        ("run --defense noise --attacker musicgen --set noise.snr_db=loud", "defense 'noise': snr_db = 'loud'"),
        ("run --defense noise --attacker musicgen --adapt deghost", "adaptation 'deghost' is for midi"),
        ("run --defense noise --attacker m5 --device gpu", "--device gpu: expected auto, cpu, cuda or cuda:N"),
        ("protect absent.wav -o out.wav", "no file 'absent.wav'"),
        ("protect here.wav -o out.ape", "cannot write '.ape' files"),
        ("protect here.wav -o out.wav --defense ghosts", "defense 'ghosts' is for midi, the file is audio"),
        ("protect here.wav -o out.wav --set harmonycloak.alpha=much", "alpha = 'much'"),
        ("protect here.wav -o out.wav --attacker symphonynet", "attacker 'symphonynet' is for midi"),
    ],
)
def test_what_the_source_tells_is_refused_before_torch_is_imported(
    cache: Path, tmp_path: Path, words: str, line: str
) -> None:
    (tmp_path / "here.wav").write_bytes(b"not read so far")
    done = subprocess.run(
        [sys.executable, "-c", REFUSED, *words.split()], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["2", "False"], done.stderr
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"here.wav", "cache"}


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
    monkeypatch.setattr(resolving, "remembered", lambda kind, name, asked, find: find() or {})
    assert resolve("defenses", "noise", {}).digest == plugins.digest("defenses", "noise")
