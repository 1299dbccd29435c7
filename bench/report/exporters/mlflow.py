"""Records as runs of MLflow: one experiment per suite, one run per trial, its record as an artefact.

A run is identified by its tags `bench.trial` and `bench.key`. Exporting again keeps it if its record is the same to the
letter (`bench.record`), else replaces it. A trial whose key has changed, because its plugins or parameters have, is
another trial: the earlier run stays.
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
Runs = defaultdict[tuple[str, str], list[Any]]  # (trial, key) -> runs of MLflow


def export(runs: Iterable[Facts], out: str) -> tuple[int, int]:
    """Log every run.

    Args:
        runs: what to log.
        out: a folder, or the URI of a tracking server or database as MLflow takes it.

    Returns:
        How many were logged, and how many were there already.

    Raises:
        UsageError: MLflow is not installed or cannot use `out`.
    """
    with _client(out) as client:
        from mlflow.exceptions import MlflowException

        new_count = same_count = 0
        experiments: dict[str, tuple[str, Runs]] = {}
        try:
            for run in runs:
                if run.suite not in experiments:
                    experiment = _experiment(client, run.suite)
                    experiments[run.suite] = experiment, _runs(client, experiment)
                experiment, earlier_runs = experiments[run.suite]
                earlier = earlier_runs[run.name, run.key]
                complete = next((one for one in earlier if _is_complete(one, run)), None)
                for one in earlier:
                    if one is not complete:
                        client.delete_run(one.info.run_id)
                if complete is None:
                    _log(client, experiment, run)
                new_count, same_count = new_count + (complete is None), same_count + (complete is not None)
        except (MlflowException, OSError) as error:
            raise UsageError(f"--out {out}: {_line(error)}") from error
    return new_count, same_count


def is_folder(out: str) -> bool:
    """Return whether `out` is a plain folder, not the URI of a server or a database."""
    return "://" not in out and out != "databricks"


@contextmanager
def _client(out: str) -> Iterator[Any]:
    """A client of what is at `out`, without telemetry.

    MLflow keeps runs in a plain folder only if a variable allows it; a folder needs no database, which the light
    package does not have. A server that does not answer is reported after three tries instead of minutes.
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
    """Set environment variables for the block; those that the user set stay."""
    unset = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(unset)
    try:
        yield
    finally:
        for name in unset:
            os.environ.pop(name, None)


def _experiment(client: Any, suite: str) -> str:
    """The id of the suite's experiment, created or restored where needed."""
    experiment = client.get_experiment_by_name(suite)
    if experiment is None:
        return str(client.create_experiment(suite))
    if experiment.lifecycle_stage != "active":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def _runs(client: Any, experiment: str) -> Runs:
    """The experiment's runs: one per trial and key, or more where the user restored deleted ones."""
    runs: Runs = defaultdict(list)
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        for run in page:
            runs[run.data.tags.get("bench.trial", ""), run.data.tags.get("bench.key", "")].append(run)
        token = page.token
        if not token:
            return runs


def _is_complete(earlier: Any, run: Facts) -> bool:
    """Whether an earlier run holds this very record, and was not cut off while it was logged."""
    return earlier.info.status in ("FINISHED", "FAILED") and earlier.data.tags.get("bench.record") == digest(run.text)


def _log(client: Any, experiment: str, run: Facts) -> None:
    """Create a run and log all of it, in batches of the size that MLflow takes."""
    from mlflow.entities import Metric, Param

    at = round(1000 * run.at)
    tags = {f"bench.{name}": text for name, text in run.tags.items()} | {"bench.record": digest(run.text)}
    # The names by which MLflow's own pages show a source and a version.
    for theirs, ours in (("mlflow.source.name", "command"), ("mlflow.source.git.commit", "commit")):
        if ours in run.tags:
            tags[theirs] = run.tags[ours]
    run_id = client.create_run(experiment, start_time=at, tags=tags, run_name=run.name).info.run_id
    settings = {**run.settings, **run.sources}
    params = [Param(name, str(value)[:LETTERS]) for name, value in settings.items() if value != ""]
    metrics = [Metric(name, value, at, 0) for name, value in run.metrics.items()]
    metrics += [Metric(name, value, at, step) for name, curve in run.curves.items() for step, value in curve]
    for start in range(0, len(params), SETTINGS):
        client.log_batch(run_id, params=params[start : start + SETTINGS])
    for start in range(0, len(metrics), METRICS):
        client.log_batch(run_id, metrics=metrics[start : start + METRICS])
    client.log_text(run_id, run.text, ARTEFACT)
    client.set_terminated(run_id, "FINISHED" if run.ok else "FAILED", end_time=at)


def _line(error: Exception) -> str:
    """Return the first line of an error."""
    return str(error).strip().splitlines()[0]
