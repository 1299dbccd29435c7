"""Cost of planning and tabulating 10,000 trials: expanded, planned, put in order, recorded, tabulated.

    python benchmarks/plan.py

No plugin runs: every stage ends as soon as it starts, and the records hold invented numbers. Writing the records is
shown apart: it is the disk's time, an fsync each, spread over a real run. The same is done for a tenth of the trials.
Expected: time grows in proportion at most, a ratio of at most 12 for 10 times the trials (4.4 measured); 10,000 take
under 10 s on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.report import terminal
from bench.results.board import Board
from bench.results.reading import load_all
from bench.results.record import CheckRecord, Record
from bench.results.suite import Suite, suite
from bench.trials import local, recording, run
from bench.trials.expand import expand
from bench.trials.plan import Cell, Stage, plan
from bench.trials.scheduler import Outcome
from bench.trials.store import Store

_ITEMS = 24  # held-out items of each invented record
_SEEDS, _ATTACKERS, _ADAPTATIONS = 10, ["m5", "melcnn"], ["none", "mp3", "resample"]


def matrix(trials: int) -> Suite:
    """White noise of as many levels as it takes, against two attackers under two adaptations and none."""
    levels = math.ceil(trials / (_SEEDS * len(_ATTACKERS) * len(_ADAPTATIONS)))
    named = {f"noise-{index}": {"plugin": "noise", "snr_db": 10.0 + index / 8} for index in range(levels - 1)}
    return suite(
        {
            "datasets": ["spoken_words"],
            "defenses": ["clean", *named],
            "defense": named,
            "attackers": _ATTACKERS,
            "adaptations": _ADAPTATIONS,
            "seeds": list(range(_SEEDS)),
        }
    )


def _numbers(rng: random.Random) -> tuple[dict[str, dict[str, list[float]]], list[float]]:
    """Invented qualities by arm, and signal-to-noise ratios."""
    levels = {"protected": 0.6, "clean": 0.9, "untrained": 0.1, "clean_adapted": 0.8}
    arms = {arm: {"accuracy": [rng.gauss(level, 0.05) for _ in range(_ITEMS)]} for arm, level in levels.items()}
    return arms, [rng.gauss(20, 1) for _ in range(_ITEMS)]


_NUMBERS = [_numbers(random.Random(index)) for index in range(64)]


def invented(cell: Cell, store: Store, command: str = "") -> Record:
    """A record such as training would give, as far as the tables read it."""
    arms, snr = _NUMBERS[int(cell.key[:4], 16) % len(_NUMBERS)]
    return recording.failure_of(cell, {}, command).model_copy(
        update={
            "status": "ok",
            "error": None,
            "metric": "accuracy",
            "arms": arms,
            "ids": [f"item-{index}" for index in range(_ITEMS)],
            "groups": [f"speaker-{index // 4}" for index in range(_ITEMS)],
            "attacker_checks": [
                CheckRecord(name="learns", passed=True, value=9.0, limit=3.0, meaning="better than untrained")
            ],
            "audibility": {"snr_db": snr, "masked_energy": [value / 40 for value in snr]},
            "cost": {"protected_set": {"seconds": 1.0, "cpu_seconds": 1.0, "peak_memory_mb": 1.0}},
        }
    )


def end_at_once(stage: Stage, store_url: str, report: Any = None, device: str = "cpu") -> Outcome:
    """Stand in for `stages.perform`."""
    return Outcome(stage.key, 0.0)


def measured(count: int) -> dict[str, Any]:
    """Plan, order, record and tabulate `count` trials, with the seconds of every step."""
    seconds: dict[str, float] = {}
    disk: dict[str, float] = {}

    def timed(name: str, task: Callable[[], Any], into: dict[str, float] = seconds) -> Any:
        begin = time.perf_counter()
        result = task()
        into[name] = round(time.perf_counter() - begin, 2)
        return result

    trials = timed("expand", lambda: expand(matrix(count))).trials
    work = timed("plan", lambda: plan(trials))
    with tempfile.TemporaryDirectory() as folder:
        store, record_folder = Store(Path(folder) / "store"), Path(folder) / "records"
        timed("look in the store", lambda: store.present(work.stages))
        outcomes = timed("order", lambda: local.run(work, (), store.url, lambda event: None))
        assert len(outcomes) == len(work.stages)
        finished = run.Work(work, store, frozenset(work.stages))
        # The disk's own time, an fsync a record: shown, and no part of the total.
        timed("write", lambda: run.execute(finished, record_folder, lambda event: None), disk)
        timed("write again", lambda: run.execute(finished, record_folder, lambda event: None), disk)
        timed("read", lambda: load_all(record_folder), disk)
        records = timed("records", lambda: [invented(cell, store) for cell in work.cells])
    board = Board(matrix(count), tuple(records))
    rows = timed("rows", lambda: board.views)
    timed("tables", lambda: terminal.tables(board))
    return {
        "trials": len(trials),
        "stages": len(work.stages),
        "records": len(records),
        "rows": len(rows),
        "seconds": seconds,
        "total_s": round(sum(seconds.values()), 2),
        "records_on_disk_s": disk,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    count = parser.parse_args().trials
    import_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    local.perform, recording.record_of = end_at_once, invented  # type: ignore[assignment, attr-defined]
    tenth, whole = measured(count // 10), measured(count)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    memory = {"imports": round(import_memory), "peak": round(peak)}
    ratio = round(whole["total_s"] / tenth["total_s"], 1)
    print(json.dumps({**whole, "ratio_to_a_tenth": ratio, "memory_mb": memory}, indent=1))


if __name__ == "__main__":
    main()
