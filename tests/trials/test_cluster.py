"""A real cluster of two nodes on this machine, its store a bucket: what a node's death, fractions of an accelerator and
a driver elsewhere do to a run.

The nodes are started by `ray start`, as a user would; each believes that it is a machine of its own: other temporary
folder, other mirror of the store, other working directory. Only the second one has an accelerator, a pretended one.
"""

from __future__ import annotations

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

import pytest

from bench.errors import UsageError
from bench.trials import record
from bench.trials.cluster import _options
from bench.trials.matrix import expand, read
from bench.trials.parcels import packed, perform_parcel
from bench.trials.run import execute, prepare
from bench.trials.store import Store
from bench.trials.trial import Part, Trial, plan, stage

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "tests" / "plugins"
SUITE = """
datasets = ["tones"]
defenses = ["clean", {defenses}]
attackers = ["linear"]
seeds = {seeds}

[dataset.tones]
plugin = "tones.py"
[attacker.linear]
plugin = "linear.py"
"""
DEFENSE = """
[defense.{name}]
plugin = "waits.py"
folder = "{folder}"
gpus = {gpus}
"""


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
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
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
    nodes = []
    try:
        nodes.append(
            started(base / "a", environment, "--head", "--port=0", "--num-cpus=1", "--include-dashboard=false")
        )
        address = nodes[0].log.read_text().partition("--address='")[2].partition("'")[0]
        joining = [f"--address={address}", "--node-ip-address=127.0.0.2", "--num-cpus=2", "--num-gpus=1"]
        nodes.append(started(base / "b", environment, *joining))
        yield Cluster(*nodes, {**environment, "RAY_ADDRESS": address, "BENCH_STORE": str(base / "driver")})
    finally:
        for node in nodes:
            node.kill()
        shutil.rmtree(base, ignore_errors=True)


def suite(folder: Path, seeds: list[int], **gpus: float) -> dict[str, Path]:
    """A suite of waiting defenses in `folder`, its plugins beside it; where each of them waits."""
    for name in ("tones", "linear", "waits"):
        shutil.copy(PLUGINS / f"{name}.py", folder)
    gates = {name: folder / f"at-{name}" for name in gpus}
    text = SUITE.format(defenses=", ".join(f'"{name}"' for name in gpus), seeds=seeds)
    for name, gate in gates.items():
        gate.mkdir()
        text += DEFENSE.format(name=name, folder=gate, gpus=gpus[name])
    (folder / "suite.toml").write_text(text)
    return gates


def matrix(folder: Path, environment: dict[str, str], store: str) -> subprocess.Popen[str]:
    words = ["matrix", "suite.toml", "--on", "ray", "--store", store, "--records", "records"]
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "bench", *words]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def inside(gate: Path) -> list[int]:
    """The raylets whose workers came to a gate, one entry a worker."""
    return [int(path.name.partition("-")[0]) for path in gate.iterdir() if path.name != "go"]


@pytest.mark.ray
def test_halves_of_an_accelerator_run_at_once_and_a_whole_one_runs_alone(cluster: Cluster, tmp_path: Path) -> None:
    gates = suite(tmp_path, [0, 1], half=0.5, whole=1.0)
    half, whole = gates["half"], gates["whole"]
    driver = matrix(tmp_path, cluster.environment, "s3://bucket/fractions")
    try:
        until(lambda: inside(half) or inside(whole), "the first of them", driver)
        for gate in (whole, half) if inside(whole) else (half, whole):  # which is first is for Ray to decide
            most = 2 if gate == half else 1
            until(lambda gate=gate, most=most: len(inside(gate)) == most, f"{most} at {gate}", driver)  # type: ignore[misc]
            time.sleep(1.0)  # in which another would come too, if it could
            assert inside(gate) == [cluster.other.raylet] * most  # the head has no accelerator
            assert all(not inside(other) or (other / "go").exists() for other in gates.values() if other != gate)
            (gate / "go").touch()
        out, err = driver.communicate(timeout=90)
    finally:
        driver.kill()
    assert driver.returncode == 0, (out, err)
    assert len(inside(half)) == len(inside(whole)) == 2
    assert {made.status for made in record.load_all(tmp_path / "records")} == {"ok"}


@pytest.mark.ray
def test_a_node_that_is_killed_changes_no_record(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = suite(tmp_path, [0, 1, 2], waits=0.0)["waits"]
    head, other = cluster.head.raylet, cluster.other.raylet
    driver = matrix(tmp_path, cluster.environment, "s3://bucket/killed")
    try:
        until(lambda: len(inside(gate)) == 3, "a slow stage on every processor", driver)
        assert sorted(inside(gate)) == sorted([head, other, other])  # the node that dies is at work
        cluster.other.kill()
        (gate / "go").touch()
        out, err = driver.communicate(timeout=120)
    finally:
        driver.kill()
    assert driver.returncode == 0, (out, err)
    assert sorted(inside(gate)) == sorted([other, other, head, head, head])  # what had run there ran again here
    far = {made.name: made.science() for made in record.load_all(tmp_path / "records")}
    assert {made["status"] for made in far.values()} == {"ok"}
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    trials = expand(read(tmp_path / "suite.toml")).trials
    near = execute(prepare(trials, Store(tmp_path / "near")), tmp_path / "local", lambda event: None, jobs=1)
    assert len(near) == 6
    assert far == {made.name: made.science() for made in near}
    assert prepare(trials, Store("s3://bucket/killed")).missing == 0  # the same command would do nothing
