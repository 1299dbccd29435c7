"""Records reach MLflow and TensorBoard whole, by the trackers' own readers; exporting again doubles nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest

from bench.commands import main
from bench.commands.export import export, resolve
from bench.errors import BenchError, DataError, UsageError
from bench.report.exporters import facts
from bench.results import reading, sources
from bench.results.record import Record
from bench.trials.run import execute, prepare
from bench.trials.store import Store
from bench.trials.trial import Trial

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = "spoken_digits--tones--white-box--mfcc--none--s1"
Trials = Callable[..., tuple[Trial, ...]]


def bench(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(list(words))
    return int(end.value.code or 0)


def test_help_ends_in_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("export", "--help") == 0
    assert "bench export digits --to tensorboard" in capsys.readouterr().out.split("Examples:")[1]


@pytest.fixture(scope="module")
def once() -> dict[str, Path]:
    """Where the run lies that the tests share."""
    return {}


@pytest.fixture
def records(
    small_trials: Trials, once: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> dict[str, Record]:
    """Of a suite called `tiny`, by name: some failed, some under an adaptation, some of a share with a remainder."""
    if "tiny" not in once:
        folder = tmp_path_factory.mktemp("run")
        trials = small_trials(
            defenses=["clean", "labels", "breaks"], adaptations=["none", "quieter"], seeds=[0], shares=[1.0, 0.5]
        )
        execute(prepare(trials, Store(folder / "store")), folder / "tiny", lambda event: None, jobs=1)
        once["tiny"] = folder / "tiny"
    shutil.copytree(once["tiny"], tmp_path / "tiny")
    return {one.name: one for one in reading.load_all(tmp_path / "tiny")}


@pytest.fixture
def mlflow_client(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Any]:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    tracking = pytest.importorskip("mlflow.tracking")

    def client(folder: Path) -> Any:
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        return tracking.MlflowClient(tracking_uri=folder.as_uri())

    return client


def runs_of(client: Any, suite: str) -> list[Any]:
    return list(client.search_runs([client.get_experiment_by_name(suite).experiment_id], max_results=1000))


def curve(one: Record, arm: str, column: str) -> list[tuple[int, float]]:
    """Read from the record alone, not by the exporter."""
    return [(int(line["step"]), line[column]) for line in one.epochs[arm] if line.get(column) is not None]  # type: ignore[arg-type, misc]


def test_every_trial_is_a_run_of_mlflow(
    records: Mapping[str, Record], tmp_path: Path, mlflow_client: Callable[[Path], Any]
) -> None:
    assert bench("export", str(tmp_path / "tiny"), "--to", "mlflow", "--out", str(tmp_path / "mlruns")) == 0
    client = mlflow_client(tmp_path / "mlruns")
    found = {run.info.run_name: run for run in runs_of(client, "tiny")}
    assert set(found) == set(records)
    assert {one.status for one in records.values()} == {"ok", "failed"}
    for name, one in records.items():
        run, trial = found[name], one.trial
        params, metrics, tags = run.data.params, run.data.metrics, run.data.tags
        assert params["defense"] == trial.defense.label
        assert params["adaptation"] == (trial.adaptation.label if trial.adaptation else "none")
        assert (params["seed"], params["share"]) == (str(trial.seed), str(trial.share))
        assert params["digest.attacker"] == trial.attacker.digest
        for key, value in trial.attacker.params.items():
            assert params[f"attacker.{key}"] == (json.dumps(value) if isinstance(value, list) else str(value))
        assert (tags["bench.key"], tags["bench.suite"], tags["bench.status"]) == (one.key, "tiny", one.status)
        artefact = Path(url2pathname(urlparse(run.info.artifact_uri).path)) / "record.json"
        assert Record.model_validate(json.loads(artefact.read_text())) == one
        if one.status == "failed":
            assert run.info.status == "FAILED"
            assert tags["bench.error"] == "this defense always breaks"
            assert not metrics
            continue
        assert run.info.status == "FINISHED"
        assert metrics["denied"] == one.denied
        for arm, values in one.arms.items():
            assert metrics[f"quality/{arm}"] == pytest.approx(sum(values[one.metric]) / len(values[one.metric]))  # type: ignore[arg-type]
        assert metrics["cost/cpu_seconds"] > 0
        assert len(curve(one, "clean", "loss")) == 30
        for arm in one.epochs:
            history = client.get_metric_history(run.info.run_id, f"epochs/{arm}/loss")
            assert [(point.step, point.value) for point in history] == curve(one, arm, "loss")
    half = next(run for name, run in found.items() if "50" in name and "labels" in name)
    assert "quality/remainder" in half.data.metrics
    assert half.data.metrics["audibility/snr_db"] == pytest.approx(
        sum(records[half.info.run_name].audibility["snr_db"]) / 24  # type: ignore[arg-type]
    )


def test_exporting_to_mlflow_again_doubles_nothing(
    records: Mapping[str, Record],
    tmp_path: Path,
    mlflow_client: Callable[[Path], Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("export", str(tmp_path / "tiny"), "--to", "mlflow", "--out", str(tmp_path / "mlruns"))
    assert bench(*words) == bench(*words) == 0
    assert f"0 runs logged, {len(records)} were there already" in capsys.readouterr().out
    client = mlflow_client(tmp_path / "mlruns")
    before = {run.info.run_name: run.info.run_id for run in runs_of(client, "tiny")}
    # One record says something else now, and one run was cut off while it was logged: both are made anew, alone.
    changed, cut = (name for name, one in records.items() if one.trial.row == "labels" and one.status == "ok")
    arms = {arm: records[changed].arms[arm] for arm in ("clean", "untrained")}
    spoilt = records[changed].model_copy(update={"arms": {**arms, "protected": arms["untrained"]}})
    spoilt.save(tmp_path / "tiny")
    client.update_run(before[cut], status="RUNNING")
    assert bench(*words) == 0
    after = {run.info.run_name: run.info.run_id for run in runs_of(client, "tiny")}
    assert len(runs_of(client, "tiny")) == len(records)
    assert {name for name in records if before[name] != after[name]} == {changed, cut}
    assert client.get_run(after[changed]).data.metrics["denied"] == 1.0
    client.delete_experiment(client.get_experiment_by_name("tiny").experiment_id)
    assert bench(*words) == 0  # taken out of the bin, with the runs that were replaced
    assert len(runs_of(client, "tiny")) == len(records)


def test_every_trial_is_a_run_of_tensorboard(records: Mapping[str, Record], tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    metadata = pytest.importorskip("tensorboard.plugins.hparams.metadata")
    words = ("export", str(tmp_path / "tiny"), "--to", "tensorboard", "--out", str(tmp_path / "logs"))
    assert bench(*words) == 0
    mine = tmp_path / "logs" / "tiny" / next(iter(records)) / "notes.txt"
    mine.write_text("the user's own")
    assert bench(*words) == 0  # replaced, not doubled
    assert mine.read_text() == "the user's own"
    assert {path.name for path in (tmp_path / "logs" / "tiny").glob("*/")} == set(records)
    for name, one in records.items():
        folder = tmp_path / "logs" / "tiny" / name
        assert len(list(folder.glob("events.*"))) == 1
        assert not list(folder.glob(".*"))
        events = accumulator.EventAccumulator(str(folder)).Reload()
        hparams = events.PluginTagToContent("hparams")
        start = metadata.parse_session_start_info_plugin_data(hparams[metadata.SESSION_START_INFO_TAG])
        end = metadata.parse_session_end_info_plugin_data(hparams[metadata.SESSION_END_INFO_TAG])
        assert start.group_name == name
        assert start.hparams["defense"].string_value == one.trial.defense.label
        assert start.hparams["seed"].number_value == one.trial.seed
        assert end.status == (1 if one.status == "ok" else 2)  # api_pb2.STATUS_SUCCESS, STATUS_FAILURE
        if one.status == "failed":
            assert events.Tags()["scalars"] == []
            continue
        assert [event.value for event in events.Scalars("denied")] == [pytest.approx(one.denied, rel=1e-6)]
        for arm in one.epochs:
            read = {event.step: event.value for event in events.Scalars(f"epochs/{arm}/loss")}
            assert len(read) == 30
            assert read == pytest.approx(dict(curve(one, arm, "loss")), rel=1e-6)
    top = accumulator.EventAccumulator(str(tmp_path / "logs" / "tiny")).Reload()
    experiment = metadata.parse_experiment_plugin_data(top.PluginTagToContent("hparams")[metadata.EXPERIMENT_TAG])
    shown = {info.name.tag for info in experiment.metric_infos}
    assert {"denied", "quality/clean", "quality/protected", "audibility/snr_db"} <= shown
    assert not [name for name in shown if name.startswith("epochs/")]
    (defense,) = (info for info in experiment.hparam_infos if info.name == "defense")
    assert [value.string_value for value in defense.domain_discrete.values] == ["breaks", "clean", "labels"]


def test_a_committed_record_reaches_both(
    tmp_path: Path, mlflow_client: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    one = committed()
    file = one.save(tmp_path / "digits")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    for to in ("mlflow", "tensorboard"):
        assert bench("export", str(file), "--to", to, "--out", str(tmp_path / to)) == 0
    assert "MLFLOW_ALLOW_FILE_STORE" not in os.environ  # the consent was for that folder alone
    data = one.model_dump()
    heard = [value for value in data["audibility"]["pesq"] if value is not None]
    assert 0 < len(heard) < len(data["audibility"]["pesq"])  # some clips have no PESQ: they are left out, not 0
    validation = [(line["step"], line["validation"]) for line in data["epochs"]["protected"]]
    (run,) = runs_of(mlflow_client(tmp_path / "mlflow"), "digits")
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard" / "digits" / COMMITTED)).Reload()
    expected = {
        "denied": one.denied,
        "quality/protected": sum(data["arms"]["protected"]["accuracy"]) / 300,
        "audibility/pesq": sum(heard) / len(heard),
        "distance/protected_set/kad.logmel": data["distance"]["protected_set"]["kad[logmel]"],
        "cost/peak_memory_mb": max(cost["peak_memory_mb"] for cost in data["cost"].values()),
    }
    for name, value in expected.items():
        assert run.data.metrics[name] == pytest.approx(value)
        assert [event.value for event in events.Scalars(name)] == [pytest.approx(value)]
    told = {event.step: event.value for event in events.Scalars("epochs/protected/validation")}
    assert told == pytest.approx(dict(validation), rel=1e-6)
    assert run.data.params["defense.kind"] == "tones"
    assert run.data.params["defense.plugin"] == "separable"
    assert run.data.tags["mlflow.source.git.commit"] == data["provenance"]["git"]["commit"]
    assert run.info.start_time == 1000 * round(events.Scalars("denied")[0].wall_time)


def committed() -> Record:
    """A record of the suite `speech`."""
    return next(one for one in sources.read(sources.find("digits")).values() if one.name == COMMITTED)


def test_what_is_unknown_is_left_out_and_a_shared_stage_costs_once() -> None:
    one = committed()
    whole = facts.of(one, "digits")
    holed = facts.of(
        one.model_copy(
            update={
                "arms": {},
                "audibility": {"snr_db": [None, 20.0, 22.0], "pesq": [None]},
                "epochs": {"clean": [{"step": 0.0, "loss": None}, {"step": 5.0, "loss": 0.5}], "protected": []},
                "stages": {**one.stages, "clean_set": one.stages["protected_set"]},
                "cost": {
                    role: {"seconds": 1.0, "cpu_seconds": 2.0} for role in ("clean_set", "protected_set", "clean")
                },
            }
        ),
        "digits",
    )
    assert "denied" in whole.metrics
    assert "denied" not in holed.metrics
    assert holed.metrics["audibility/snr_db"] == 21.0
    assert "audibility/pesq" not in holed.metrics
    assert holed.curves == {"epochs/clean/loss": ((5, 0.5),)}
    assert (holed.metrics["cost/seconds"], holed.metrics["cost/cpu_seconds"]) == (2.0, 4.0)
    assert "cost/peak_memory_mb" not in holed.metrics


@pytest.mark.parametrize("suite", ["digits-smoke", "harmonycloak-midi", "dynamic-epsilon"])
def test_every_name_is_one_that_mlflow_takes_and_none_swallows_another(suite: str) -> None:
    for one in [one for one in sources.read(sources.find(suite)).values() if one.trial.seed == 0][:4]:
        run = facts.of(one, suite)
        names = [*run.settings, *run.metrics, *run.curves, *run.tags]
        assert not [name for name in names if set(name) - set("_-./: ") and not _plain(name)]
        told = sum(
            value is not None for sets in (one.distance, one.music) for row in sets.values() for value in row.values()
        )
        assert len([name for name in run.metrics if name.startswith(("distance/", "music/"))]) == told
        # In MLflow's folder a name is a path: none may be another's folder.
        assert not [name for name in names if any(other.startswith(f"{name}/") for other in names)]


def _plain(name: str) -> bool:
    return all((c.isascii() and c.isalnum()) or c in "_-./: " for c in name)


def test_runs_of_another_folder_of_the_same_name_are_kept(records: Mapping[str, Record], tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "tiny", tmp_path / "elsewhere" / "tiny")
    logs = tmp_path / "logs"
    for folder in ("tiny", "elsewhere/tiny", f"tiny/{next(iter(records))}.json"):
        assert bench("export", str(tmp_path / folder), "--to", "tensorboard", "--out", str(logs)) == 0
    first, second = sorted(path.name for path in logs.iterdir())
    assert (first, second[:5]) == ("tiny", "tiny-")
    assert {path.name for path in (logs / second).glob("*/")} == set(records)


def test_a_suite_is_found_by_name_file_archive_folder_or_record(tmp_path: Path) -> None:
    by_name = resolve("midi-smoke")
    assert by_name[0] == "midi-smoke"
    assert resolve(str(ROOT / "leaderboards" / "studies" / "midi-smoke.toml")) == by_name
    assert resolve(str(ROOT / "leaderboards" / "records" / "midi-smoke.jsonl.xz")) == by_name
    files = {one.name: one.save(tmp_path / "mine") for one in by_name[1]}
    name, found = resolve(str(tmp_path / "mine"))  # by name, not in the suite's order
    assert name == "mine"
    assert found == sorted(by_name[1], key=lambda one: one.name)
    assert resolve(str(files[found[0].name])) == ("mine", [found[0]])


@pytest.mark.parametrize(
    ("suite", "to", "out", "kind", "says"),
    [
        ("digit", "tensorboard", "logs", UsageError, "did you mean 'digits'?"),
        ("nowhere.toml", "mlflow", "logs", UsageError, "nowhere.toml does not exist"),
        ("nowhere.json", "mlflow", "logs", UsageError, "nowhere.json does not exist"),
        (
            str(ROOT / "tests"),
            "mlflow",
            "logs",
            DataError,
            "holds no records: name one of its folders: ",
        ),
        (str(ROOT / "leaderboards" / "studies" / "music-smoke.toml"), "mlflow", "logs", DataError, "holds no record"),
        ("digits", "tensorboard", "s3://bucket/logs", UsageError, "TensorBoard reads folders"),
        ("midi-smoke", "tensorboard", "file.txt", UsageError, "is a file, expected a folder"),
        ("midi-smoke", "mlflow", "file.txt", UsageError, "is a file, expected a folder"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    suite: str, to: str, out: str, kind: type[BenchError], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("not a folder")
    assert bench("export", suite, "--to", to, "--out", out) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]
    with pytest.raises(kind):
        export(suite, to=to, out=out)  # type: ignore[arg-type]


@pytest.mark.parametrize("library", ["mlflow", "tensorboard"])
def test_a_missing_library_names_its_extra(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    assert bench("export", "midi-smoke", "--to", library, "--out", str(tmp_path / "out")) == 2
    assert f"pip install 'cloakbench[{library}]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_mlflow_without_a_database_says_what_a_database_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow")
    if importlib.util.find_spec("sqlalchemy") is None:
        assert bench("export", "midi-smoke", "--to", "mlflow", "--out", f"sqlite:///{tmp_path}/runs.db") == 2
        assert "pip install mlflow)" in capsys.readouterr().err
    else:
        pytest.skip("the whole of MLflow is installed")
