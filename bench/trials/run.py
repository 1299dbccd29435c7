"""Run trials: plan them, find which stages the store lacks, execute those, and write a record for each trial."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.errors import DataError, UsageError
from bench.results.record import Record
from bench.trials import recording
from bench.trials.plan import Cell, Plan, plan
from bench.trials.scheduler import Event, Outcome, Watch
from bench.trials.store import Store
from bench.trials.trial import Trial

Executor = Literal["local", "ray"]


@dataclass(frozen=True)
class Work:
    """A plan, its store, and the stages that the store has already."""

    plan: Plan
    store: Store
    present: frozenset[str]

    @property
    def missing(self) -> int:
        """The number of stages to be done."""
        return len(self.plan.stages) - len(self.present)


def prepare(trials: Iterable[Trial], store: Store) -> Work:
    """Plan some trials and look up which of the stages are in the store.

    Args:
        trials: The trials.
        store: The store.

    Returns:
        The plan and what is present.
    """
    planned = plan(trials)
    store.sweep()
    return Work(planned, store, store.present(planned.stages))


def execute(
    work: Work,
    records: Path,
    watch: Watch,
    *,
    on: Executor = "local",
    jobs: int | None = None,
    device: str = "auto",
    command: str = "",
) -> list[Record]:
    """Execute the missing stages and write every trial's record into a folder as soon as its stages are done.

    Args:
        work: The plan and what of it is present.
        records: The folder of the records.
        watch: Called with each event.
        on: "local" or "ray".
        jobs: Processes here, or processors of a Ray cluster started here; None takes one a core.
        device: "auto", "cpu", "cuda" or "cuda:N", see `bench.devices`.
        command: The command line, for the records.

    Returns:
        The records in the order of the trials.

    Raises:
        Stopped: On Ctrl-C, when every record that could be written has been.
        DataError: No trial could be run because of bad input, such as a missing data set; no record is written.
        UsageError: There is no such device, or less than one job was asked for.
    """
    writer = RecordWriter(work, records, command)
    writer.stages_done(work.present)
    if not work.missing:
        return writer.in_order()

    def on_event(event: Event) -> None:
        if event.kind == "done":
            writer.stages_done([event.stage.key])
        watch(event)

    outcomes = run_stages(work, on_event, on=on, jobs=jobs, device=device)
    errors = [outcome for outcome in outcomes.values() if outcome.error]
    if errors and not writer.in_order() and all(outcome.bad_input for outcome in errors):
        raise DataError(str(errors[0].error and errors[0].error["message"]))
    writer.fail(outcomes)
    return writer.in_order()


def run_stages(
    work: Work, watch: Watch, *, on: Executor = "local", jobs: int | None = None, device: str = "auto"
) -> dict[str, Outcome]:
    """Execute the missing stages.

    Args:
        work: The plan and what of it is present.
        watch: Called with each event.
        on: "local" or "ray".
        jobs: Processes here, or processors of a Ray cluster started here; None takes one a core.
        device: "auto", "cpu", "cuda" or "cuda:N", see `bench.devices`.

    Returns:
        Stage key -> outcome, of the stages that were missing.

    Raises:
        Stopped: On Ctrl-C.
        UsageError: There is no such device, or less than one job was asked for.
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs = {jobs}: expected 1 or more; the default is one a core")
    if not work.missing:
        return {}
    work.store.probe()
    if on == "ray":
        from bench.trials import cluster

        return cluster.run(work.plan, work.present, work.store.url, watch, jobs, device)
    from bench import devices
    from bench.trials import local

    processes = min(len(os.sched_getaffinity(0)) if jobs is None else jobs, work.missing)
    accelerators = devices.selected(device)
    return local.run(work.plan, work.present, work.store.url, watch, processes, accelerators)


class RecordWriter:
    """Writes each record once, as soon as its stages are done. Only the driver writes records."""

    def __init__(self, work: Work, folder: Path, command: str):
        self._work, self._folder, self._command = work, folder, command
        self._missing = {index: set(cell.keys.values()) for index, cell in enumerate(work.plan.cells)}
        self._cells_of: dict[str, list[int]] = {}
        for index, keys in self._missing.items():
            for key in keys:
                self._cells_of.setdefault(key, []).append(index)
        self._records: dict[int, Record] = {}

    def stages_done(self, keys: Iterable[str]) -> None:
        """Write the records that have become complete.

        Args:
            keys: Keys of stages that are done.
        """
        for key in keys:
            for index in self._cells_of.get(key, []):
                self._missing[index].discard(key)
                if not self._missing[index] and index not in self._records:
                    self._write(index, recording.record_of(self._cell(index), self._work.store, self._command))

    def fail(self, outcomes: dict[str, Outcome]) -> None:
        """Write a record with the error for every trial one of whose stages failed.

        Args:
            outcomes: Stage key -> outcome.
        """
        for index, keys in self._missing.items():
            errors = [outcomes[key] for key in self._cell(index).keys.values() if key in outcomes and key in keys]
            failed = next((outcome for outcome in errors if outcome.error), None)
            if failed and failed.error and index not in self._records:
                stage = self._work.plan.stages[failed.key].title
                error = {"stage": stage} | failed.error
                self._write(index, recording.failure_of(self._cell(index), error, self._command))

    def in_order(self) -> list[Record]:
        """Return the written records in the order of the trials."""
        return [self._records[index] for index in sorted(self._records)]

    def _cell(self, index: int) -> Cell:
        return self._work.plan.cells[index]

    def _write(self, index: int, record: Record) -> None:
        self._records[index] = record
        record.save(self._folder)
