"""Simulate the gate's test: how often it raises an alarm where nothing changed, and which drop it sees.

A baseline tells how much a cell's learning denied varies over seeds, over held-out items, and beyond both. From these
components whole runs of the gate are drawn:

    redrawn     nothing changed but the random numbers: every seed is drawn anew, as after a change of code that draws
                in another order. The components of run and baseline add up, but that of the items, which are the same.
    shared      half of what a seed draws stays as it was, as after a change that keeps the order of draws
    identical   nothing changed at all: every difference is 0

For each it says in how many runs any cell is "regressed" or "improved" (at most alpha = .05 is allowed), and for every
cell the smallest drop of learning denied that is detected with 80 % power, with Holm's factor of all cells: by the
earlier test, Student's t on five seeds' scores, and by that of now, over seeds and items.

    python benchmarks/gate_power.py                            # of leaderboards/baseline.json, 4,000 runs; a minute
    python benchmarks/gate_power.py --baseline FILE --seeds 11 --draws 500
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from bench.regression import baseline as baselines
from bench.regression.baseline import Baseline, Measurements
from bench.regression.paired import mean_loss, one_sided_p
from bench.results.crossed import CrossedMean, group_deviations
from bench.results.statistics import holm

ALPHA, POWER = 0.05, 0.8
EARLIER_SEEDS = 5
BASELINE = Path(__file__).resolve().parents[1] / "leaderboards" / "baseline.json"


@dataclass(frozen=True)
class Spread:
    """How much a cell's learning denied varies from run to run.

    Attributes:
        name: the cell.
        seeds: how many seeds the gate runs.
        items: held-out items, or groups of dependent ones.
        over_seeds: SD of what a seed's draw adds to all items.
        over_items: SD of what an item has in all seeds.
        residual: SD of the rest.
    """

    name: str
    seeds: int
    items: int
    over_seeds: float
    over_items: float
    residual: float


@dataclass(frozen=True)
class Drops:
    """The smallest drops of a cell that are detected.

    Attributes:
        earlier: by a t test on the scores of five seeds.
        by_items: by the test over seeds and items, of the same five seeds.
        now: by that test, of all seeds that the gate runs.
    """

    earlier: float
    by_items: float
    now: float


def spreads(baseline: Baseline) -> list[Spread]:
    """Estimate the components of every cell that is tested, by the mean squares of a two-way random-effects model.

    Raises:
        SystemExit: the baseline holds no qualities of single items.
    """
    measurements = Measurements({cell.cell: cell for cell in baseline.cells}, baseline.held_out)
    result = []
    for cell, measurement in measurements.cells.items():
        side = measurements.side(cell)
        if measurement.control:
            continue
        if side.held_out is None:
            raise SystemExit(f"{cell}: no held-out items, expected a baseline of schema {baselines.SCHEMA}")
        values = side.items(sorted(measurement.denied)).denied()
        deviations = group_deviations(values[None], side.held_out.groups)[0]
        seeds, items = deviations.shape
        between = items * float((deviations.mean(1) ** 2).sum()) / (seeds - 1)
        among = seeds * float((deviations.mean(0) ** 2).sum()) / (items - 1)
        total = float((deviations**2).sum())
        residual = (total - between * (seeds - 1) - among * (items - 1)) / ((seeds - 1) * (items - 1))
        over_seeds, over_items = max(between - residual, 0.0) / items, max(among - residual, 0.0) / seeds
        result.append(Spread(str(cell), seeds, items, over_seeds**0.5, over_items**0.5, residual**0.5))
    return result


def losses(spread: Spread, seeds: int, shared: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the differences between a baseline and a run in which nothing changed: [seed, item].

    Args:
        spread: of the cell.
        seeds: of both.
        shared: the share of the seeds' variance and of the residual's that both have in common; 1 is the same run.
        rng: draws them.
    """
    scale = np.sqrt(2.0 * (1.0 - shared))
    by_seed = rng.normal(0.0, 1.0, (seeds, 1)) * spread.over_seeds
    return np.asarray(scale * (by_seed + rng.normal(0.0, 1.0, (seeds, spread.items)) * spread.residual))


def false_alarms(cells: Sequence[Spread], shared: float, draws: int, seed: int = 0) -> float:
    """Return the share of runs in which any cell is significant, by Holm's correction over both directions of all.

    Args:
        cells: the cells of the gate, drawn independently.
        shared: as in `losses`.
        draws: simulated runs.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    alarms = 0
    for _ in range(draws):
        means = [mean_loss(losses(cell, cell.seeds, shared, rng)) for cell in cells]
        alarms += min(holm([p for mean in means for p in one_sided_p(mean)])) < ALPHA
    return alarms / draws


def smallest(cell: Spread, factor: int, shared: float, draws: int, seed: int = 0) -> Drops:
    """Return the smallest true drops that are detected with 80 % power.

    A drop adds to the mean of the differences and to nothing else, so that each simulated run tells the drop from which
    on it is significant; the one that is sought is the quantile of these at the power.

    Args:
        cell: the cell.
        factor: Holm's factor: two a cell that is tested.
        shared: as in `losses`.
        draws: simulated runs.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    needed = []
    for _ in range(draws):
        full = losses(cell, max(cell.seeds, EARLIER_SEEDS), shared, rng)
        few = full[:EARLIER_SEEDS]
        tests = mean_loss(few.mean(1, keepdims=True)), mean_loss(few), mean_loss(full[: cell.seeds])
        needed.append([_from_where(test, factor) for test in tests])
    return Drops(*np.quantile(needed, POWER, axis=0).tolist())


def _from_where(mean: CrossedMean, factor: int) -> float:
    """Return the drop from which on a run with these differences is significant."""
    return float(stdtrit(mean.freedom, 1 - ALPHA / factor)) * mean.error - mean.mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", type=Path, default=BASELINE, help="an accepted baseline")
    parser.add_argument("--draws", type=int, default=4000, help="simulated runs")
    parser.add_argument("--seeds", type=int, default=0, help="that the gate runs; default: as many as the baseline has")
    arguments = parser.parse_args()
    cells = spreads(baselines.read(arguments.baseline))
    if arguments.seeds:
        cells = [replace(cell, seeds=arguments.seeds) for cell in cells]
    for name, shared in (("redrawn", 0.0), ("shared", 0.5), ("identical", 1.0)):
        print(f"false alarms, {name}: {false_alarms(cells, shared, arguments.draws):.3f} of {arguments.draws} runs")
    print(
        f"\nSD over seeds, over items, residual; smallest drops, redrawn, factor {2 * len(cells)}: 5 seeds by a t test,"
    )
    print("5 seeds by seeds and items, all seeds by seeds and items; first / last\n")
    for cell in cells:
        drops = smallest(cell, 2 * len(cells), 0.0, arguments.draws)
        print(
            f"{cell.name:50} {cell.over_seeds:.3f} {cell.over_items:.3f} {cell.residual:.3f}   {drops.earlier:.3f} "
            f"{drops.by_items:.3f} {drops.now:.3f} ({cell.seeds} seeds)   {drops.earlier / drops.now:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
