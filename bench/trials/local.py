"""Run a plan on this machine: with one process for each of several independent stages.

Even a single job runs in a process of its own: a plugin that crashes, exits or replaces its process must not take the
driver and the other trials with it. `BENCH_IN_PROCESS=1` runs a single job in this process, where a debugger works.
Workers are spawned, not forked, because torch's threads do not survive a fork. When a worker dies (out of memory,
SIGKILL), its stage alone runs again. A worker exits when its driver dies, and ignores Ctrl-C: the driver stops it. A
stage starts when enough processors, host memory and, if it uses one, accelerator memory are free for its declared
needs.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from bench.devices import CONTEXT_GB, CPU, Accelerator, Placement, host_memory_gb
from bench.guard import ending
from bench.trials.plan import Plan, Stage
from bench.trials.scheduler import Event, Outcome, Scheduler, Stopped, Watch

_LEAVES_WITHIN = 10.0  # seconds, of a process that was killed
IN_PROCESS = "BENCH_IN_PROCESS"  # environment: one job runs in this process


def run(
    plan: Plan,
    present: Iterable[str],
    store_url: str,
    watch: Watch,
    jobs: int = 1,
    accelerators: tuple[Accelerator, ...] = (),
) -> dict[str, Outcome]:
    """Run every stage of the plan that is not present.

    Args:
        plan: The stages.
        present: Keys of the stages whose artefacts are in the store.
        store_url: The store.
        watch: Called with each event.
        jobs: Processes.
        accelerators: Those that stages may use.

    Returns:
        Stage key -> outcome.

    Raises:
        Stopped: On Ctrl-C.
        RuntimeError: A stage waits for an artefact that no stage makes.
    """
    scheduler = Scheduler(plan, present, watch)
    placement = Placement(accelerators, host_memory_gb())
    try:
        if jobs <= 1 and os.environ.get(IN_PROCESS, "0") not in ("", "0"):
            _run_in_process(scheduler, placement, store_url, watch)
        else:
            _Pool(scheduler, placement, store_url, watch, jobs).run()
    except KeyboardInterrupt as interrupt:
        raise Stopped from interrupt
    return scheduler.outcomes


def _run_in_process(scheduler: Scheduler, placement: Placement, store_url: str, watch: Watch) -> None:
    """Run the stages one after the other in this process."""
    from bench.trials.stages import perform

    while ready := scheduler.ready(1):
        stage = ready[0]
        scheduler.start(stage)
        device = placement.device_for(stage.needs.accelerator_gb, {}) or CPU

        def report(line: str, stage: Stage = stage) -> None:
            watch(Event("progress", stage, line))

        scheduler.finish(perform(stage, store_url, report, device))


@dataclass
class _Worker:
    """A worker process and the stage that it runs."""

    process: Any
    pipe: Connection
    stage: Stage | None = None
    device: str = CPU  # the stage's
    contexts: set[str] = field(default_factory=set)  # accelerators that the process has used and still holds memory on


class _Pool:
    """Worker processes and the stages that they run."""

    def __init__(self, scheduler: Scheduler, placement: Placement, store_url: str, watch: Watch, jobs: int):
        self._scheduler, self._placement = scheduler, placement
        self._store_url, self._watch, self._jobs = store_url, watch, jobs
        self._workers: list[_Worker] = []

    def run(self) -> None:
        try:
            while self._scheduler.open:
                self._assign()
                busy = [worker for worker in self._workers if worker.stage]
                if not busy:
                    raise RuntimeError(
                        f"scheduler deadlock: {self._scheduler.pending} stages pending, none runnable; "
                        f"missing parents: {', '.join(self._scheduler.missing_parents) or 'none'}"
                    )
                active = set(wait([item for worker in busy for item in (worker.pipe, worker.process.sentinel)]))
                for worker in busy:
                    if active & {worker.pipe, worker.process.sentinel}:
                        self._receive(worker)
        finally:
            for worker in self._workers:
                worker.process.kill()
            for worker in self._workers:
                worker.process.join()

    def _assign(self) -> None:
        """Give ready stages to idle workers while processors and memory are free."""
        for stage in self._scheduler.ready():
            running = [worker.stage for worker in self._workers if worker.stage]
            processors = sum(min(stage.needs.cpus, self._jobs) for stage in running)
            if processors >= self._jobs:
                return
            if processors + min(stage.needs.cpus, self._jobs) > self._jobs:
                continue
            if not self._placement.holds(stage.needs.memory_gb, (stage.needs.memory_gb for stage in running)):
                continue
            device = self._placement.device_for(stage.needs.accelerator_gb, self._used_gb())
            if device is None:
                continue
            worker = self._idle_worker(device)
            worker.stage, worker.device = stage, device
            worker.contexts |= {device} - {CPU}
            worker.pipe.send((stage, device))
            self._scheduler.start(stage)

    def _used_gb(self) -> dict[str, float]:
        """Return the reserved accelerator memory in GB: of running stages, and of the CUDA context of every process."""
        reserved: dict[str, float] = {}
        for worker in self._workers:
            for device in worker.contexts:
                reserved[device] = reserved.get(device, 0.0) + CONTEXT_GB
            if worker.stage and worker.device != CPU:
                reserved[worker.device] += worker.stage.needs.accelerator_gb
        return reserved

    def _idle_worker(self, device: str) -> _Worker:
        """Return a worker without a stage, if possible one that has used the device already."""
        idle = [worker for worker in self._workers if not worker.stage]
        idle.sort(key=lambda worker: device not in worker.contexts and device != CPU)
        return idle[0] if idle else self._spawn_worker()

    def _spawn_worker(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_worker_main, args=(theirs, self._store_url), daemon=True, name="bench-worker")
        process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours))
        return self._workers[-1]

    def _receive(self, worker: _Worker) -> None:
        """Take one message from a worker, or notice that its process has ended."""
        stage = worker.stage
        if stage is None:
            return
        try:
            message = worker.pipe.recv() if worker.pipe.poll() else None
        except (EOFError, OSError, pickle.UnpicklingError):  # it left, or a plugin closed or replaced what it had open
            message = None
            worker.process.kill()
            worker.process.join(_LEAVES_WITHIN)
        if isinstance(message, Outcome):
            worker.stage = None
            self._scheduler.finish(message)
        elif message is not None:
            self._watch(Event("progress", stage, message))
        elif not worker.process.is_alive():
            self._workers.remove(worker)
            self._scheduler.lose(stage, _farewell(worker.process.exitcode))


def _farewell(code: int) -> str:
    """How a worker died, by its exit code; negative: the signal."""
    if code >= 0:
        return f"a plugin ended its process with {ending(code)}, expected it to return or to raise an error"
    return f"the worker was {ending(code)}"


def _worker_main(pipe: Connection, store_url: str) -> None:
    """Run the stages that the driver sends, until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    from bench.trials.stages import perform

    while True:
        try:
            stage, device = pipe.recv()
        except EOFError:
            return
        pipe.send(perform(stage, store_url, pipe.send, device))


def _exit_with_parent() -> None:
    """End this process when its parent ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
