"""Tracks run for a command: responses chosen in rounds, each with progress on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.commands.display import say, watching
from bench.commands.execution import command_line, expanded, show, stopped
from bench.commands.options import Execution
from bench.errors import UsageError, unknown
from bench.exits import OK
from bench.files import check_folder
from bench.results import sources
from bench.results.names import file_name
from bench.results.sources import records_folder
from bench.results.suite import Suite, read
from bench.session import run_folder
from bench.trials.scheduler import Stopped
from bench.trials.store import Store, default_url

if TYPE_CHECKING:
    from bench.results.record import Record
    from bench.trials.plan import Plan
    from bench.trials.scheduler import Outcome

__all__ = [
    "committed",
    "describe",
    "performer",
    "run_track",
    "size_folder",
    "track_file",
    "track_records",
    "with_defenses",
]


def run_track(
    suite: Suite,
    execution: Execution,
    records: Path | None,
    page: Path | None = None,
    others: Sequence[Record] = (),
) -> int:
    """Run a track and print its tables.

    Args:
        suite: the track.
        execution: where its stages run.
        records: folder of the records; default: one of the run's own in the store.
        page: a Markdown file to write the tables to.
        others: records of other rows that are shown beside; those of the clean control are taken as they are where all
            their stages are the same.

    Returns:
        The exit code, see `bench.exits`.
    """
    start = time.monotonic()
    store = Store(execution.store or default_url())
    folder = records or run_folder(store.root, suite)
    check_folder(folder)
    try:
        new_records = track_records(suite, execution, store, others)
    except Stopped:
        return stopped()
    for record in new_records:
        record.save(folder)
    _remove_outdated(folder, new_records)
    rows = {_row(record) for record in new_records}
    beside = [record for record in others if _row(record) not in rows]
    return show(suite, new_records, folder, start, page, beside)


def describe(suite: Suite) -> int:
    """Print how many trainings a track takes; the exit code."""
    from bench.trials import track

    trials = expanded(suite.model_copy(update={"seeds": suite.seeds[:1]}))
    print(f"{suite.name}-{suite.track}, {suite.preset}: ", end="")
    print("\n  ".join(track.outline(trials, suite.seeds, suite.round)))
    return OK


def track_file(name: str) -> Path:
    """Return the file of a track.

    Args:
        name: of a track that comes with bench, or a path that ends in .toml.

    Raises:
        UsageError: there is no such track.
    """
    if name.endswith(".toml"):
        return Path(name)
    files = {stem: path for stem, path in sources.all_suites().items() if path.parent.name == "tracks"}
    if name not in files:
        raise UsageError(f"{unknown('track', name, files)}; a file of your own ends in .toml")
    return files[name]


def with_defenses(track: Suite, names: Sequence[str], parameters: Mapping[str, dict[str, Any]]) -> Suite:
    """Return a track with some defenses in place of its own, beside the clean control.

    Args:
        track: the track.
        names: defenses by name in the track, by name, or by file.
        parameters: name -> parameters in place of the track's.

    Raises:
        UsageError: a name is unknown, or a parameter does not fit.
    """
    clean = [name for name in track.defenses if name == "clean"]
    paths = [str(Path(name).resolve()) if name.endswith(".py") else name for name in names]
    given = {path: parameters[name] for name, path in zip(names, paths, strict=True) if name in parameters}
    tables = {name: {**track.defense.get(name, {}), **given.get(name, {})} for name in paths}
    update = {
        "defenses": list(dict.fromkeys([*clean, *paths])),
        "defense": {name: table for name, table in tables.items() if table},
        "exclude": [],
    }
    return track.model_copy(update=update)


def size_folder(file: Path, preset: str) -> Path:
    """Return where the records of a track are at one size: that of the file's own size is called as the file is."""
    folder = records_folder(file)
    return folder if read(file).preset == preset else folder.with_name(f"{folder.name}-{preset}")


def committed(file: Path, preset: str) -> list[Record]:
    """Return the records that come with a track at one size; none where it has none."""
    if size_folder(file, preset) != records_folder(file):
        return []
    if not sources.has_records(file):
        return []
    return list(sources.read(sources.find(str(file))).values())


def _remove_outdated(folder: Path, records: Sequence[Record]) -> None:
    """Remove what earlier runs wrote for the same rows and seeds, where another response was chosen; nothing else."""
    current = {folder / f"{record.name}.json" for record in records}
    for record in records:
        named = folder.glob(f"{file_name(_row(record))}--*--s{record.trial.seed}.json")
        for path in {*named} - current:
            path.unlink()


def _row(record: Record) -> tuple[str, str, str]:
    trial = record.trial
    return trial.dataset.label, trial.row, trial.knowledge


def track_records(
    suite: Suite, execution: Execution, store: Store, clean_records: Iterable[Record] = ()
) -> list[Record]:
    """Run a track.

    Args:
        suite: the track.
        execution: where its stages run.
        store: holds the stages that are done.
        clean_records: of the clean control, taken as they are where all their stages are the same.

    Returns:
        A record for each row and seed.

    Raises:
        Stopped: the user pressed Ctrl-C. Finished stages are kept.
    """
    from bench.trials import track

    trials = expanded(suite.model_copy(update={"seeds": suite.seeds[:1]}))
    store.sweep()
    perform = performer(store, execution)
    return track.run(trials, suite.seeds, suite.round, store, perform, say, command_line(), clean_records)


def performer(store: Store, execution: Execution) -> Callable[[Plan], Mapping[str, Outcome]]:
    """Return a function that does the stages of a plan that a store lacks, with progress on standard error.

    Args:
        store: the store.
        execution: where and how the stages run.
    """
    from bench.trials.run import Work, run_stages

    def perform(plan: Plan) -> Mapping[str, Outcome]:
        work = Work(plan, store, store.present(plan.stages))
        if work.missing:
            say(f"{len(plan.cells)} trainings or evaluations, {work.missing} of {len(plan.stages)} stages to do")
        with watching(execution.display, work.missing) as watch:
            return run_stages(work, watch, on=execution.on, jobs=execution.jobs, device=execution.device)

    return perform
