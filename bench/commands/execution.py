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
from bench.files import check_folder, check_output, replacing
from bench.results.suite import Suite
from bench.session import run_folder
from bench.trials.expand import expand
from bench.trials.scheduler import Stopped
from bench.trials.store import Store, default_url

if TYPE_CHECKING:
    from bench.results.record import Record
    from bench.trials.run import Work
    from bench.trials.trial import Trial

__all__ = ["command_line", "expanded", "gate_records", "prepared", "run_suite", "run_work", "stopped"]


def command_line() -> str:
    """The command that is running, as it would be typed."""
    return shlex.join(["bench", *sys.argv[1:]])


def expanded(suite: Suite) -> Sequence[Trial]:
    """Expand a suite and say what is left out.

    Raises:
        UsageError: no trial is left.
    """
    expansion = expand(suite)
    for why in expansion.left_out:
        say(f"left out: {why}")
    for why in expansion.contaminated:
        say(f"contaminated: {why}: the score may understate what publishing adds")
    if not expansion.trials:
        raise UsageError(
            f"'{suite.name}' holds no trial" + (f": {expansion.left_out[0]}" if expansion.left_out else "")
        )
    return expansion.trials


def prepared(suite: Suite, store: str | None) -> Work:
    """The work of a suite beside what the store holds."""
    trials = expanded(suite)  # refuses a wrong suite before the rest is imported
    from bench.trials.run import prepare

    return prepare(trials, Store(store or default_url()))


def run_work(work: Work, records: Path, how: Execution) -> list[Record]:
    """Execute what the store lacks, with progress; the records in the order of the trials.

    Raises:
        Stopped: the user pressed Ctrl-C. What is done is kept.
    """
    from bench.trials.run import execute

    plan = work.plan
    say(f"{len(plan.cells)} trials, {len(plan.stages)} stages, {len(work.present)} already in {work.store.url}")
    with watching(how.display, work.missing) as watch:
        return execute(work, records, watch, on=how.on, jobs=how.jobs, device=how.device, command=command_line())


def stopped() -> int:
    """Say how to resume after Ctrl-C; the exit code."""
    say(f"stopped. What is done is kept; resume with the same command: {command_line()}")
    return INTERRUPTED


def run_suite(suite: Suite, how: Execution, records: Path | None, page: Path | None = None) -> int:
    """Run a suite and print its tables.

    Args:
        suite: the suite.
        how: where its stages run.
        records: folder of the records; default: one of the run's own in the store.
        page: a Markdown file to write the tables to.

    Returns:
        The exit code, see `bench.exits`.
    """
    started = time.monotonic()
    if page is not None:
        check_output(page, force=True)
    if records is not None:
        check_folder(records)
    work = prepared(suite, how.store)
    folder = records or run_folder(work.store.root, suite)
    try:
        measured = run_work(work, folder, how)
    except Stopped:
        return stopped()
    from bench.report import markdown, terminal
    from bench.results.board import Board

    board = Board(suite, tuple(measured))
    if page is not None:  # before anything that may fail to be shown
        with replacing(page) as draft:
            draft.write_text(markdown.page(board, command_line()), encoding="utf-8", errors="backslashreplace")
    print("\n" + terminal.tables(board))
    missing = terminal.missing(board)
    for line in missing:
        say(line)
    cell = next((view.shown.cell.id for view in board.views if view.shown and not view.control), "")
    print(f"\nall of a cell:  bench show {cell} --records {shlex.quote(str(folder))}" if cell else "")
    print(f"records: {folder}  ({len(measured)} trials, {time.monotonic() - started:.1f} s)")
    return INCOMPLETE if missing or any(record.status != "ok" for record in measured) else OK


def gate_records(suite: Suite, how: Execution, records: Path | None = None) -> list[Record]:
    """Measure a suite for the gate, or read the records of a folder instead.

    Records of cells that the suite no longer has are removed from the gate's own folder.
    """
    if records:
        from bench.results import sources

        return list(sources.read(sources.find(records)).values())
    work = prepared(suite, how.store)
    folder = work.store.root / "records" / ("gate-" + re.sub(r"[^\w.-]", "-", suite.name))
    for stale in {path.stem for path in folder.glob("*.json")} - {cell.trial.name for cell in work.plan.cells}:
        (folder / f"{stale}.json").unlink()
    return run_work(work, folder, how)
