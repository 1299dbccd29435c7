"""Run a plan on Ray: the same stages, one core task each. The only file that imports ray.

Specs and keys travel, tensors go through the store, which every node must be able to reach. Ray retries a stage whose
worker or node is lost; a plugin's own error comes back as an outcome and is never retried. Without a running cluster
(`RAY_ADDRESS`) one is started on this machine and goes when the plan is done.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.trials.agenda import MOST_ATTEMPTS, Agenda, Stopped, Watch
from bench.trials.stages import Outcome, perform
from bench.trials.trial import Plan, Stage

_GIB = 2**30
_OBJECT_STORE_BYTES = 100 * 2**20  # nothing but keys goes through it
_GRACE_SECONDS = 5.0


def run(
    plan: Plan, present: Iterable[str], store_url: str, watch: Watch, jobs: int | None = None
) -> dict[str, Outcome]:
    """Do every stage of the plan that is not present; how each of them ended.

    jobs: processors of a cluster started here; None takes all. Raises `Stopped` on Ctrl-C and `UsageError` where Ray is
    not installed.
    """
    # A driver started by `uv run` would otherwise make every worker build an environment of its own.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise UsageError("--on ray needs Ray: pip install 'cloakbench[ray]'") from error
    agenda = Agenda(plan, present, watch)
    _connect(ray, jobs)
    running: dict[Any, Stage] = {}
    try:
        task = ray.remote(perform)
        most = _largest_node(ray)
        while agenda.open:
            for stage in agenda.ready():
                running[task.options(**_options(stage, most)).remote(stage, store_url)] = stage
                agenda.start(stage)
            finished, _ = ray.wait(list(running), num_returns=1, timeout=1.0)
            for reference in finished:
                agenda.finish(_outcome(ray, reference, running.pop(reference)))
    except KeyboardInterrupt as interrupt:
        _cancel(ray, list(running))
        raise Stopped from interrupt
    finally:
        ray.shutdown()
    return agenda.outcomes


def _connect(ray: Any, jobs: int | None) -> None:
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    common = {"log_to_driver": False, "logging_level": "error"}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**common)
        return
    ray.init(
        num_cpus=jobs,
        include_dashboard=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        runtime_env={"env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}},
        **common,
    )


def _largest_node(ray: Any) -> Mapping[str, float]:
    """What the best node has of each resource: a stage that asks for more would wait for ever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return {name: max(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU", "memory")}


def _options(stage: Stage, most: Mapping[str, float]) -> dict[str, Any]:
    needs = stage.needs
    return {
        "num_cpus": min(needs.cpus, most["CPU"]),
        "num_gpus": min(needs.gpus, most["GPU"]),
        "memory": int(min(needs.memory_gb * _GIB, most["memory"])),
        "max_retries": MOST_ATTEMPTS - 1,
        "retry_exceptions": False,
        "name": stage.title,
    }


def _outcome(ray: Any, reference: Any, stage: Stage) -> Outcome:
    """The task's own outcome, or that of a task whose workers died too often."""
    try:
        outcome: Outcome = ray.get(reference)
        return outcome
    except ray.exceptions.RayError as error:
        message = f"{type(error).__name__}, {MOST_ATTEMPTS} times"
        return Outcome(stage.key, 0.0, {"type": "WorkerLost", "message": message, "tail": str(error)[-1000:]})


def _cancel(ray: Any, references: list[Any]) -> None:
    """Ask the tasks to stop, give them a moment, then make them; a second Ctrl-C cuts the moment short."""
    if not references:
        return
    print("stopping …", file=sys.stderr)
    try:
        for reference in references:
            ray.cancel(reference)
        ray.wait(references, num_returns=len(references), timeout=_GRACE_SECONDS)
    finally:
        for reference in references:
            ray.cancel(reference, force=True)
