"""Records as runs of MLflow: an experiment a suite, a run a trial, its record an artefact.

A run is known again by its tags `bench.trial` and `bench.key`. Exporting again leaves it as it is if its record is the
same to the letter (`bench.record`), else puts a new run in its place. A trial whose key has changed, since its plugins
or parameters have, is another trial: the earlier run stays, as its history.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.exporters.facts import Facts
from bench.trials.trial import digest

__all__ = ["export"]

# The most that one request may hold, see mlflow.utils.validation.
METRICS, SETTINGS, LETTERS = 1000, 100, 6000
ARTEFACT = "record.json"


def export(runs: Iterable[Facts], out: str) -> tuple[int, int]:
    """Log every run. (how many were logged, how many were there already)

    `out` is a folder, or the URI of a tracking server or database as MLflow takes it. Raises `UsageError` where MLflow
    is not installed or cannot use `out`.
    """
    with _client(out) as client:
        from mlflow.exceptions import MlflowException

        logged = kept = 0
        known: dict[str, dict[tuple[str, str], Any]] = {}
        try:
            for run in runs:
                if run.suite not in known:
                    known[run.suite] = _runs(client, _experiment(client, run.suite))
                there = known[run.suite].get((run.name, run.key))
                if there is not None and _is_whole(there, run):
                    kept += 1
                    continue
                if there is not None:
                    client.delete_run(there.info.run_id)
                _log(client, _experiment(client, run.suite), run)
                logged += 1
        except MlflowException as error:
            raise UsageError(f"--out {out}: {_line(error)}") from error
    return logged, kept


@contextmanager
def _client(out: str) -> Iterator[Any]:
    """A client of what is at `out`, without telemetry.

    MLflow asks for a written consent to keep runs in a plain folder, which it calls maintenance mode: a folder needs no
    database, and the light package has none.
    """
    consents = {"MLFLOW_DISABLE_TELEMETRY": "true"}
    folder = "://" not in out and out != "databricks"
    if folder:
        consents["MLFLOW_ALLOW_FILE_STORE"] = "true"
    with _environment(consents):
        try:
            from mlflow.exceptions import MlflowException
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise UsageError("--to mlflow needs MLflow: pip install 'cloakbench[mlflow]'") from error
        try:
            client = MlflowClient(tracking_uri=Path(out).expanduser().resolve().as_uri() if folder else out)
        except (MlflowException, ImportError) as error:  # a database needs more than the light package
            raise UsageError(f"--out {out}: {_line(error)}") from error
        yield client


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for a while; those that the user set stay."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _experiment(client: Any, suite: str) -> str:
    found = client.get_experiment_by_name(suite)
    if found is None:
        return str(client.create_experiment(suite))
    if found.lifecycle_stage != "active":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _runs(client: Any, experiment: str) -> dict[tuple[str, str], Any]:
    """The experiment's runs of ours, by the trial's name and key."""
    found, token = {}, None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        for run in page:
            found[run.data.tags.get("bench.trial", ""), run.data.tags.get("bench.key", "")] = run
        token = page.token
        if not token:
            return found


def _is_whole(there: Any, run: Facts) -> bool:
    """Whether a run holds this very record, and was not cut off while it was logged."""
    return there.info.status in ("FINISHED", "FAILED") and there.data.tags.get("bench.record") == digest(run.text)


def _log(client: Any, experiment: str, run: Facts) -> None:
    from mlflow.entities import Metric, Param

    at = round(1000 * run.at)
    tags = {f"bench.{name}": text for name, text in run.tags.items()} | {"bench.record": digest(run.text)}
    # The names by which MLflow's own pages show a source and a version.
    for theirs, ours in (("mlflow.source.name", "command"), ("mlflow.source.git.commit", "commit")):
        if ours in run.tags:
            tags[theirs] = run.tags[ours]
    made = client.create_run(experiment, start_time=at, tags=tags, run_name=run.name).info.run_id
    settings = {**run.settings, **run.sources}
    params = [Param(name, str(value)[:LETTERS]) for name, value in settings.items() if value != ""]
    metrics = [Metric(name, value, at, 0) for name, value in run.metrics.items()]
    metrics += [Metric(name, value, at, step) for name, curve in run.curves.items() for step, value in curve]
    for start in range(0, len(params), SETTINGS):
        client.log_batch(made, params=params[start : start + SETTINGS])
    for start in range(0, len(metrics), METRICS):
        client.log_batch(made, metrics=metrics[start : start + METRICS])
    client.log_text(made, run.text, ARTEFACT)
    client.set_terminated(made, "FINISHED" if run.ok else "FAILED", end_time=at)


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
