"""Cost of the engine: a plan of stages that do nothing, run by the local executor and by a plain loop.

    python benchmarks/engine.py

Prints seconds, and the ratio of the executor to a loop that calls `stages.perform` for one stage after the other; the
executor's time includes the start of its processes. Expected on an idle machine: a ratio of at most 2 (200 stages in
under 2 s), and a lookup of stored stages in at most a tenth of the loop.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.trials import local, stages
from bench.trials.plan import Plan, Stage, stage
from bench.trials.store import Store


def nothing(work: Any, folder: Path) -> dict[str, Any]:
    """A stage that writes one small file: the least an artefact can be."""
    (folder / "nothing.json").write_text("{}")
    return {}


def chain(count: int, width: int) -> Plan:
    """`count` stages in `width` chains: parents before children."""
    by_key: dict[str, Stage] = {}
    tips: list[Stage | None] = [None] * width
    for index in range(count):
        parent = tips[index % width]
        item = stage("nothing", f"nothing {index}", {}, {"index": index}, {"before": parent} if parent else {})
        by_key[item.key] = item
        tips[index % width] = item
    return Plan(by_key, ())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    count = options.stages
    stages.TASKS["nothing"] = nothing
    runs, loops, lookups, cpus = [], [], [], []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            store, plan = Store(Path(folder) / "loop"), chain(count, 8)
            wall = time.perf_counter()
            for item in plan.stages.values():
                assert stages.perform(item, store.url).error is None
            loops.append(time.perf_counter() - wall)
            store = Store(Path(folder) / "run")
            wall, cpu = time.perf_counter(), time.process_time()
            outcomes = local.run(plan, (), store.url, lambda event: None)
            runs.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
            assert all(outcome.error is None for outcome in outcomes.values())
            wall = time.perf_counter()
            assert all(store.has(key) for key in plan.stages)
            lookups.append(time.perf_counter() - wall)
    best = min(runs)
    print(
        json.dumps(
            {
                "stages": count,
                "run_s": {"min": round(best, 3), "max": round(max(runs), 3)},
                "cpu_s": round(min(cpus), 3),
                "ms_a_stage": round(1000 * best / count, 2),
                "loop_s": round(min(loops), 3),
                "run_over_loop": round(best / min(loops), 2),
                "lookup_s": round(min(lookups), 4),
                "lookup_over_loop": round(min(lookups) / min(loops), 3),
            }
        )
    )


if __name__ == "__main__":
    main()
