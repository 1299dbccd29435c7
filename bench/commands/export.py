"""`bench export`: the records of a suite, written to an experiment tracker."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cyclopts import App

from bench.errors import DataError
from bench.exits import OK

if TYPE_CHECKING:
    from bench.results.record import Record

__all__ = ["app", "export", "resolve"]

Tracker = Literal["mlflow", "tensorboard"]

app = App(
    name="export",
    help_epilogue=(
        "Examples:\n"
        "  bench export speech --to tensorboard --out runs\n"
        "  bench export leaderboards/music.toml --to mlflow --out mlruns\n"
        "  bench export my_records/ --to mlflow --out http://localhost:5000\n"
    ),
)


@app.default
def export(suite: str, *, to: Tracker, out: str) -> int:
    """Give the records of a suite to an experiment tracker: a run a trial. Exporting again doubles nothing.

    Parameters
    ----------
    suite
        A suite's TOML file, the name of one whose records lie in leaderboards/records, a folder of records, or one
        record.
    to
        The tracker.
    out
        A folder; for MLflow also the URI of a server or a database.
    """
    from bench.report.exporters import facts

    name, records = resolve(suite)
    runs = [facts.of(one, name) for one in records]
    if to == "mlflow":
        from bench.report.exporters import mlflow

        logged, kept = mlflow.export(runs, out)
        print(f"{name}: {logged} runs logged, {kept} were there already")
        viewer = f"mlflow ui --backend-store-uri {shlex.quote(out)}"
        if mlflow.is_folder(out):
            viewer = f"MLFLOW_ALLOW_FILE_STORE=true {viewer}"
        print(f"look at them: {out if out.startswith('http') else viewer}")
    else:
        from bench.report.exporters import tensorboard

        new, replaced = tensorboard.export(runs, out)
        print(f"{name}: {new} runs written, {replaced} replaced")
        print(f"look at them: tensorboard --logdir {shlex.quote(str(Path(out) / name))}")
    return OK


def resolve(suite: str) -> tuple[str, list[Record]]:
    """A suite's name and records.

    `suite` is a suite by name or TOML file, as `bench leaderboard` takes it, a folder of records, or one record's file.
    Raises `UsageError` or `DataError` where it is none of these or has no records.
    """
    from bench.results import record
    from bench.results.board import boards, suite_files

    path = Path(suite).expanduser()
    if path.suffix == ".json":
        return path.resolve().parent.name, [record.load(path)]
    if suite not in suite_files() and path.is_dir():
        return path.resolve().name, _records(path)
    (board,) = boards([suite])
    return board.name, list(board.records)


def _records(folder: Path) -> list[Record]:
    from bench.results import record

    records = record.load_all(folder)
    if not records:
        inner = ", ".join(sorted(path.name for path in folder.glob("*/")))
        hint = f"name one of its folders: {inner}" if inner else "`bench matrix` and `bench run --records` make some"
        raise DataError(f"{folder} holds no records: {hint}")
    return records
