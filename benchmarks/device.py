"""Gain of an accelerator: seconds per stage on processors and on it, for the main job and one cell of `full`.

    python benchmarks/device.py
    python benchmarks/device.py --full --device cuda:0

Each device gets a store of its own, so that every stage is done on it. The main job is that of the README, with one
seed; the cell of `full` is `symphonynet` on the chorales, which needs no download. Stages of one task are summed; the
last columns are the ratio of processors to accelerator and the most memory that one stage took on it. Without an
accelerator only the column of processors is filled. Expected: a ratio over 1 for the whole run; docs/accelerators.md
has 1.6 for the main job of an earlier version (91 s on 16 cores, 56 s on an H200).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from bench.devices import CPU, selected
from bench.results.suite import Suite
from bench.trials.expand import expand
from bench.trials.run import execute, prepare
from bench.trials.store import Store

MAIN: dict[str, Any] = {
    "defenses": ["clean", "harmonycloak"], "controls": ["noise"], "attackers": ["musicgen"], "seeds": [0]
}  # fmt: skip
FULL: dict[str, Any] = {
    "preset": "full", "defenses": ["clean", "harmonycloak"], "attackers": ["symphonynet"], "seeds": [0]
}  # fmt: skip


@dataclass(frozen=True)
class Spent:
    """Time and memory of the stages of one task on one device.

    Attributes:
        seconds: of all stages.
        peak_gb: most memory of the accelerator that one stage took.
    """

    seconds: float
    peak_gb: float


def measured(suite: Suite, device: str, jobs: int | None) -> tuple[dict[str, Spent], float]:
    """Task -> what its stages took, and the wall seconds of the whole run, in a store of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-device-") as folder:
        store = Store(Path(folder) / "store")
        work = prepare(expand(suite).trials, store)
        begin = time.perf_counter()
        records = execute(work, Path(folder) / "records", lambda event: None, jobs=jobs, device=device)
        wall = time.perf_counter() - begin
        failed = [record for record in records if record.status != "ok"]
        if failed:
            raise SystemExit(f"{failed[0].name} failed on {device}: {failed[0].error}")
        metas: list[dict[str, Any]] = [store.meta(key) for key in work.plan.stages]
    tasks = dict.fromkeys(meta["task"] for meta in metas)
    return {
        task: Spent(
            sum(meta["cost"]["seconds"] for meta in metas if meta["task"] == task),
            max(meta["cost"].get("peak_accelerator_mb", 0.0) for meta in metas if meta["task"] == task) / 1024,
        )
        for task in tasks
    }, wall


def table(suite: Suite, devices: Sequence[str], jobs: int | None) -> str:
    """Seconds per task and device, and of the whole run."""
    results = {device: measured(suite, device, jobs) for device in devices}
    tasks = next(iter(results.values()))[0]
    rows = []
    for task in tasks:
        seconds = [spent[task].seconds for spent, _ in results.values()]
        rows.append([task, *(f"{each:.1f}" for each in seconds), _ratio(seconds), _peak(results, task)])
    walls = [wall for _, wall in results.values()]
    rows.append(["whole run", *(f"{wall:.1f}" for wall in walls), _ratio(walls), ""])
    return str(tabulate(rows, headers=["seconds", *devices, "ratio", "peak GB"], disable_numparse=True))


def _ratio(seconds: Sequence[float]) -> str:
    """Seconds on processors over seconds on the accelerator, "" without one."""
    return f"{seconds[0] / seconds[-1]:.1f}" if len(seconds) > 1 and seconds[-1] else ""


def _peak(results: dict[str, tuple[dict[str, Spent], float]], task: str) -> str:
    """The most memory that a stage of the task took, "" for none."""
    peak = max(spent[task].peak_gb for spent, _ in results.values())
    return f"{peak:.1f}" if peak else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="the accelerator, as for bench run")
    parser.add_argument("--jobs", type=int, default=None, help="processes; default: one a core")
    parser.add_argument("--full", action="store_true", help="one cell of the preset full too: hours on processors")
    parser.add_argument("--preset", default="small", help="of the main job")
    options = parser.parse_args()
    accelerators = selected(options.device)
    devices = [CPU, *([options.device if options.device != "auto" else accelerators[0].device] if accelerators else [])]
    print(f"accelerator: {accelerators[0].name if accelerators else 'none: only processors are measured'}\n")
    print(f"main job, preset {options.preset}\n{table(Suite(**MAIN, preset=options.preset), devices, options.jobs)}")
    if options.full:
        print(f"\none cell of full: symphonynet\n{table(Suite(**FULL), devices, options.jobs)}")


if __name__ == "__main__":
    main()
