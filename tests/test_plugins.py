"""Every plugin of the tree keeps the contract, and a file is a plugin: names, loading, parameters."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import plugins
from bench._kit.plugin import HEAVY
from bench.check import Check, Skipped, checks
from bench.errors import PluginError, UsageError
from bench.vocabulary import Kind

GOOD = '''"""A whisper."""
from dataclasses import dataclass
from bench.api import Defense, Clips
from bench.sound.masking import threshold_in_quiet

@dataclass(frozen=True)
class Whisper(Defense[Clips]):
    presets = {"smoke": {"level": 0.5}, "full": {"bands": (1, 2, 3)}}

    level: float = 0.25
    bands: tuple[int, ...] = (1, 2)

    def __post_init__(self):
        if self.level < 0:
            raise ValueError(f"level = {self.level}, expected 0 or more")

    def protect(self, data, knowledge, rng):
        return data
'''


# --- the conformance kit, over every plugin of the tree


# Optimised for so long at most: what the contract asks of a defense does not depend on it.
QUICK: dict[str, dict[str, Any]] = {
    "constant_epsilon": {"rounds": 2},
    "dynamic_epsilon": {"rounds": 1, "learner_steps": 5},
    "error_maximizing": {"steps": 2},
    "loop": {"steps": 2},
    "signal_copy": {"noise_steps": 4},
    "universal": {"steps": 3},
}


def every_check() -> Iterator[object]:
    for kind in plugins.FOLDERS:
        for name in (found.name for found in plugins.names(kind).values() if found.origin == "built in"):
            try:
                made = list(checks(kind, plugins.build(kind, name, QUICK.get(name), preset="smoke")))
            except (PluginError, UsageError) as error:
                made = [Check("can be built", "The file holds a plugin that its preset builds.", Refusal(str(error)))]
            for check in made:
                marks = [pytest.mark.slow] if check.slow else []
                yield pytest.param(check, id=f"{kind}-{name}-{str(check).replace(' ', '_')}", marks=marks)


class Refusal:
    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __call__(self) -> None:
        raise AssertionError(self.reason)


@pytest.mark.parametrize("check", list(every_check()))
def test_contract(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"  # where `bench_data` looks too
    if "BENCH_DATA" not in os.environ and beside.is_dir():
        monkeypatch.setenv("BENCH_DATA", str(beside))
    try:
        check.run()
    except Skipped as reason:
        pytest.skip(str(reason))


# --- names without import


def python(code: str) -> str:
    """What a fresh interpreter prints, run in the checkout: the place where a folder could hide a library."""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=plugins.home())
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_listing_imports_neither_torch_nor_ray_nor_a_plugin() -> None:
    out = python(
        "import sys\nfrom bench import plugins\n"
        "for kind in plugins.FOLDERS: print(*plugins.names(kind))\n"
        "print('loaded', *(m for m in sys.modules if m in ('torch', 'ray', 'numpy') or m.startswith('bench.def')))\n"
    )
    assert out.splitlines()[0].split()[0] == "clean"
    assert out.splitlines()[-1] == "loaded"


def test_loading_every_plugin_imports_no_heavy_library() -> None:
    out = python(
        "import sys\nfrom bench import plugins\n"
        "for kind in plugins.FOLDERS:\n"
        "    for found in plugins.names(kind).values():\n"
        "        if found.origin == 'built in': plugins.load(kind, found.name)\n"
        "print(*sys.modules)\n"
    )
    assert not HEAVY & set(out.split())


def test_datasets_is_the_library_of_that_name_and_not_our_folder() -> None:
    pytest.importorskip("datasets", reason="the Hugging Face library 'datasets' is not installed")
    out = python(
        "from bench import plugins\nfor name in plugins.names('datasets'): plugins.find('datasets', name)\n"
        "import datasets\nprint(datasets.__file__, hasattr(datasets, 'load_dataset'))\n"
    )
    assert out.endswith("True\n")
    assert not Path(out.split()[0]).is_relative_to(plugins.home() / "datasets")


def test_summaries_are_the_first_lines_and_a_broken_file_is_listed_as_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "defenses"
    (folder / "choir").mkdir(parents=True)
    (folder / "good.py").write_text(GOOD)
    (folder / "choir" / "__init__.py").write_text('"""A folder is a plugin too.\n\nMore."""')
    (folder / "bad.py").write_text("def (:\n")
    (folder / "_private.py").write_text(GOOD)
    (folder / "empty").mkdir()
    monkeypatch.setattr(plugins, "home", lambda: tmp_path)
    found = {name: listing.summary for name, listing in plugins.names("defenses").items() if "/" not in name}
    assert list(found) == ["bad", "choir", "good"]
    assert found["good"] == "A whisper."
    assert found["choir"] == "A folder is a plugin too."
    assert found["bad"].startswith("(broken: SyntaxError")


# --- loading by name


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [("defenses", "harmonycloack", "did you mean 'harmonycloak'?"), ("defenses", "claen", "did you mean 'clean'?")],
)
def test_an_unknown_name_is_answered_with_the_nearest(kind: Kind, name: str, hint: str) -> None:
    with pytest.raises(PluginError) as caught:
        plugins.load(kind, name)
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "near"), [("mine", "mine.py"), ("several.py", "several")])
def test_a_name_of_a_file_here_is_answered_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, near: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(GOOD)
    (tmp_path / "several").mkdir()
    (tmp_path / "several" / "__init__.py").write_text(GOOD)
    with pytest.raises(PluginError, match=rf"did you mean '{near}'\?"):
        plugins.load("defenses", name)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def (:\n", "SyntaxError"),
        ("import no_such_library_anywhere\n", "ModuleNotFoundError: No module named 'no_such_library_anywhere'"),
        ("1 / 0\n", "ZeroDivisionError"),
        ('"""Nothing."""\n', "must hold one public class that inherits Defense; found: none"),
        (GOOD + GOOD.replace("Whisper", "Murmur"), "found: Whisper, Murmur"),
        (GOOD.replace("@dataclass(frozen=True)", "@dataclass"), "must be a frozen dataclass"),
        (GOOD.replace("class Whisper", "class _Whisper"), "found: none"),
    ],
)
def test_a_broken_plugin_says_which_and_why_in_one_line(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(PluginError) as caught:
        plugins.load("defenses", str(file))
    assert str(file) in str(caught.value)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_broken_plugin_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("1 / 0\n")
    with pytest.raises(PluginError):
        plugins.load("defenses", str(tmp_path / "bad.py"))
    assert plugins.load("defenses", "clean").__name__ == "Clean"


def test_a_file_of_the_users_is_a_plugin_and_a_missing_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(GOOD)
    assert plugins.find("defenses", str(file)).summary == "A whisper."
    assert plugins.load("defenses", str(file)) is plugins.load("defenses", str(file)), "imported once"
    with pytest.raises(PluginError, match=r"no defense file '.*gone\.py'"):
        plugins.load("defenses", str(tmp_path / "gone.py"))


# --- parameters


@pytest.fixture
def whisper(tmp_path: Path) -> str:
    (tmp_path / "whisper.py").write_text(GOOD)
    return str(tmp_path / "whisper.py")


def test_parameters_are_defaults_then_preset_then_those_given(whisper: str) -> None:
    assert plugins.resolved(plugins.build("defenses", whisper)) == {"level": 0.25, "bands": (1, 2)}
    assert plugins.build("defenses", whisper, preset="smoke").level == 0.5
    assert plugins.build("defenses", whisper, preset="full").bands == (1, 2, 3)
    assert plugins.build("defenses", whisper, {"level": 0.75}, preset="smoke").level == 0.75
    assert plugins.build("defenses", whisper, {"bands": [4, 5]}).bands == (4, 5), "a list from JSON"


@pytest.mark.parametrize(
    ("given", "preset", "sentence"),
    [
        ({"level": "loud"}, "small", "level = 'loud'"),
        ({"bands": "wide"}, "small", "bands = 'wide'"),
        ({"lvel": 0.1}, "small", "did you mean 'level'?"),
        ({"level": -1.0}, "small", "level = -1.0, expected 0 or more"),
        ({}, "smole", "unknown preset 'smole': did you mean 'smoke'?"),
    ],
)
def test_a_wrong_parameter_is_answered_in_one_line(
    whisper: str, given: dict[str, Any], preset: str, sentence: str
) -> None:
    with pytest.raises(UsageError) as caught:
        plugins.build("defenses", whisper, given, preset=preset)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
