"""One trial's page: found by file, name or key; heard where a store has its sets, made again where none has."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.commands import main
from bench.results.suite import Suite
from bench.trials.expand import expand
from bench.trials.run import execute, prepare
from bench.trials.store import Store

PLUGINS = Path(__file__).resolve().parents[1] / "plugins"

Suites = Callable[..., Suite]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store that the tests share; it is filled by the first of them."""
    return tmp_path_factory.mktemp("listen") / "store"


@pytest.fixture
def made(small_suite: Suites, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A record of noise on tones, in the records of the default store, which holds its sets."""
    monkeypatch.setenv("BENCH_STORE", str(root))
    records = root / "records" / "mine"
    if not root.exists():
        trials = expand(small_suite(adaptations=["none", "quieter"])).trials
        execute(prepare(trials, Store(root)), records, lambda event: None, jobs=1)
    return next(records.glob("*hiss*quieter--s1.json"))


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(words)
    printed = capsys.readouterr()
    return int(left.value.code or 0), printed.out.strip(), printed.err


@pytest.mark.parametrize("by", ["file", "name", "key"])
def test_a_trial_is_heard_by_file_name_or_key(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], by: str
) -> None:
    key = re.search(r'"key": ?"(\w+)"', made.read_text())
    assert key
    what = {"file": str(made), "name": made.stem, "key": key[1][:10]}[by]
    code, out, _ = said(["listen", what, "--out", str(tmp_path / "page")], capsys)
    assert code == 0
    text = Path(out).read_text()
    for name in ("clean", "protected", "noise alone", "noise, raised", "protected, after quieter"):
        assert f"</kbd> {name}" in text
    for file in re.findall(r'data-src="([^"]+)"', text):
        assert (Path(out).parent / file).is_file()
    assert "seed 0" in text  # the other seed stands beside it
    assert "index.html" not in text  # no way back to pages that are not there


def test_bad_words_are_one_line_and_write_nothing(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = ["--out", str(tmp_path / "page")]
    for what, says in {
        made.stem.replace("hiss", "hizz"): "did you mean",
        "zz": "expected a record's file or name",
        str(tmp_path / "absent.json"): "no file",
        made.stem.replace("hiss--white-box", "clean--none"): "nothing was protected",
    }.items():
        code, out, error = said(["listen", what, *page], capsys)
        assert (code, out) == (2, "")
        assert says in error
        assert error.count("\n") == 1
    assert not (tmp_path / "page").exists()


def test_sets_that_are_gone_are_said_to_be(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_STORE", str(tmp_path / "store"))  # which holds the records and no set
    folder = shutil.copytree(made.parent, tmp_path / "store" / "records" / "mine")
    made, page = folder / made.name, tmp_path / "page"
    code, _, error = said(["listen", str(made), "--out", str(page)], capsys)
    assert code == 2
    assert "--make" in error
    assert not page.exists()
    own = [
        word for name in ("tones", "hiss", "linear", "quieter") for word in ("--plugin", str(PLUGINS / f"{name}.py"))
    ]
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})  # so that it starts no workers
    code, out, _ = said(["listen", str(made), "--out", str(page), "--make", "--display", "none", *own], capsys)
    assert code == 0
    assert "</kbd> protected, after quieter" in Path(out).read_text()


def test_the_seed_that_was_asked_for_is_heard(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sounds = []
    for seed in (0, 1):
        name = made.stem.replace("--s1", f"--s{seed}")
        _, out, _ = said(["listen", name, "--out", str(tmp_path / "page")], capsys)
        text = Path(out).read_text()
        noise = re.search(r'data-src="([^"]+)"[^>]*><kbd[^>]*>\d</kbd> noise alone', text)
        assert noise
        sounds.append((Path(out).parent / noise[1]).read_bytes())
    assert sounds[0] != sounds[1]
