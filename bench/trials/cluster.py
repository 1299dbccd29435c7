"""Run a plan on Ray: the same stages, one task each. The only file that imports ray.

Stages, keys and users' plugin files are sent to the workers; tensors go through the store, which every node must reach.
Ray retries a stage whose worker or node is lost. A plugin's own error is returned as an outcome and is never retried.
Without a running cluster (`RAY_ADDRESS`) one is started on this machine and stopped when the plan is done. On a running
cluster no environment is created: its nodes have bench installed, or get the checkout from `ray job submit
--working-dir`, and another environment would clash with the job's.

Progress lines are not sent to the driver: an actor to carry them would be one more process that can be lost with a
node.
"""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.devices import CONTEXT_GB, CPU, accelerators
from bench.errors import UsageError
from bench.trials.plan import Plan, Stage
from bench.trials.remote import perform_remote, serialised
from bench.trials.scheduler import MOST_ATTEMPTS, Outcome, Scheduler, Stopped, Watch
from bench.trials.store import Store

_GIB = 2**30
_OBJECT_STORE_BYTES = 100 * 2**20  # only keys and outcomes pass through it
_GRACE_SECONDS = 5.0
_ASK_SECONDS = 60.0  # limit for reading the memory size of a node's accelerator
_LEAST_ACCELERATOR_GB = 16.0
_ANSWER_SECONDS = 20.0  # limit for a process to import Ray and get an answer; 1.3 s are normal
_EMPTY_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # a frame of HTTP/2: length 0, type 4, no flags, stream 0
_QUESTION = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1]).get_all_node_info(timeout=5)"
_LOOK_SECONDS = 5.0  # between two queries of the cluster's nodes
# Tasks handed to Ray ahead of a free processor: enough for an autoscaler to see that more nodes are wanted, few enough
# that Ray's queue, which knows no critical path, does not decide the order.
_LEAST_AHEAD, _AHEAD_PER_PROCESSOR = 64, 4
_SHARED_FOLDER_SECONDS = 10.0  # how long a network file system may take to show what another node wrote

Resources = Mapping[str, float]


def run(
    plan: Plan, present: Iterable[str], store_url: str, watch: Watch, jobs: int | None = None, device: str = "auto"
) -> dict[str, Outcome]:
    """Run every stage of the plan that is not present, on a Ray cluster.

    Args:
        plan: The stages.
        present: Keys of the stages whose artefacts are in the store.
        store_url: The store, which every node must reach.
        watch: Called with each event.
        jobs: Processors of a cluster started here; None takes all.
        device: "cpu" for processors alone, "cuda" to require accelerators. Ray chooses which of a node's accelerators a
            stage gets.

    Returns:
        Stage key -> outcome.

    Raises:
        Stopped: On Ctrl-C.
        UsageError: Ray is not installed, or the cluster cannot be reached or has no accelerator though "cuda" was
            given.
    """
    if device not in ("auto", CPU, "cuda"):
        raise UsageError(f"--device {device} with --on ray: expected auto, cpu or cuda; Ray chooses the accelerator")
    # A driver started by `uv run` would otherwise make every worker build an environment of its own.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # By default Ray retries without limit a stage that its memory monitor kills.
    os.environ.setdefault("RAY_task_oom_retries", str(MOST_ATTEMPTS - 1))
    try:
        import ray
    except ImportError as error:
        raise UsageError("--on ray needs Ray: pip install 'cloakbench[ray]'") from error
    scheduler = Scheduler(plan, present, watch)
    _connect(ray, jobs)
    running: dict[Any, Stage] = {}
    try:
        task = ray.remote(perform_remote)
        single_use_task = ray.remote(max_calls=1)(perform_remote)  # a reused worker would keep its accelerator's memory
        nodes, looked = _nodes(ray), time.monotonic()
        if device == "cuda" and not any(node.get("GPU") for node in nodes):
            raise UsageError("--device cuda: no node of the cluster has a GPU, expected at least one: use auto or cpu")
        accelerator_gb = _accelerator_gb(ray, nodes) if device != CPU else 0.0
        while scheduler.open:
            if time.monotonic() - looked > _LOOK_SECONDS:
                nodes, looked = _nodes(ray), time.monotonic()
            for stage in scheduler.ready(_ahead(nodes) - len(running)):
                options = _options(stage, nodes, accelerator_gb)
                remote, target = (single_use_task, "cuda") if options["num_gpus"] else (task, CPU)
                running[remote.options(**options).remote(serialised(stage, target), store_url)] = stage
                scheduler.start(stage)
            finished, _ = ray.wait(list(running), num_returns=1, timeout=1.0)
            for reference in finished:
                scheduler.finish(_outcome(ray, reference, running.pop(reference), store_url))
    except KeyboardInterrupt as interrupt:
        _cancel(ray, list(running))
        raise Stopped from interrupt
    finally:
        ray.shutdown()
    return scheduler.outcomes


def _connect(ray: Any, jobs: int | None) -> None:
    """Start Ray on this machine, or connect to the cluster at RAY_ADDRESS."""
    common = {"log_to_driver": False, "logging_level": "error"}
    address = os.environ.get("RAY_ADDRESS")
    if address:
        try:
            _check_reachable(address)
            ray.init(**common)
        except (OSError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error.__cause__ or error).split())
            hint = (
                "" if "Auth" not in reason else " (a cluster with a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN)"
            )
            raise UsageError(f"no Ray cluster answers at RAY_ADDRESS={address}{hint}: {reason[:300]}") from error
        return
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    ray.init(
        num_cpus=jobs,
        include_dashboard=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        runtime_env={"env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}},
        **common,
    )


def _check_reachable(address: str) -> None:
    """Raise `OSError`, `RuntimeError` or `ValueError` where no Ray head answers at an address.

    Ray itself would try for minutes. A separate process asks, since Ray's client can be neither interrupted nor
    silenced.
    """
    if "://" in address:
        raise ValueError("this is the address of a Ray client, expected HOST:PORT of the head, such as 10.0.0.5:6379")
    from ray._private import services

    resolved = services.canonicalize_bootstrap_address(address)  # loopback -> the host's own address, as Ray does
    host, _, port = (resolved or "").rpartition(":")
    if not port.isdigit():
        raise ValueError("the address has no port, expected HOST:PORT of the head, such as 10.0.0.5:6379")
    with socket.create_connection((host.strip("[]"), int(port)), _GRACE_SECONDS) as connection:
        if os.environ.get("RAY_USE_TLS", "0") == "0" and not _speaks_http2(connection):
            raise RuntimeError(f"the server at {resolved} is not a Ray head: it does not speak HTTP/2")
    command = [sys.executable, "-c", _QUESTION, str(resolved)]
    try:
        completed = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        raise RuntimeError(
            f"the server at {resolved} did not answer as a Ray head within {_ANSWER_SECONDS:g} s"
        ) from None
    if completed.returncode:
        lines = completed.stderr.strip().splitlines() or [f"exit code {completed.returncode}"]
        raise RuntimeError(f"the server at {resolved} does not answer as a Ray head: {lines[-1]}")


def _speaks_http2(connection: socket.socket) -> bool:
    """Return whether a server answers the preface of HTTP/2, which gRPC and so Ray uses, with settings (RFC 9113)."""
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _EMPTY_SETTINGS)
    head = b""
    try:
        while len(head) < len(_EMPTY_SETTINGS) and (more := connection.recv(len(_EMPTY_SETTINGS) - len(head))):
            head += more
    except OSError:  # the connection was closed or timed out
        return False
    return head[3:4] == _EMPTY_SETTINGS[3:4]


def _nodes(ray: Any) -> list[Resources]:
    """Return the resources of each living node, and of each kind of node that an autoscaler may add."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]] + _kinds_of_nodes(ray)


def _kinds_of_nodes(ray: Any) -> list[Resources]:
    """Return the resources of each kind of node that an autoscaler may add; none where Ray does not say.

    Ray has no public call for this. With a version that lacks the private one, only living nodes count.
    """
    try:
        config = ray._private.state.state.get_cluster_config()
    except AttributeError:
        return []
    return [dict(group.resources) for group in (config.node_group_configs if config else ()) if group.max_count]


def _accelerator_gb(ray: Any, nodes: Sequence[Resources]) -> float:
    """Return the memory in GB of one of the cluster's accelerators, of which a stage then reserves a fraction.

    A task on a node that has one reads it. Without an answer in time, the smallest size in common use is assumed.
    """
    if not any(node.get("GPU") for node in nodes):
        return 0.0
    answer = ray.remote(num_gpus=0.01, num_cpus=0, max_calls=1)(_first_accelerator_gb).remote()
    answered, _ = ray.wait([answer], timeout=_ASK_SECONDS)
    if not answered:
        ray.cancel(answer)
        return _LEAST_ACCELERATOR_GB
    return float(ray.get(answer)) or _LEAST_ACCELERATOR_GB


def _first_accelerator_gb() -> float:
    return next((accelerator.memory_gb for accelerator in accelerators()), 0.0)


def _ahead(nodes: Sequence[Resources]) -> int:
    return max(_LEAST_AHEAD, int(_AHEAD_PER_PROCESSOR * sum(node.get("CPU", 0.0) for node in nodes)))


def _options(stage: Stage, nodes: Sequence[Resources], accelerator_gb: float) -> dict[str, Any]:
    """Return Ray's options for a stage: its needs, limited to those of the node that comes nearest to them.

    A stage that asked for more than any node has would wait for ever. Without any accelerator it runs on processors.

    Args:
        stage: The stage.
        nodes: The resources of each node.
        accelerator_gb: Memory of one accelerator in GB; 0: none is used.
    """
    needs = stage.needs
    share = (
        min(1.0, math.ceil(100 * (needs.accelerator_gb + CONTEXT_GB) / accelerator_gb) / 100) if accelerator_gb else 0.0
    )
    requested = {
        "GPU": share if needs.accelerator_gb > 0 else 0.0,
        "CPU": float(needs.cpus),
        "memory": needs.memory_gb * _GIB,
    }
    offers = [{name: min(most, node.get(name, 0.0)) for name, most in requested.items()} for node in nodes]
    best = max(offers, key=lambda offer: (offer["GPU"], offer["CPU"], offer["memory"]), default=requested)
    return {
        "num_cpus": best["CPU"],
        "num_gpus": best["GPU"],
        "memory": int(best["memory"]),
        "max_retries": MOST_ATTEMPTS - 1,
        "retry_exceptions": False,
        "name": stage.title,
    }


def _outcome(ray: Any, reference: Any, stage: Stage, store_url: str) -> Outcome:
    """Return a task's outcome; an error if its workers died too often or its artefact is not visible here."""
    try:
        outcome: Outcome = ray.get(reference)
    except ray.exceptions.RayError as error:
        message = f"{type(error).__name__}, {MOST_ATTEMPTS} times"
        return Outcome(stage.key, 0.0, {"type": "WorkerLost", "message": message, "tail": str(error)[-1000:]})
    if outcome.error is None and "://" not in store_url and not _appears(stage.key, store_url):
        message = f"'{stage.title}' ran on a node that does not share the folder {store_url}: give --store s3://…"
        return Outcome(stage.key, outcome.seconds, {"type": "DataError", "message": message, "tail": ""}, True)
    return outcome


def _appears(key: str, store_url: str) -> bool:
    """Wait until an artefact is in the store; return whether it is."""
    store, limit = Store(store_url), time.monotonic() + _SHARED_FOLDER_SECONDS
    while not (present := store.has(key)) and time.monotonic() < limit:
        time.sleep(0.2)
    return present


def _cancel(ray: Any, references: list[Any]) -> None:
    """Cancel the tasks, wait a few seconds, then kill them; a second Ctrl-C ends the wait."""
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
