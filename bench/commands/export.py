"""`bench export`: the records of a suite, written to an experiment tracker."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cyclopts import App

from bench.errors import DataError
from bench.exits import OK
from bench.files import check_folder, folder_of

if TYPE_CHECKING:
    from bench.results.record import Record
    from bench.results.sources import Source

__all__ = ["app", "export", "resolve"]

Tracker = Literal["mlflow", "tensorboard"]

app = App(
    name="export",
    help_epilogue=(
        "Examples:\n"
        "  bench export digits --to tensorboard --out runs\n"
        "  bench export leaderboards/studies/music.toml --to mlflow --out mlruns\n"
        "  bench export my_records/ --to mlflow --out http://localhost:5000\n"
    ),
)


@app.default
def export(suite: str, *, to: Tracker, out: str) -> int:
    """Export the records of a suite to an experiment tracker, one run per trial.

    Exporting again replaces runs whose record changed, and adds no copies.

    Parameters
    ----------
    suite
        A suite by name or TOML file, a folder of records, an archive, or one record.
    to
        The experiment tracker.
    out
        Folder to write to; for MLflow also the URI of a tracking server or a database.
    """
    from bench.report.exporters import facts, mlflow

    if to == "tensorboard" or mlflow.is_folder(out):
        check_folder(Path(out).expanduser())
    name, records = resolve(suite)
    if to == "tensorboard":
        from bench.report.exporters import tensorboard

        tensorboard.check(out)  # runs of a suite elsewhere that is called the same are kept:
        source = _source(suite)
        source = _source(str(source.path.parent)) if source.path.suffix == ".json" else source
        name = folder_of(source.suite or source.path, Path(out).expanduser() / name).name
    runs = [facts.of(record, name) for record in records]
    if to == "mlflow":
        logged_count, same_count = mlflow.export(runs, out)
        print(f"{name}: {logged_count} runs logged, {same_count} were there already")
        viewer = f"mlflow ui --backend-store-uri {shlex.quote(out)}"
        if mlflow.is_folder(out):
            viewer = f"MLFLOW_ALLOW_FILE_STORE=true {viewer}"
        print(f"look at them: {out if out.startswith('http') else viewer}")
    else:
        new_count, replaced_count = tensorboard.export(runs, out)
        print(f"{name}: {new_count} runs written, {replaced_count} replaced")
        print(f"look at them: tensorboard --logdir {shlex.quote(str(Path(out) / name))}")
    return OK


def resolve(suite: str) -> tuple[str, list[Record]]:
    """Return the name and the records that a word means: see `bench.results.sources`.

    Raises:
        UsageError: It is no suite, folder, archive or record.
        DataError: It has no records.
    """
    from bench.results.board import board

    source = _source(suite)
    folders = source.path.glob("*/") if source.path.is_dir() and not source.files() and not source.suite else ()
    if names := sorted(path.name for path in folders):
        raise DataError(f"{source.path} holds no records: name one of its folders: {', '.join(names)}")
    return source.name, list(board(source).records)


def _source(word: str) -> Source:
    """Where the records that a word means are."""
    from bench.results import sources

    return sources.find(Path(word).expanduser() if word.startswith("~") else word)
