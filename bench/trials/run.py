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
from bench.trials.agenda import Event, Watch
from bench.trials.plan import Cell, Plan, plan
from bench.trials.stages import Outcome
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
    work: Work, records: Path, watch: Watch, *, on: Place = "local", jobs: int | None = None, command: str = ""
) -> list[Record]:
    """Do what is missing and write every trial's record into `records`; the records in the order of the trials.

    jobs: processes here, or processors of a Ray cluster started here; None takes one a core. Raises
    `agenda.Stopped` on Ctrl-C, when every record that could be written has been, and `DataError`, with no record
    written, where bad input (a data set that is not there) leaves nothing that could be tried. Raises `UsageError` for
    less than one job.
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs = {jobs}: expected 1 or more; by default one a core")
    desk = _Desk(work, records, command)
    desk.settle(work.present)
    if not work.missing:
        return desk.in_order()
    work.store.probe()

    def seen(event: Event) -> None:
        if event.kind == "done":
            desk.settle([event.stage.key])
        watch(event)

    if on == "ray":
        from bench.trials import cluster

        outcomes = cluster.run(work.plan, work.present, work.store.url, seen, jobs)
    else:
        from bench.trials import local

        wanted = len(os.sched_getaffinity(0)) if jobs is None else jobs
        outcomes = local.run(work.plan, work.present, work.store.url, seen, min(wanted, work.missing))
    errors = [outcome for outcome in outcomes.values() if outcome.error]
    if errors and not desk.in_order() and all(outcome.bad_input for outcome in errors):
        raise DataError(str(errors[0].error and errors[0].error["message"]))
    desk.fail(outcomes)
    return desk.in_order()


class _Desk:
    """Writes each record once, as soon as its stages are there. The driver is the only writer."""

    def __init__(self, work: Work, folder: Path, command: str):
        self._work, self._folder, self._command = work, folder, command
        self._lacking = {index: set(cell.keys.values()) for index, cell in enumerate(work.plan.cells)}
        self._cells_of: dict[str, list[int]] = {}
        for index, keys in self._lacking.items():
            for key in keys:
                self._cells_of.setdefault(key, []).append(index)
        self._records: dict[int, Record] = {}

    def settle(self, keys: Iterable[str]) -> None:
        for key in keys:
            for index in self._cells_of.get(key, []):
                self._lacking[index].discard(key)
                if not self._lacking[index] and index not in self._records:
                    self._write(index, recording.of(self._cell(index), self._work.store, self._command))

    def fail(self, outcomes: dict[str, Outcome]) -> None:
        for index, keys in self._lacking.items():
            errors = [outcomes[key] for key in self._cell(index).keys.values() if key in outcomes and key in keys]
            failed = next((outcome for outcome in errors if outcome.error), None)
            if failed and failed.error and index not in self._records:
                stage = self._work.plan.stages[failed.key].title
                error = {"stage": stage} | failed.error
                self._write(index, recording.failed(self._cell(index), error, self._command))

    def in_order(self) -> list[Record]:
        return [self._records[index] for index in sorted(self._records)]

    def _cell(self, index: int) -> Cell:
        return self._work.plan.cells[index]

    def _write(self, index: int, made: Record) -> None:
        self._records[index] = made
        made.save(self._folder)
