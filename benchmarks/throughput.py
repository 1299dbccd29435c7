"""Throughput of every executor on one plan of many tiny real stages, as a ratio to that of a plain loop.

    python benchmarks/throughput.py
    python benchmarks/throughput.py --seeds 48

The plain loop calls `stages.perform` for one stage after the other: what is over it is the executor. The plugins are
those of tests/plugins: a stage computes for a few milliseconds, so this shows overhead at its worst. The cost of
starting processes or a cluster is shown apart, as the time to the first stage. Rounds are interleaved. Expected: at
least 0.6 for one local job and 0.8 for two (0.6 to 0.7, and 0.8 to 1.5, measured on a busy machine of two cores); no
figure of Ray is known.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tabulate import tabulate

from bench.results.suite import suite
from bench.trials import cluster, local
from bench.trials.expand import expand
from bench.trials.plan import Plan, plan
from bench.trials.scheduler import Event, Watch
from bench.trials.stages import perform

Way = Callable[[Plan, str, Watch], object]
_PLUGINS = Path(__file__).resolve().parents[1] / "tests" / "plugins"


def tiny(seeds: int) -> Plan:
    """Load, protect, adapt, learn and evaluate, all real: two defenses under two adaptations and none."""
    names = {"dataset": ["tones"], "defense": ["hiss", "labels"], "attacker": ["linear"], "adaptation": ["quieter"]}
    tables = {
        kind: {name: {"plugin": str(_PLUGINS / f"{name}.py")} for name in plugin_names}
        for kind, plugin_names in names.items()
    }
    lists = {f"{kind}s": plugin_names for kind, plugin_names in names.items()}
    matrix = {**tables, **lists, "defenses": ["clean", "hiss", "labels"], "adaptations": ["none", "quieter"]}
    return plan(expand(suite({**matrix, "seeds": list(range(seeds))})).trials)


def loop(work: Plan, url: str, watch: Watch) -> None:
    """Perform one stage after the other, without an executor."""
    for stage in work.stages.values():
        watch(Event("done", stage, outcome=perform(stage, url)))


def locally(jobs: int) -> Way:
    """The local executor with some processes."""
    return lambda work, url, watch: local.run(work, (), url, watch, jobs)


def on_ray(jobs: int) -> Way:
    """The executor on Ray with some processors."""
    return lambda work, url, watch: cluster.run(work, (), url, watch, jobs)


def measured(way: Way, work: Plan, url: str) -> tuple[float, float]:
    """Seconds until the first stage is done, and stages a second once a quarter of them are."""
    begin, ends = time.perf_counter(), []

    def watch(event: Event) -> None:
        if event.kind == "done":
            ends.append(time.perf_counter())

    way(work, url, watch)
    assert len(ends) == len(work.stages), "a stage failed"
    warm = len(ends) // 4
    return ends[0] - begin, (len(ends) - 1 - warm) / (ends[-1] - ends[warm])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    ways: dict[str, Way] = {
        "plain loop": loop,
        "local, 1 job": locally(1),
        "local, 2 jobs": locally(2),
        "Ray, 1 CPU": on_ray(1),
        "Ray, 2 CPUs": on_ray(2),
    }
    work = tiny(options.seeds)
    measurements: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        loop(tiny(1), f"{folder}/warm", lambda event: None)  # what is imported once
        for turn in range(options.rounds):
            for name, way in ways.items():
                measurements[name].append(measured(way, work, f"{folder}/{turn}-{name}"))
    starts = {name: min(start for start, _ in runs) for name, runs in measurements.items()}
    rates = {name: max(rate for _, rate in runs) for name, runs in measurements.items()}
    spread = {name: min(rate for _, rate in runs) for name, runs in measurements.items()}
    plain = rates["plain loop"]
    print(f"{len(work.stages)} stages; a plain loop does {plain:.0f} a second; {options.rounds} rounds, best and worst")
    body = [
        [name, f"{starts[name]:.1f} s", f"{rates[name] / plain:.2f}", f"{spread[name] / plain:.2f}"] for name in ways
    ]
    print(tabulate(body, ["executor", "first stage after", "stages a second, plain loop = 1", "worst"], "simple"))


if __name__ == "__main__":
    main()
