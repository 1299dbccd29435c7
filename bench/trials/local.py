"""Run a plan on this machine: in this process, or with a process a core for independent stages.

Workers are spawned, never forked: torch's threads do not survive a fork. A worker that dies (out of memory, SIGKILL)
takes only its stage with it, which runs again. A worker whose driver dies leaves at once. Workers ignore Ctrl-C: the
driver stops them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from bench.trials.agenda import Agenda, Event, Stopped, Watch
from bench.trials.plan import Plan, Stage
from bench.trials.stages import Outcome, perform


def run(plan: Plan, present: Iterable[str], store_url: str, watch: Watch, jobs: int = 1) -> dict[str, Outcome]:
    """Do every stage of the plan that is not present; how each of them ended.

    jobs: processes; 1 runs in this process, where a debugger works. Raises `Stopped` on Ctrl-C.
    """
    agenda = Agenda(plan, present, watch)
    try:
        if jobs <= 1:
            _run_here(agenda, store_url, watch)
        else:
            _run_apart(agenda, store_url, watch, jobs)
    except KeyboardInterrupt as interrupt:
        raise Stopped from interrupt
    return agenda.outcomes


def _run_here(agenda: Agenda, store_url: str, watch: Watch) -> None:
    while ready := agenda.ready(1):
        stage = ready[0]
        agenda.start(stage)
        agenda.finish(perform(stage, store_url, lambda line, stage=stage: watch(Event("progress", stage, line))))  # type: ignore[misc]


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    stage: Stage | None = None


def _run_apart(agenda: Agenda, store_url: str, watch: Watch, jobs: int) -> None:
    workers: list[_Worker] = []
    try:
        while agenda.open:
            _assign(agenda, workers, store_url, jobs)
            busy = [worker for worker in workers if worker.stage]
            if not busy:
                raise RuntimeError("no stage can start and none is running: the plan has a hole")
            heard = set(wait([item for worker in busy for item in (worker.pipe, worker.process.sentinel)]))
            for worker in busy:
                if heard & {worker.pipe, worker.process.sentinel}:
                    _hear(agenda, workers, worker, watch)
    finally:
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.process.join()


def _assign(agenda: Agenda, workers: list[_Worker], store_url: str, jobs: int) -> None:
    """Give ready stages to idle workers, as long as processors and accelerators last."""
    for stage in agenda.ready():
        running = [worker.stage for worker in workers if worker.stage]
        processors = sum(min(stage.needs.cpus, jobs) for stage in running)
        if processors >= jobs:
            return
        accelerators = sum(stage.needs.gpus for stage in running)
        if processors + min(stage.needs.cpus, jobs) > jobs:
            continue
        if running and accelerators + stage.needs.gpus > _accelerators():
            continue
        worker = next((worker for worker in workers if not worker.stage), None) or _hire(workers, store_url)
        worker.stage = stage
        worker.pipe.send(stage)
        agenda.start(stage)


def _hear(agenda: Agenda, workers: list[_Worker], worker: _Worker, watch: Watch) -> None:
    """Take one message from a worker, or notice that it is gone."""
    stage = worker.stage
    if stage is None:
        return
    try:
        message = worker.pipe.recv() if worker.pipe.poll() else None
    except (EOFError, ConnectionResetError):
        message = None
    if isinstance(message, Outcome):
        worker.stage = None
        agenda.finish(message)
    elif message is not None:
        watch(Event("progress", stage, message))
    elif not worker.process.is_alive():
        workers.remove(worker)
        code = worker.process.exitcode
        agenda.lose(
            stage, f"the worker was killed by {signal.Signals(-code).name}" if code < 0 else f"the worker left ({code})"
        )


def _hire(workers: list[_Worker], store_url: str) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, store_url), daemon=True, name="bench-worker")
    process.start()
    theirs.close()
    workers.append(_Worker(process, ours))
    return workers[-1]


def _serve(pipe: Connection, store_url: str) -> None:
    """A worker's life: one stage after the other, until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_driver, daemon=True).start()
    while True:
        try:
            stage = pipe.recv()
        except EOFError:
            return
        pipe.send(perform(stage, store_url, pipe.send))


def _leave_with_driver() -> None:
    driver = multiprocessing.parent_process()
    if driver is not None:
        wait([driver.sentinel])
        os._exit(1)


def _accelerators() -> float:
    """How many this machine has; a stage that asks for one where there is none runs on the processor."""
    import torch

    return float(torch.cuda.device_count()) or float("inf")
