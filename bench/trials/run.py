"""From trials to records: plan, see what the store lacks, have it done, write a record a trial as soon as it can be."""

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

Place = Literal["local", "ray"]


@dataclass(frozen=True)
class Work:
    """A plan beside what the store already holds."""

    plan: Plan
    store: Store
    present: frozenset[str]

    @property
    def missing(self) -> int:
        return len(self.plan.stages) - len(self.present)


def prepare(trials: Iterable[Trial], store: Store) -> Work:
    """The plan for some trials and which of its stages are in the store."""
    planned = plan(trials)
    store.sweep()
    return Work(planned, store, store.present(planned.stages))


def execute(
    work: Work,
    records: Path,
    watch: Watch,
    *,
    on: Place = "local",
    jobs: int | None = None,
    device: str = "auto",
    command: str = "",
) -> list[Record]:
    """Do what is missing and write every trial's record into a folder, as soon as it can be written.

    Args:
        work: the plan and what of it is done.
        records: the folder.
        watch: is told what happens.
        on: "local" or "ray".
        jobs: processes here, or processors of a Ray cluster started here; None takes one a core.
        device: "auto", "cpu", "cuda" or "cuda:N", see `bench.devices`.
        command: what the user typed, for the records.

    Returns:
        The records in the order of the trials.

    Raises:
        Stopped: on Ctrl-C, when every record that could be written has been.
        DataError: bad input (a data set that is not there) leaves nothing that could be tried; no record is written.
        UsageError: there is no such device, or less than one job was asked for.
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs = {jobs}: expected 1 or more; by default one a core")
    writer = RecordWriter(work, records, command)
    writer.stages_done(work.present)
    if not work.missing:
        return writer.in_order()
    work.store.probe()

    def seen(event: Event) -> None:
        if event.kind == "done":
            writer.stages_done([event.stage.key])
        watch(event)

    if on == "ray":
        from bench.trials import cluster

        outcomes = cluster.run(work.plan, work.present, work.store.url, seen, jobs, device)
    else:
        from bench import devices
        from bench.trials import local

        wanted = min(len(os.sched_getaffinity(0)) if jobs is None else jobs, work.missing)
        accelerators = devices.chosen(device)
        outcomes = local.run(work.plan, work.present, work.store.url, seen, wanted, accelerators)
    errors = [outcome for outcome in outcomes.values() if outcome.error]
    if errors and not writer.in_order() and all(outcome.bad_input for outcome in errors):
        raise DataError(str(errors[0].error and errors[0].error["message"]))
    writer.fail(outcomes)
    return writer.in_order()


class RecordWriter:
    """Writes each record once, as soon as its stages are there. The driver is the only writer."""

    def __init__(self, work: Work, folder: Path, command: str):
        self._work, self._folder, self._command = work, folder, command
        self._lacking = {index: set(cell.keys.values()) for index, cell in enumerate(work.plan.cells)}
        self._cells_of: dict[str, list[int]] = {}
        for index, keys in self._lacking.items():
            for key in keys:
                self._cells_of.setdefault(key, []).append(index)
        self._records: dict[int, Record] = {}

    def stages_done(self, keys: Iterable[str]) -> None:
        """Write the records whose last stages these are."""
        for key in keys:
            for index in self._cells_of.get(key, []):
                self._lacking[index].discard(key)
                if not self._lacking[index] and index not in self._records:
                    self._write(index, recording.of(self._cell(index), self._work.store, self._command))

    def fail(self, outcomes: dict[str, Outcome]) -> None:
        """Write a record that says why for every trial one of whose stages failed."""
        for index, keys in self._lacking.items():
            errors = [outcomes[key] for key in self._cell(index).keys.values() if key in outcomes and key in keys]
            failed = next((outcome for outcome in errors if outcome.error), None)
            if failed and failed.error and index not in self._records:
                stage = self._work.plan.stages[failed.key].title
                error = {"stage": stage} | failed.error
                self._write(index, recording.failed(self._cell(index), error, self._command))

    def in_order(self) -> list[Record]:
        """The records that are written, in the order of the trials."""
        return [self._records[index] for index in sorted(self._records)]

    def _cell(self, index: int) -> Cell:
        return self._work.plan.cells[index]

    def _write(self, index: int, written: Record) -> None:
        self._records[index] = written
        written.save(self._folder)
