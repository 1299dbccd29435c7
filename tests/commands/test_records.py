"""`bench records`, `bench show`, `bench rescore`: what they print, write and refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import bench as package
from bench.commands import main
from bench.errors import UsageError
from bench.results import archive, sources, summary
from bench.results.board import boards
from bench.results.reading import load_archive
from bench.trials.run import execute, prepare
from bench.trials.store import Store
from bench.trials.trial import Trial

Trials = Callable[..., tuple[Trial, ...]]


def bench(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


def test_a_folder_goes_into_an_archive_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "records" / "mine"
    assert bench("records", "unpack", "digits-smoke", "--out", str(folder)) == 0
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "note.txt").write_text("stays")
    assert bench("records", "pack", str(folder), "--remove") == 0
    packed, summed = tmp_path / "records" / "mine.jsonl.xz", tmp_path / "results" / "mine.json"
    assert [path.name for path in folder.iterdir()] == ["note.txt"]
    assert summary.read(summed)["archive"]["sha256"] == archive.sha256(packed)
    assert bench("records", "unpack", str(packed), "--out", str(tmp_path / "back")) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "back").iterdir()} == files
    assert "14 records" in capsys.readouterr().out


def test_a_suite_is_pulled_by_the_digest_of_its_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    origin = sources.find("midi-smoke").path
    (tmp_path / "mine.toml").write_text('name = "mine"\nattackers = ["m5"]\n')
    told = summary.read(origin.parent.parent / "results" / "midi-smoke.json")
    summary.write(tmp_path / "results" / "mine.json", told)
    assert bench("records", "pull", str(origin), "--suite", str(tmp_path / "mine.toml")) == 0
    assert (tmp_path / "records" / "mine.jsonl.xz").read_bytes() == origin.read_bytes()
    assert bench("records", "pull", str(sources.find("music").path), "--suite", str(tmp_path / "mine.toml")) == 2
    assert "it was not kept" in capsys.readouterr().err
    assert (tmp_path / "records" / "mine.jsonl.xz").read_bytes() == origin.read_bytes()


def test_one_record_and_one_cell_are_shown_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    first = load_archive(sources.find("digits-smoke").path)[0]
    assert bench("records", "show", "digits-smoke", first.name) == 0
    assert json.loads(capsys.readouterr().out) == first.model_dump()
    cell = summary.read(sources.find("digits-smoke").path.parent.parent / "results" / "digits-smoke.json")["cells"][0]
    assert bench("records", "show", "digits-smoke", cell["cell"]["id"]) == 0
    assert json.loads(capsys.readouterr().out) == cell


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("records", "pack", "nowhere"), "unknown suite"),
        (("records", "pack", "digits-smoke", "--remove"), "--remove goes with a folder"),
        (("records", "pull", "x.jsonl.xz"), "either --suite"),
        (("records", "pull", "x", "--sha256", "0" * 64), "not an archive's name"),
        (("records", "show", "digits-smoke", "nothing"), "unknown trial or cell"),
        (("rescore", "digits-smoke", "--score", "7"), "unknown version of the score, expected one of 1"),
        (("rescore", "digits-smoke", "--score", "2"), "has no clean curve, which score 2 needs: --score 1"),
        (("rescore",), "name a suite"),
        (("show", "nothing", "--records", "digits-smoke"), "unknown trial or cell"),
    ],
)
def test_bad_words_are_one_line_and_code_2(
    words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(*words) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert says in error
    assert error.count("\n") == 1


def test_scores_are_computed_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("rescore", "--list") == 0
    assert capsys.readouterr().out.startswith("1  learning denied")
    target = tmp_path / "anew.json"
    assert bench("rescore", "digits-smoke", "--score", "1", "--results", str(target)) == 0
    committed = sources.find("digits-smoke").path.parent.parent / "results" / "digits-smoke.json"
    assert target.read_bytes() == committed.read_bytes()
    (board,) = boards(["digits-smoke"])
    out = capsys.readouterr().out
    for view in board.views:
        assert view.shown
        assert view.shown.cell.id in out


def test_a_number_leads_to_its_artefacts(
    tmp_path: Path, small_trials: Trials, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "store")
    trials = small_trials(defenses=["hiss"], adaptations=["none"], seeds=[0, 1])
    made = execute(prepare(trials, store), store.root / "records" / "run-mine", lambda event: None, jobs=1)
    cell = next(trial.cell for trial in trials if trial.defense.title == "hiss")
    assert bench("show", cell.id, "--store", store.url) == 0
    out = capsys.readouterr().out
    records = [record for record in made if record.trial.row == "hiss"]
    assert len(records) == 2
    for record in records:
        assert f"{record.mean('clean'):.4f}" in out
        for key in record.stages.values():
            assert str(store.open(key)) in out
    assert "bench listen" in out
    assert "epochs.json" in out
    # The same run as a page: a folder of records is shown like a suite.
    page = tmp_path / "site"
    words = ("leaderboard", str(store.root / "records" / "run-mine"), "--no-audio", "--out", str(page))
    assert bench(*words) == 0
    assert "hiss" in (page / "run-mine" / "index.html").read_text()


def test_a_script_without_a_main_guard_runs_once(tmp_path: Path) -> None:
    plugins = Path(__file__).resolve().parents[1] / "plugins"
    words = {"defense": "hiss", "attacker": "linear", "dataset": "tones"}
    asked = {name: str(plugins / f"{plugin}.py") for name, plugin in words.items()}
    script = tmp_path / "mine.py"
    call = f"bench.run(**{asked!r}, control=(), seeds=1, jobs=1, store={str(tmp_path)!r})"
    script.write_text(f"import bench\nprint('once')\nprint({{record.status for record in {call}}})\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=200, check=True)
    assert done.stdout.splitlines() == ["once", "{'ok'}"], done.stderr


def test_a_run_in_python_gives_results(tmp_path: Path) -> None:
    plugins = Path(__file__).resolve().parents[1] / "plugins"
    results = package.run(
        defense=str(plugins / "hiss.py"),
        attacker=str(plugins / "linear.py"),
        dataset=str(plugins / "tones.py"),
        control=(),
        seeds=2,
        store=tmp_path,
        jobs=1,
    )
    assert {record.trial.row for record in results} == {"clean", "hiss"}
    assert [row.defense for row in results.rows] == ["hiss", "clean"]
    again = package.load_results(tmp_path / "records" / results.name)
    assert {record.key for record in again} == {record.key for record in results}
    with pytest.raises(UsageError, match="plugin of this run 'his'"):
        package.run(defense="clean", attacker="m5", parameters={"his": {"a": 1}})
