"""The house keeps its shape: who may import whom, what lies where, and how it is run and installed."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import plugins
from bench.results.suite import read
from bench.trials.expand import expand
from tests.processes import Python

ROOT = Path(__file__).resolve().parents[1]
PLUGIN_FOLDERS = ("defenses", "attackers", "attackers/adaptive", "datasets")
# About the tree as a whole, so they mirror no module.
WHOLE_TREE = {"test_layout.py", "test_exported_names.py", "test_imports.py"}
# One subject that several modules of the mirrored folder share.
SEVERAL = {
    "attackers/adaptive/test_augmentation.py": (
        "shift_gain",
        "spec_augment",
        "eq_augment",
        "add_noise",
        "change_speed",
        "mix_in",
    ),
    "attackers/adaptive/test_filters.py": (
        "trim",
        "quantise",
        "low_pass",
        "spectral_gate",
        "wiener",
        "spectral_subtraction",
        "masking_filter",
        "median_filter",
        "nmf",
    ),
    "attackers/adaptive/test_midi.py": (
        "binarise",
        "deghost",
        "flatten_velocity",
        "merge_repeats",
        "quantise_grid",
        "transpose",
    ),
    "attackers/adaptive/test_pairs.py": ("pairs_filter", "pairs_unet", "pairs_wiener"),
    "attackers/adaptive/test_recoding.py": ("mp3", "opus", "resample", "vorbis"),
    "attackers/adaptive/test_training.py": ("adversarial_training", "anomaly_filter", "worst_of"),
    "attackers/test_classifiers.py": ("m5", "melcnn", "mfcc"),
    "commands/test_output_folders.py": ("matrix", "gate", "leaderboard"),
    "datasets/test_cards.py": ("folder", "huggingface", "lakh", "pop909", "speech_commands", "spoken_digits"),
    "defenses/test_midi_defenses.py": ("ghosts", "lookahead", "random_velocity", "harmonycloak"),
    "defenses/test_speech_defenses.py": ("constant_epsilon", "dynamic_epsilon", "error_maximizing", "universal"),
}
TOP = {"bench", "defenses", "attackers", "datasets", "leaderboards", "tests", "benchmarks", "docs", "requirements"}


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [Path(line) for line in done.stdout.splitlines()]


def test_plugin_folders_are_no_packages() -> None:
    for folder in PLUGIN_FOLDERS:
        assert not (ROOT / folder / "__init__.py").exists(), f"{folder}/__init__.py would hide packages of that name"


def test_the_engine_names_no_plugin_and_plugins_name_none_either() -> None:
    kinds = tuple(f"bench.{kind}" for kind in ("defenses", "attackers", "datasets"))
    for folder in ("bench", *PLUGIN_FOLDERS):
        for file in (ROOT / folder).rglob("*.py"):
            wrong = [name for name in imported(file) if name.startswith(kinds)]
            assert not wrong, f"{file.relative_to(ROOT)} imports {wrong}"


def test_only_one_file_imports_ray() -> None:
    found = {
        file.name for file in (ROOT / "bench").rglob("*.py") if "ray" in {name.split(".")[0] for name in imported(file)}
    }
    assert found == {"cluster.py"}


def test_the_top_level_is_what_was_agreed() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    assert {path.parts[0] for path in tracked() if len(path.parts) > 1 and path.parts[0] != ".ci"} <= TOP
    assert not [path for path in tracked() if path.suffix in {".pt", ".pth", ".pkl", ".npy", ".npz"}]


def test_the_checkout_stays_small_and_its_files_short() -> None:
    """Records once weighed 47 MB; a file of code that passes 400 lines has two subjects."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    files = [path for path in tracked() if (ROOT / path).is_file()]
    size = {path: (ROOT / path).stat().st_size for path in files}
    assert sum(size.values()) < 12e6
    assert sum(size[path] for path in files if path.parts[0] == "leaderboards") < 4e6
    lines = {
        path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in files if path.suffix == ".py"
    }
    assert not {path for path, count in lines.items() if count > (450 if path.parts[0] == "tests" else 400)}
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130


def mirrored(folder: Path) -> tuple[Path, ...]:
    """The folders of the source tree that a folder of tests stands for."""
    return tuple(path for path in (ROOT / "bench" / folder, ROOT / folder) if path.is_dir())


def stands_for(test: Path) -> bool:
    """Whether a test file, relative to tests/, is named for what the mirrored folder holds, or for the folder.

    The name may go on with an aspect: `test_store_s3.py` and `test_store.py` both test `store.py`.
    """
    words = test.stem.removeprefix("test_").split("_")
    names = ["_".join(words[:count]) for count in range(1, len(words) + 1)]
    return test.parent.name in names[-1:] or any(
        (folder / f"{name}{suffix}").exists()
        for folder in mirrored(test.parent)
        for name in names
        for suffix in ("", ".py", ".md")
    )


def test_the_tests_mirror_the_tree() -> None:
    folder = ROOT / "tests"
    files = {path.relative_to(folder) for path in folder.rglob("test_*.py")}
    files = {path for path in files if path.parts[0] != "packaging"}  # about pyproject.toml
    wrong = {str(path) for path in files if not stands_for(path)} - WHOLE_TREE - SEVERAL.keys()
    assert not wrong, f"stand for no module of the mirrored folder: {sorted(wrong)}"
    for file, names in SEVERAL.items():
        assert Path(file) in files, f"{file} is not there"
        text = (folder / file).read_text()
        for name in names:
            assert any(path.stem == name for home in mirrored(Path(file).parent) for path in home.iterdir()), name
            assert f'"{name}"' in text, f"{file} does not test {name}"


def test_import_datasets_is_the_library_of_hugging_face() -> None:
    code = "import datasets; print(datasets.__file__, hasattr(datasets, 'load_dataset'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("True")
    assert str(ROOT / "datasets") not in done.stdout


@pytest.mark.parametrize("suite", sorted((ROOT / "leaderboards").rglob("*.toml")), ids=lambda path: path.stem)
def test_every_suite_expands(suite: Path) -> None:
    expansion = expand(read(suite))
    assert expansion.trials
    assert expansion.left_out == ()
    assert read(suite).name == suite.stem


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout as a stranger would have it: tracked files, nothing installed from there."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    place = tmp_path_factory.mktemp("clone")
    for path in tracked():
        if (ROOT / path).is_file() and path.parts[0] in {*TOP, "pyproject.toml", "README.md", "LICENSE"} - {"tests"}:
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, place / path)
    return place


def in_place(place: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, *words], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_checkout_runs_in_place(copy: Path) -> None:
    assert str(copy) in in_place(copy, "-c", "import bench; print(bench.__file__)")
    assert "harmonycloak" in in_place(copy, "-m", "bench", "list")


def test_the_readme_opens_with_two_commands_that_the_makefile_has() -> None:
    first = (ROOT / "README.md").read_text().split("```")[1]
    commands = [line for line in first.splitlines()[1:] if line.strip()]
    assert commands == ["make run", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    for target in ("run", "test"):
        assert f"\n{target}: $(VENV)/ready\n" in makefile
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_defense_of_the_readme_is_listed_checked_and_run(copy: Path, tmp_path: Path, python: Python) -> None:
    block = next(part for part in (ROOT / "README.md").read_text().split("```python\n") if "class Hum" in part)
    source = block.split("```")[0]
    assert len([line for line in source.splitlines() if line.strip()]) <= 15
    mine = copy / "defenses" / "hum.py"
    mine.write_text(source)

    def bench(*words: str) -> str:
        done = python.run("-m", "bench", *words, cwd=copy, BENCH_STORE=str(tmp_path))
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        assert "hum" in bench("list", "defenses")
        assert "defense 'hum' fits the contract" in bench("check", "hum", "--fast")
        small = ROOT / "tests" / "plugins"
        words = ["--dataset", f"{small}/tones.py", "--attacker", f"{small}/linear.py", "--seeds", "2", "--jobs", "1"]
        assert "noise ~ hum" in bench("run", "--defense", "hum", *words)
    finally:
        mine.unlink()


def test_every_built_in_plugin_has_a_summary() -> None:
    for kind in plugins.FOLDERS:
        for listing in plugins.names(kind).values():
            assert listing.summary, f"{listing.path} has no docstring to list it by"
