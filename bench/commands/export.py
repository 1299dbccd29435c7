"""`bench export`: the records of a suite, told to an experiment tracker."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal

from bench import plugins
from bench.errors import UsageError, unknown
from bench.exporters import facts
from bench.trials import matrix, record
from bench.trials.record import Record

__all__ = ["Tracker", "export", "resolve"]

Tracker = Literal["mlflow", "tensorboard"]


def export(suite: str, to: Tracker, out: str) -> None:
    """Export every record of a suite and say how to look at them."""
    name, records = resolve(suite)
    runs = [facts.of(one, name) for one in records]
    if to == "mlflow":
        from bench.exporters import mlflow

        logged, kept = mlflow.export(runs, out)
        print(f"{name}: {logged} runs logged, {kept} were there already")
        viewer = f"mlflow ui --backend-store-uri {shlex.quote(out)}"
        if mlflow.is_folder(out):
            viewer = f"MLFLOW_ALLOW_FILE_STORE=true {viewer}"
        print(f"look at them: {out if out.startswith('http') else viewer}")
    else:
        from bench.exporters import tensorboard

        new, replaced = tensorboard.export(runs, out)
        print(f"{name}: {new} runs written, {replaced} replaced")
        print(f"look at them: tensorboard --logdir {shlex.quote(str(Path(out) / name))}")


def resolve(suite: str) -> tuple[str, list[Record]]:
    """A suite's name and records.

    `suite` is its TOML file (records in `records/NAME` beside it), its name (records in `leaderboards/records/NAME`), a
    folder of records, or one record's file. Raises `UsageError` where it is none of these or has no records.
    """
    path = Path(suite).expanduser()
    if path.suffix == ".toml":
        name = matrix.read(path).name
        return name, _records(path.resolve().parent / "records" / name)
    if path.suffix == ".json":
        return path.resolve().parent.name, [record.load(path)]
    known = _known()
    if suite in known:
        return suite, _records(known[suite])
    if path.is_dir():
        return path.resolve().name, _records(path)
    raise UsageError(unknown("suite, folder or record", suite, known))


def _known() -> dict[str, Path]:
    """The suites whose records lie here, by name: those of the current folder before those that came with bench."""
    found: dict[str, Path] = {}
    for root in (Path(), plugins.home()):
        for folder in sorted((root / "leaderboards" / "records").glob("*/")):
            found.setdefault(folder.name, folder)
    return found


def _records(folder: Path) -> list[Record]:
    records = record.load_all(folder)
    if not records:
        inner = ", ".join(sorted(path.name for path in folder.glob("*/"))) if folder.is_dir() else ""
        hint = (
            f"name one of its folders: {inner}" if inner else "make them with `bench matrix` or `bench run --records`"
        )
        raise UsageError(f"{folder} holds no records: {hint}")
    return records
