"""Records as runs of MLflow: an experiment a suite, a run a trial, its record an artefact.

A run is known again by its tags `bench.trial` and `bench.key`. Exporting again leaves it as it is if its record is the
same to the letter (`bench.record`), else puts a new run in its place. A trial whose key has changed, since its plugins
or parameters have, is another trial: the earlier run stays, as its history.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.report.exporters.facts import Facts
from bench.results.names import digest

__all__ = ["export", "is_folder"]

# The most that one request may hold, see mlflow.utils.validation.
METRICS, SETTINGS, LETTERS = 1000, 100, 6000
ARTEFACT = "record.json"
Known = defaultdict[tuple[str, str], list[Any]]


def export(runs: Iterable[Facts], out: str) -> tuple[int, int]:
    """Log every run. (how many were logged, how many were there already)

    `out` is a folder, or the URI of a tracking server or database as MLflow takes it. Raises `UsageError` where MLflow
    is not installed or cannot use `out`.
    """
    with _client(out) as client:
        from mlflow.exceptions import MlflowException

        logged = kept = 0
        known: dict[str, tuple[str, Known]] = {}
        try:
            for run in runs:
                if run.suite not in known:
                    experiment = _experiment(client, run.suite)
                    known[run.suite] = experiment, _runs(client, experiment)
                experiment, there = known[run.suite]
                found = there[run.name, run.key]
                whole = next((one for one in found if _is_whole(one, run)), None)
                for one in found:
                    if one is not whole:
                        client.delete_run(one.info.run_id)
                if whole is None:
                    _log(client, experiment, run)
                logged, kept = logged + (whole is None), kept + (whole is not None)
        except (MlflowException, OSError) as error:
            raise UsageError(f"--out {out}: {_line(error)}") from error
    return logged, kept


def is_folder(out: str) -> bool:
    """Whether `out` is a plain folder, not a server or a database."""
    return "://" not in out and out != "databricks"


@contextmanager
def _client(out: str) -> Iterator[Any]:
    """A client of what is at `out`, without telemetry.

    MLflow asks for a written consent to keep runs in a plain folder, which it calls maintenance mode: a folder needs no
    database, and the light package has none. Of a server that does not answer it would say so after minutes.
    """
    consents = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    }
    folder = is_folder(out)
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
        except (MlflowException, ImportError, OSError) as error:
            light = "" if folder else " (a database needs the whole of MLflow: pip install mlflow)"
            raise UsageError(f"--out {out}: {_line(error)}{light}") from error
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


def _runs(client: Any, experiment: str) -> Known:
    """The experiment's runs by the trial's name and key: one each, or more where the user took some out of the bin."""
    found: Known = defaultdict(list)
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        for run in page:
            found[run.data.tags.get("bench.trial", ""), run.data.tags.get("bench.key", "")].append(run)
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
