"""What the engine costs beside the work: a plan of stages that do nothing, run here and found again.

    python benchmarks/engine.py

Bars: 200 stages in under 2 s; under 10 ms a stage.
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
    stages: dict[str, Stage] = {}
    tips: list[Stage | None] = [None] * width
    for index in range(count):
        parent = tips[index % width]
        item = stage("nothing", f"nothing {index}", {}, {"index": index}, {"before": parent} if parent else {})
        stages[item.key] = item
        tips[index % width] = item
    return Plan(stages, ())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    count = parser.parse_args().stages
    rounds = parser.parse_args().rounds
    stages.TASKS["nothing"] = nothing
    runs, lookups, cpus = [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            store, plan = Store(folder), chain(count, 8)
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
                "find_again_s": round(min(lookups), 4),
            }
        )
    )


if __name__ == "__main__":
    main()
