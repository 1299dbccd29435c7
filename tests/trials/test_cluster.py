"""A real cluster of two nodes on this machine, its store a bucket, and one of the nodes killed at work.

The nodes are started by `ray start`, as a user would; each believes that it is a machine of its own: other temporary
folder, other mirror of the store, other working directory, so that plugins given as files must travel.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import plugins
from bench.api import Needs
from bench.results import reading
from bench.results.suite import read
from bench.trials.cluster import _nodes, _options
from bench.trials.expand import expand
from bench.trials.plan import plan, stage
from bench.trials.remote import perform_remote, serialised
from bench.trials.run import execute, prepare
from bench.trials.store import Store
from bench.trials.trial import Part, Trial
from tests.factories import PLUGINS, suite_text

Trials = Callable[..., tuple[Trial, ...]]
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Node:
    """A `ray start --block` and everything below it."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def raylet(self) -> int:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (found,) = [pid for pid in children if b"/raylet/raylet" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return int(found)

    def kill(self) -> None:
        """What pulling the plug does: nobody on the node can say goodbye."""
        for pid in _session(self.process.pid):
            with contextlib.suppress(ProcessLookupError):  # some end with the process that started them
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class Cluster:
    head: Node
    other: Node
    environment: dict[str, str]  # a driver's


def _session(leader: int) -> list[int]:
    """The processes of a session: workers leave the group of their node, never its session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == leader and fields[0] != "Z":
                    found.append(int(entry.name))
    return found


def until(true: Callable[[], object], what: str, process: subprocess.Popen[str] | None = None) -> None:
    limit = time.monotonic() + 60
    while not true():
        ended = process is not None and process.poll() is not None
        if ended or time.monotonic() > limit:
            if process is not None:
                process.kill()
            pytest.fail(f"there never was {what}: {process and process.communicate()}")
        time.sleep(0.05)


def started(folder: Path, environment: dict[str, str], *words: str) -> Node:
    folder.mkdir()
    log, own = folder / "log", {**environment, "BENCH_STORE": str(folder / "mirror")}
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--temp-dir={folder / 'ray'}"]
    command += ["--object-store-memory=80000000", "--memory=16000000000", *words]
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=folder, env=own, stdout=file, stderr=file, start_new_session=True)
    node = Node(process, log)
    try:
        until(lambda: b"Ray runtime started" in log.read_bytes() or process.poll() is not None, "the node's start")
        assert process.poll() is None, log.read_text()
    except BaseException:
        node.kill()
        raise
    return node


@pytest.fixture(scope="module")
def cluster(bucket: dict[str, str]) -> Iterator[Cluster]:
    pytest.importorskip("ray")
    base = Path(tempfile.mkdtemp(prefix="nodes-", dir="/tmp"))  # not pytest's: the path of a socket must be short
    environment = {
        **os.environ,
        **bucket,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "RAY_USAGE_STATS_ENABLED": "0",
        "CI": "true",
    }
    nodes: list[Node] = []
    try:
        nodes.append(
            started(base / "a", environment, "--head", "--port=0", "--num-cpus=1", "--include-dashboard=false")
        )
        address = nodes[0].log.read_text().partition("--address='")[2].partition("'")[0]
        joining = [f"--address={address}", "--node-ip-address=127.0.0.2", "--num-cpus=2"]
        nodes.append(started(base / "b", environment, *joining))
        yield Cluster(nodes[0], nodes[1], {**environment, "RAY_ADDRESS": address, "BENCH_STORE": str(base / "driver")})
    finally:
        for node in nodes:
            node.kill()
        shutil.rmtree(base, ignore_errors=True)


def suite(folder: Path) -> Path:
    """A suite with a defense that waits, its plugins beside it; where it waits."""
    for name in ("tones", "linear", "waits"):
        shutil.copy(PLUGINS / f"{name}.py", folder)
    gate = folder / "gate"
    gate.mkdir()
    waits = f'[defense.waits]\nplugin = "waits.py"\nfolder = "{gate}"'
    head = 'defenses = ["clean", "waits"]\nseeds = [0, 1, 2]'
    (folder / "suite.toml").write_text(suite_text(head, waits, Path()))
    return gate


def matrix(folder: Path, environment: dict[str, str], store: str) -> subprocess.Popen[str]:
    words = ["matrix", "suite.toml", "--on", "ray", "--store", store, "--records", "records"]
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "bench", *words]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def inside(gate: Path) -> list[int]:
    """The raylets whose workers came to a gate, one entry a worker."""
    return [int(path.name.partition("-")[0]) for path in gate.iterdir() if path.name != "go"]


@pytest.mark.ray
def test_a_node_that_is_killed_changes_no_record(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = suite(tmp_path)
    head, other = cluster.head.raylet, cluster.other.raylet
    driver = matrix(tmp_path, cluster.environment, "s3://bucket/killed")
    try:
        until(lambda: other in inside(gate), "a slow stage on the node that dies", driver)
        cluster.other.kill()
        (gate / "go").touch()
        out, err = driver.communicate(timeout=120)
    finally:
        driver.kill()
    assert driver.returncode == 0, (out, err)
    assert inside(gate).count(head) == 3  # what had begun on the other node was done again here
    far = {made.name: made.science() for made in reading.load_all(tmp_path / "records")}
    assert {made["status"] for made in far.values()} == {"ok"}
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    trials = expand(read(tmp_path / "suite.toml")).trials
    near = execute(prepare(trials, Store(tmp_path / "near")), tmp_path / "local", lambda event: None, jobs=1)
    assert len(near) == 6
    assert far == {made.name: made.science() for made in near}
    assert prepare(trials, Store("s3://bucket/killed")).missing == 0  # the same command would do nothing


def part(kind: str, name: str, digest: str = "", **needs: float) -> Part:
    found = digest or plugins.digest(kind, name)
    return Part(kind=kind, name=name, params={}, digest=found, needs=Needs(**needs))  # type: ignore[arg-type]


def test_a_stage_reserves_its_needs_or_what_the_nearest_node_has() -> None:
    head = {"CPU": 16.0, "memory": 64.0 * 2**30}
    worker = {"CPU": 4.0, "GPU": 1.0, "memory": 16.0 * 2**30}
    loading = stage("load", "", {"dataset": part("datasets", "chorales", cpus=64, accelerator_gb=40)}, {}, {})
    assert _options(loading, [head, worker], 80.0)["num_gpus"] == 0  # reading is nobody's need

    def asked(nodes: list[dict[str, float]], of: float = 80.0, **needs: float) -> tuple[float, float, float]:
        attacker = part("attackers", "linear", "any", **needs)
        options = _options(stage("learn", "", {"attacker": attacker}, {}, {}), nodes, of)
        return options["num_cpus"], options["num_gpus"], options["memory"] / 2**30

    assert asked([head, worker], cpus=2, accelerator_gb=39.5, memory_gb=8) == (2, 0.5, 8)
    # All of it on one node, not the best of each; more than an accelerator has is one accelerator.
    assert asked([head, worker], cpus=8, accelerator_gb=100, memory_gb=32) == (4, 1.0, 16)
    assert asked([head], cpus=8, accelerator_gb=40, memory_gb=32) == (8, 0.0, 32)  # without any: on processors
    assert asked([head, worker], cpus=32, accelerator_gb=0) == (16, 0.0, 2)
    assert asked([head, worker], of=0.0, cpus=2, accelerator_gb=40)[1] == 0.0  # --device cpu
    fractions = [asked([worker], of=16.0, accelerator_gb=size)[1] for size in (1.5, 2.0)]
    assert fractions == [0.13, 0.16]  # rounded up: eight of the first would not fit


def test_nodes_that_an_autoscaler_may_add_count() -> None:
    def ray_with(groups: list[SimpleNamespace] | None) -> SimpleNamespace:
        config = SimpleNamespace(node_group_configs=groups) if groups is not None else None
        state = SimpleNamespace(state=SimpleNamespace(get_cluster_config=lambda: config))
        nodes = [{"Alive": True, "Resources": {"CPU": 2.0}}, {"Alive": False, "Resources": {"CPU": 99.0}}]
        return SimpleNamespace(_private=SimpleNamespace(state=state), nodes=lambda: nodes)

    allowed = SimpleNamespace(resources={"CPU": 8, "GPU": 1}, max_count=4)
    forbidden = SimpleNamespace(resources={"CPU": 64, "GPU": 8}, max_count=0)
    assert _nodes(ray_with(None)) == [{"CPU": 2.0}]
    assert _nodes(ray_with([allowed, forbidden])) == [{"CPU": 2.0}, {"CPU": 8, "GPU": 1}]
    other = SimpleNamespace(_private=SimpleNamespace(), nodes=ray_with(None).nodes)  # a Ray that no longer has the call
    assert _nodes(other) == [{"CPU": 2.0}]


def test_a_users_plugin_travels_and_computes_the_same(small_trials: Trials, tmp_path: Path) -> None:
    for name in ("tones", "linear"):
        shutil.copy(PLUGINS / f"{name}.py", tmp_path)
    given = {"plugin": str(tmp_path / "tones.py")}
    (trial,) = small_trials(defenses=["clean"], seeds=[0], dataset={"tones": given})
    load = next(iter(plan([trial]).stages.values()))
    task = serialised(load)
    (tmp_path / "tones.py").write_text("raise RuntimeError('an older file of the same name')")
    plugins.digest.cache_clear()
    assert perform_remote(task, str(tmp_path / "store")).error is None
    assert Store(tmp_path / "store").has(load.key)


def test_other_code_and_another_store_do_nothing(small_trials: Trials, tmp_path: Path) -> None:
    (trial,) = small_trials(defenses=["clean"], seeds=[0])
    stages = list(plan([trial]).stages.values())
    learn = next(made for made in stages if made.task == "learn")
    lost = perform_remote(serialised(learn), str(tmp_path / "store"))
    assert lost.bad_input
    assert lost.error is not None
    assert "every node must reach the same store" in lost.error["message"]
    other = stage("load", "load", {"dataset": part("datasets", "chorales", "0123456789abcdef")}, {"split": "train"}, {})
    wrong = perform_remote(serialised(other), str(tmp_path / "store"))
    assert wrong.bad_input
    assert wrong.error is not None
    assert "install the same version on every node" in wrong.error["message"]
    assert not Store(tmp_path / "store").has(other.key)


def test_the_example_of_an_autoscaling_cluster_keeps_rays_schema() -> None:
    pytest.importorskip("jsonschema")
    util, yaml = pytest.importorskip("ray.autoscaler._private.util"), pytest.importorskip("yaml")
    config = yaml.safe_load((ROOT / "docs" / "cluster.yaml").read_text())
    util.validate_config(util.prepare_config(config))
    with pytest.raises(Exception, match="max_wrokers"):
        util.validate_config(util.prepare_config({**config, "max_wrokers": 1}))
