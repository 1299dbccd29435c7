"""`bench new` writes plugins that work as they are, where they belong, and never over anything."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import plugins
from bench.commands import main
from bench.commands.check import kind_of
from bench.vocabulary import Kind
from tests.processes import Python

ROOT = Path(__file__).resolve().parents[2]
KINDS: dict[str, Kind] = {
    "defense": "defenses",
    "attacker": "attackers",
    "adaptation": "adaptations",
    "dataset": "datasets",
}


def bench(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.fixture
def run(python: Python) -> Callable[..., str]:
    """Run a module in a folder; what it prints."""

    def run(folder: Path, *words: str) -> str:
        done = python.run("-m", *words, cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one new plugin of every kind."""
    folder = tmp_path_factory.mktemp("fresh")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for kind in KINDS:
            assert bench("new", kind, f"my_{kind}") == 0
    card = folder / "my_dataset.toml"
    card.write_text(card.read_text().replace('"TODO: ', '"for a test: '))
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_bare_plugin_loads_and_the_kit_says_what_is_not_written(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert bench("new", kind, "my_idea", "--bare") == 0
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"my_idea.py", "test_my_idea_contract.py"} | ({"my_idea.toml"} if kind == "dataset" else set())
    capsys.readouterr()
    assert bench("check", "my_idea.py", "--fast") == 3
    out = capsys.readouterr().out
    assert "ok    fits the contract" in out
    assert "is not written yet" in out
    if kind == "dataset":
        assert "my_idea.toml: " in next(line for line in out.splitlines() if "has a card" in line)


def test_a_card_that_is_the_templates_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert bench("new", "dataset", "my_idea") == 0
    assert bench("check", "my_idea.py") == 3
    out = capsys.readouterr().out
    assert "FAIL  has a card: my_idea.toml: homepage, licence, citation are not filled in" in out
    assert out.count("FAIL") == 1
    card = tmp_path / "my_idea.toml"
    card.write_text(card.read_text().replace("TODO: ", "").replace("items = 96", "items = 97"))
    assert bench("check", "my_idea.py") == 3
    assert "my_idea.toml: train of preset smoke has items = 97, load gives 96" in capsys.readouterr().out


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_keeps_the_whole_contract(fresh: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(fresh / f"my_{kind}.py")
    assert kind_of(file) == KINDS[kind]
    assert bench("check", file) == 0
    out = capsys.readouterr().out
    skipped = [line.strip().split(": ")[0] for line in out.splitlines() if "skip" in line]
    assert skipped == (["skip  its threat models fit"] if kind == "dataset" else [])
    assert f"{kind} '{file}' fits the contract" in out


def test_the_new_tests_pass(fresh: Path, run: Callable[..., str]) -> None:
    out = run(fresh, "pytest", "-q", "-p", "no:cacheprovider")
    assert "passed, 1 skipped" in out  # the data set's threat model, which it may declare


def test_new_files_are_clean(fresh: Path, run: Callable[..., str]) -> None:
    pytest.importorskip("ruff", reason="ruff is not installed")
    pytest.importorskip("mypy", reason="mypy is not installed")
    settings = str(ROOT / "pyproject.toml")
    files = [file.name for file in sorted(fresh.glob("*.py"))]
    assert "All checks passed" in run(fresh, "ruff", "check", "--no-cache", "--config", settings, ".")
    formatted = run(fresh, "ruff", "format", "--no-cache", "--check", "--config", settings, ".")
    assert f"{len(files)} files already formatted" in formatted
    # What was found out of torch and bench before is kept: it is most of the work.
    checked = run(fresh, "mypy", "--config-file", settings, "--cache-dir", str(ROOT / ".mypy_cache"), *files)
    assert f"no issues found in {len(files)} source files" in checked


def test_the_new_plugins_meet_in_a_trial(fresh: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"--{kind}={fresh / f'my_{kind}.py'}" for kind in ("defense", "attacker", "dataset")]
    words += [f"--adapt={fresh / 'my_adaptation.py'}", "--preset", "smoke", "--seeds", "1", "--jobs", "1"]
    assert bench("run", *words, "--store", str(tmp_path), "--display", "none") == 0
    out = capsys.readouterr().out
    assert "my_attacker: learns clean data" in out
    assert "FAILED" not in out
    row = next(line for line in out.splitlines() if line.startswith("my_defense"))
    alone, adapted = (float(cell) for cell in row.split()[2:])
    assert alone > adapted > 0  # the tone costs learning, and taking tones out gives some of it back


def test_the_next_commands_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert bench("new", "defense", "my_idea", "--out", "some where") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "wrote some where/my_idea.py",
        "wrote some where/test_my_idea_contract.py",
        "wrote some where/test_my_idea.py",
    ]
    assert "  bench check 'some where/my_idea.py'" in lines
    assert "  python -m pytest 'some where/test_my_idea_contract.py' 'some where/test_my_idea.py'" in lines
    assert plugins.load("defenses", "some where/my_idea.py").__name__ == "MyIdea"


@pytest.mark.parametrize("kind", ["attacker", "dataset"])
def test_a_plugin_in_a_folder_is_named_by_the_folder(
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    run: Callable[..., str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert bench("new", kind, "my_idea", "--folder") == 0
    assert "  bench check my_idea\n" in capsys.readouterr().out
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    card = {"my_idea.toml"} if kind == "dataset" else set()
    assert files == {"my_idea/__init__.py", "test_my_idea.py", "test_my_idea_contract.py"} | card
    for file in card:
        (tmp_path / file).write_text((tmp_path / file).read_text().replace('"TODO: ', '"for a test: '))
    run(tmp_path, "pytest", "-q", "-p", "no:cacheprovider")
    assert bench("new", "attacker", "my_other", "--folder", "--package") == 2
    assert "--package and --folder exclude each other" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "plugin", "test"),
    [
        ("defense", "defenses/my_idea.py", "tests/defenses/test_my_idea.py"),
        ("attacker", "attackers/my_idea.py", "tests/attackers/test_my_idea.py"),
        ("adaptation", "attackers/adaptive/my_idea.py", "tests/attackers/adaptive/test_my_idea.py"),
        ("dataset", "datasets/my_idea.py", "tests/datasets/test_my_idea.py"),
    ],
)
def test_in_a_checkout_each_file_goes_where_its_like_is(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    plugin: str,
    test: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for folder in ("bench/api", "defenses", "tests"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path / "tests")
    assert bench("new", kind, "my_idea") == 0
    contract = test.replace(".py", "_contract.py")
    expected = {plugin, test, contract} | ({"datasets/my_idea.toml"} if kind == "dataset" else set())
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*my_idea*")}
    assert made == expected
    assert 'NAME = "my_idea"' in (tmp_path / test).read_text()
    assert 'NAME = "my_idea"' in (tmp_path / contract).read_text()
    assert "  bench check my_idea\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("My-Idea", "such as 'my_idea'"),
        ("MyIdea", "such as 'my_idea'"),
        ("2fast", "such as 'my_2fast'"),
        ("class", "such as 'my_class'"),
        ("none", "such as 'my_none'"),
        ("defense", "such as 'my_defense'"),
        ("_hidden", "such as 'hidden'"),
        ("../up", "such as 'up'"),
        ("n" * 65, f"at most 64, such as '{'n' * 64}'"),
        ("n" * 300, "at most 64"),
        ("a\0b", "such as 'a_b'"),
        ("a\nb", "such as 'a_b'"),
        ("noise", "a defense 'noise' exists already"),
        ("mp3", "an adaptation 'mp3' exists already"),
        ("random", "'random' is a module of Python's here"),
        ("torch", "'torch' is a module of Python's here"),
    ],
)
def test_a_name_that_cannot_be_is_refused_and_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert bench("new", "defense", name) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("there", ["my_idea.py", "test_my_idea.py", "my_idea.toml"])
def test_nothing_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / there).write_text("mine")
    assert bench("new", "dataset", "my_idea") == 2
    assert f"{there} exists" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine"


def test_what_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cloakbench-my-idea").mkdir()
    (tmp_path / "cloakbench-my-idea" / "tests").write_text("in the way")
    assert bench("new", "defense", "my_idea", "--package") == 2
    assert "cannot be written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["tests"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_has_all_that_pip_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert bench("new", kind, "my_idea", "--package") == 0
    root = tmp_path / "cloakbench-my-idea"
    module = root / "src" / "cloakbench_my_idea"
    project = tomllib.loads((root / "pyproject.toml").read_text())
    assert project["project"]["name"] == "cloakbench-my-idea"
    points = project["project"]["entry-points"]
    assert points == {f"bench.{KINDS[kind]}": {"my_idea": "cloakbench_my_idea.my_idea:MyIdea"}}
    assert plugins.load(KINDS[kind], str(module / "my_idea.py")).__name__ == "MyIdea"
    assert (module / "my_idea.toml").exists() == (kind == "dataset")
    assert 'NAME = "cloakbench-my-idea/my_idea"' in (root / "tests" / "test_my_idea.py").read_text()
    out = capsys.readouterr().out
    assert out.index("pip install -e cloakbench-my-idea") < out.index("bench check cloakbench-my-idea/my_idea")


def test_a_package_may_have_the_name_of_a_file_that_is_there(tmp_path: Path, run: Callable[..., str]) -> None:
    run(tmp_path, "bench", "new", "defense", "my_idea")
    run(tmp_path, "bench", "new", "defense", "my_idea", "--package")
    run(tmp_path, "bench", "new", "defense", "my_idea", "--out", "elsewhere")
    assert {path.name for path in tmp_path.iterdir()} >= {"my_idea.py", "cloakbench-my-idea", "elsewhere"}
    assert (tmp_path / "cloakbench-my-idea" / "src" / "cloakbench_my_idea" / "my_idea.py").is_file()


@pytest.mark.install
def test_a_package_installs_and_its_test_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., str]
) -> None:
    pytest.importorskip("hatchling", reason="hatchling, which builds the package, is not installed")
    monkeypatch.chdir(tmp_path)
    assert bench("new", "defense", "my_idea", "--package") == 0
    root, site = tmp_path / "cloakbench-my-idea", tmp_path / "site"
    words = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(site), str(root)]
    run(tmp_path, "pip", *words)
    monkeypatch.setenv("PYTHONPATH", f"{site}:{ROOT}")
    assert "cloakbench-my-idea/my_idea  A tone under the recording" in run(tmp_path, "bench", "list", "defenses")
    assert "passed" in run(root, "pytest", "-q", "-p", "no:cacheprovider")
    pytest.importorskip("ruff", reason="ruff is not installed")
    run(root, "ruff", "check", "--no-cache", ".")
    run(root, "ruff", "format", "--no-cache", "--check", ".")
