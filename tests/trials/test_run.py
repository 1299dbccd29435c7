"""Trials become records: the same on every executor, resumed by the same call, whole after any death."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.results import reading
from bench.results.record import Record
from bench.trials.run import Executor, execute, prepare
from bench.trials.scheduler import Event
from bench.trials.store import Store
from bench.trials.trial import Trial

Trials = Callable[..., tuple[Trial, ...]]


def run(
    trials: tuple[Trial, ...], folder: Path, *, on: Executor = "local", jobs: int = 1
) -> tuple[list[Record], list[Event]]:
    events: list[Event] = []
    work = prepare(trials, Store(folder / "store"))
    return execute(work, folder / "records", events.append, on=on, jobs=jobs), events


def science(records: list[Record]) -> dict[str, object]:
    return {record.name: record.science() for record in records}


def test_a_record_holds_what_the_score_needs(small_trials: Trials, tmp_path: Path) -> None:
    records, _ = run(small_trials(defenses=["clean", "labels"], adaptations=["none", "quieter"]), tmp_path)
    assert len(records) == 8
    found = {
        (r.trial.row, r.trial.adaptation.label if r.trial.adaptation else "none", r.trial.seed): r for r in records
    }
    shortcut = found["labels", "none", 0]
    assert shortcut.status == "ok"
    assert shortcut.metric == "log likelihood"
    assert [gate.passed for gate in shortcut.checks] == [True]
    assert shortcut.denied is not None
    assert shortcut.denied > 0.5  # a tone of the wrong class is all that the model learns
    expected = (shortcut.mean("clean") - shortcut.mean("protected")) / (
        shortcut.mean("clean") - shortcut.mean("untrained")
    )
    assert shortcut.denied == pytest.approx(expected)
    assert found["clean", "none", 0].denied == 0.0
    assert len(shortcut.epochs["protected"]) == 30
    assert len(shortcut.audibility["snr_db"]) == 24
    assert len(shortcut.arms["protected"]["accuracy"]) == len(shortcut.ids) == len(shortcut.groups) == 24
    assert set(found["labels", "quieter", 1].arms) == {"protected", "clean", "clean_adapted", "untrained"}
    assert shortcut.provenance["packages"]["torch"]
    assert shortcut.provenance["accelerator"] is None
    assert shortcut.cost["protected_set"]["cpu_seconds"] >= 0
    assert shortcut.cost["audit"]["cpu_seconds"] >= 0
    assert "audit" not in found["clean", "none", 0].stages
    # the file says the same, and is JSON without NaN
    again = reading.load(tmp_path / "records" / f"{shortcut.name}.json")
    assert again == shortcut
    json.loads((tmp_path / "records" / f"{shortcut.name}.json").read_text(), parse_constant=pytest.fail)


def test_the_cost_of_a_set_that_was_audited_while_it_was_protected_is_unknown(
    small_trials: Trials, tmp_path: Path
) -> None:
    ((record,), _) = run(small_trials(defenses=["hiss"], seeds=[0]), tmp_path)
    assert "protected_set" in record.cost
    folder = Store(tmp_path / "store").open(record.stages["protected_set"])
    (folder / "audibility.json").write_text("{}")
    done = json.loads((folder / "done.json").read_text())
    done["files"]["audibility.json"] = 2
    (folder / "done.json").write_text(json.dumps(done))
    ((again,), _) = run(small_trials(defenses=["hiss"], seeds=[0]), tmp_path)
    assert "protected_set" not in again.cost
    assert again.audibility == record.audibility


def test_the_attackers_validity_checks_need_no_checkpoint_where_records_are_written(
    small_trials: Trials, tmp_path: Path
) -> None:
    checkpoint, careful = tmp_path / "checkpoint", tmp_path / "careful.py"
    source = (Path(__file__).parents[1] / "plugins" / "linear.py").read_text()
    source = source.replace("import Attacker, ", "import ValidityCheck, Attacker, ")
    careful.write_text(
        source
        + f"""
    def validity(self, clean, untrained):
        limit = float(open({str(checkpoint)!r}).read())
        gain = clean["accuracy"] - untrained["accuracy"]
        return [ValidityCheck("gains", gain > limit, clean["accuracy"], limit, "It gains.")]
"""
    )
    checkpoint.write_text("0.125")
    given = {"defenses": ["clean", "hiss"], "seeds": [0], "attacker": {"linear": {"plugin": str(careful)}}}
    first, _ = run(small_trials(**given), tmp_path)
    for each in first:
        assert each.status == "ok", each.error
        assert [(gate.name, gate.passed, gate.limit) for gate in each.checks[1:]] == [("gains", True, 0.125)]
    checkpoint.unlink()
    second, _ = run(small_trials(**given), tmp_path)
    assert science(second) == science(first)


def test_the_second_run_does_nothing(small_trials: Trials, tmp_path: Path) -> None:
    first, events = run(small_trials(), tmp_path)
    assert {event.kind for event in events} == {"start", "progress", "done"}
    second, nothing = run(small_trials(), tmp_path)
    assert nothing == []
    assert science(second) == science(first)


def test_processes_give_the_same_records_as_one(small_trials: Trials, tmp_path: Path) -> None:
    trials = small_trials(adaptations=["none", "quieter"])
    alone, _ = run(trials, tmp_path / "alone")
    together, _ = run(trials, tmp_path / "together", jobs=2)
    assert science(together) == science(alone)


@pytest.mark.ray
def test_ray_gives_the_same_records_as_one_process_and_runs_a_stage_again_whose_worker_was_killed(
    small_trials: Trials, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    given = {"dies": {"marker": str(marker)}}
    trials = small_trials(defenses=["clean", "dies"], defense=given, adaptations=["none", "quieter"])
    cluster, _ = run(trials, tmp_path / "cluster", on="ray", jobs=2)
    assert [record.status for record in cluster] == ["ok"] * 8
    assert marker.exists()
    alone, _ = run(trials, tmp_path / "alone")
    assert science(cluster) == science(alone)


def test_a_failing_plugin_fails_alone(small_trials: Trials, tmp_path: Path) -> None:
    records, events = run(small_trials(defenses=["clean", "breaks", "hiss"]), tmp_path)
    ended = {record.trial.row: record.status for record in records}
    assert ended == {"clean": "ok", "breaks": "failed", "hiss": "ok"}
    broken = next(record for record in records if record.trial.row == "breaks")
    assert broken.error is not None
    assert broken.error["type"] == "RuntimeError"
    assert broken.error["message"] == "this defense always breaks"
    assert "breaks.py" in broken.error["tail"]
    assert {event.kind for event in events} >= {"failed", "skipped"}
    assert reading.load(tmp_path / "records" / f"{broken.name}.json") == broken


def test_a_killed_worker_is_replaced_and_its_stage_runs_again(small_trials: Trials, tmp_path: Path) -> None:
    given = {"dies": {"marker": str(tmp_path / "marker")}}
    records, events = run(small_trials(defenses=["clean", "dies"], defense=given, seeds=[0]), tmp_path, jobs=2)
    assert [record.status for record in records] == ["ok", "ok"]
    lost = [event for event in events if event.kind == "lost"]
    assert len(lost) == 1
    assert "SIGKILL" in lost[0].text


def test_a_stage_that_always_kills_its_worker_fails_and_the_rest_goes_on(small_trials: Trials, tmp_path: Path) -> None:
    given = {"dies": {"marker": str(tmp_path / "marker"), "always": True}}
    trials = small_trials(defenses=["clean", "dies", "hiss"], defense=given, seeds=[0])
    records, _ = run(trials, tmp_path, jobs=2)
    assert {record.trial.row: record.status for record in records} == {"clean": "ok", "dies": "failed", "hiss": "ok"}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_is_killed_is_resumed_by_the_same_command(tmp_path: Path, how: signal.Signals) -> None:
    command, environment = slow_command(tmp_path)
    driver = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores Ctrl-C, and so would everything that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for(tmp_path / "marker", driver)
    os.kill(driver.pid, how)
    _, err = driver.communicate(timeout=60)
    if how == signal.SIGINT:
        assert driver.returncode == 130, err
        assert "resume with the same command" in err
    assert not list((tmp_path / "records").glob("*slow*"))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "records").glob("*.json"))
    assert len(names) == 4
    assert all(reading.load(tmp_path / "records" / name).status == "ok" for name in names)
    assert " 0 already in" not in done.stderr  # what was done before is not done again


def test_a_protected_set_that_breaks_its_bound_is_refused(small_trials: Trials, tmp_path: Path) -> None:
    cheat = tmp_path / "cheat.py"
    source = (Path(__file__).parents[1] / "plugins" / "hiss.py").read_text()
    cheat.write_text(source.replace("* self.epsilon", "* self.epsilon * 1.5"))
    given = {"hiss": {"plugin": str(cheat)}}
    records, _ = run(small_trials(defense=given, seeds=[0]), tmp_path)
    error = next(record.error for record in records if record.trial.row == "hiss")
    assert error is not None
    assert "expected at most the defense" in error["message"]


def slow_command(folder: Path) -> tuple[list[str], dict[str, str]]:
    plugins = Path(__file__).resolve().parents[1] / "plugins"
    names = {"dataset": "tones", "attacker": "linear", "defense": "slow"}
    words = [word for kind, name in names.items() for word in (f"--{kind}", str(plugins / f"{name}.py"))]
    words += ["--set", f"defense.marker={folder / 'marker'}", "--set", "defense.seconds=3", "--control", "none"]
    words += ["--seeds", "2", "--store", str(folder / "store"), "--records", str(folder / "records"), "--jobs", "1"]
    return [sys.executable, "-m", "bench", "run", *words], {**os.environ, "CI": "true", "BENCH_IN_PROCESS": "0"}


def wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    limit = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit, "the driver never came to the slow stage"
        time.sleep(0.05)
