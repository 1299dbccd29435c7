"""Suites run for a command: expanded, prepared, executed, with progress on standard error."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.commands.display import say, watching
from bench.commands.options import Execution
from bench.errors import UsageError
from bench.exits import INCOMPLETE, INTERRUPTED, OK
from bench.files import check_folder, check_output, folder_of, replacing
from bench.results.suite import Suite
from bench.session import run_folder
from bench.trials.expand import expand
from bench.trials.scheduler import Stopped
from bench.trials.store import Store, default_url

if TYPE_CHECKING:
    from bench.results.record import Record
    from bench.trials.run import Work
    from bench.trials.trial import Trial

__all__ = ["command_line", "expanded", "gate_records", "prepared", "run_suite", "run_work", "show", "stopped"]


def command_line() -> str:
    """Return the running command as it would be typed."""
    return shlex.join(["bench", *sys.argv[1:]])


def expanded(suite: Suite) -> Sequence[Trial]:
    """Expand a suite and say what is left out.

    Raises:
        UsageError: no trial is left.
    """
    expansion = expand(suite)
    for reason in expansion.left_out:
        say(f"left out: {reason}")
    for reason in expansion.contaminated:
        say(f"contaminated: {reason}: the score may understate what publishing adds")
    for name in expansion.without_curve:
        say(f"score 1 on {name}: it declares no threat model; --published and --granted (or [threat]) give score 2")
    if not expansion.trials:
        raise UsageError(
            f"'{suite.name}' holds no trial" + (f": {expansion.left_out[0]}" if expansion.left_out else "")
        )
    return expansion.trials


def prepared(suite: Suite, store: str | None) -> Work:
    """Expand a suite and look up which of its stages the store holds.

    Args:
        suite: The suite.
        store: Folder or URL of the store; None for the default one.

    Raises:
        UsageError: The suite holds no trial, or the store cannot be used.
    """
    trials = expanded(suite)  # refuses a wrong suite before the rest is imported
    from bench.trials.run import prepare

    return prepare(trials, Store(store or default_url()))


def run_work(work: Work, records: Path, execution: Execution) -> list[Record]:
    """Run the stages that the store lacks, with progress on standard error.

    Args:
        work: The stages.
        records: Folder of the records.
        execution: Where and how the stages run.

    Returns:
        The records, in the order of the trials.

    Raises:
        Stopped: The user pressed Ctrl-C. Finished stages are kept.
    """
    from bench.trials.run import execute

    plan = work.plan
    say(f"{len(plan.cells)} trials, {len(plan.stages)} stages, {len(work.present)} already in {work.store.url}")
    with watching(execution.display, work.missing) as watch:
        return execute(
            work, records, watch, on=execution.on, jobs=execution.jobs, device=execution.device, command=command_line()
        )


def stopped() -> int:
    """Say how to resume after Ctrl-C, and return the exit code."""
    say(f"stopped. What is done is kept; resume with the same command: {command_line()}")
    return INTERRUPTED


def run_suite(suite: Suite, execution: Execution, records: Path | None, page: Path | None = None) -> int:
    """Run a suite and print its tables.

    Args:
        suite: the suite.
        execution: where its stages run.
        records: folder of the records; default: one of the run's own in the store.
        page: a Markdown file to write the tables to.

    Returns:
        The exit code, see `bench.exits`.
    """
    start = time.monotonic()
    if page is not None:
        check_output(page, force=True)
    if records is not None:
        check_folder(records)
    work = prepared(suite, execution.store)
    folder = records or run_folder(work.store.root, suite)
    try:
        new_records = run_work(work, folder, execution)
    except Stopped:
        return stopped()
    return show(suite, new_records, folder, start, page)


def show(
    suite: Suite,
    new_records: Sequence[Record],
    folder: Path,
    start: float,
    page: Path | None = None,
    others: Sequence[Record] = (),
) -> int:
    """Print the tables of a run.

    Args:
        suite: the suite.
        new_records: its records.
        folder: where they are.
        start: when the run began, by `time.monotonic`.
        page: a Markdown file to write the tables to.
        others: records of other rows, shown beside.

    Returns:
        The exit code, see `bench.exits`.
    """
    from bench.report import markdown, terminal
    from bench.results.board import Board

    board = Board(suite, (*others, *new_records), score=suite.score)
    if page is not None:  # before anything that may fail to be shown
        with replacing(page) as draft:
            draft.write_text(markdown.page(board, command_line()), encoding="utf-8", errors="backslashreplace")
    print("\n" + terminal.tables(board))
    failures = terminal.missing(board)
    for line in failures:
        say(line)
    cell = next((view.shown.cell.id for view in board.views if view.shown and not view.control), "")
    print(f"\nall of a cell:  bench show {cell} --records {shlex.quote(str(folder))}" if cell else "")
    print(f"records: {folder}  ({len(new_records)} trials, {time.monotonic() - start:.1f} s)")
    decides = suite.preset != "smoke" or not board.worths  # a curve of a smoke run is too short to be valid
    return INCOMPLETE if (failures and decides) or any(record.status != "ok" for record in new_records) else OK


def gate_records(suite: Suite, file: Path, execution: Execution, records: Path | None = None) -> list[Record]:
    """Run a suite for the gate, or read the records of a folder instead.

    Records of cells that the suite no longer has are removed from the gate's own folder.

    Args:
        suite: The suite.
        file: Its file. Of two suites of one name the second has a folder of another name.
        execution: Where and how its stages run.
        records: A folder of records; None to run the suite.

    Raises:
        Stopped: The user pressed Ctrl-C. Finished stages are kept.
    """
    if records:
        from bench.results import sources

        return list(sources.read(sources.find(records)).values())
    work = prepared(suite, execution.store)
    folder = folder_of(file, work.store.root / "records" / ("gate-" + re.sub(r"[^\w.-]", "-", suite.name)))
    for name in {path.stem for path in folder.glob("*.json")} - {cell.trial.name for cell in work.plan.cells}:
        (folder / f"{name}.json").unlink()
    return run_work(work, folder, execution)
