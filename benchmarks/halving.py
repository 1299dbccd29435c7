"""How often successive halving chooses what an exhaustive search would: rows within one standard error, and the cost.

    python benchmarks/halving.py --store STORE                     # the speech track, all rows; hours on two cores
    python benchmarks/halving.py --attackers ridge mfcc --rows noise tones lsp --seeds 0 1 2

For each row the track's attacker chooses twice: in the rounds of the track, and with every response trained in full at
every seed. The accuracy of both choices on the test items is compared, paired by seed and item; a row counts as found
where halving is not worse by more than one standard error of that difference. Stages that the store has are not done
again, so that a track's own run is a start.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping

import numpy as np
from tabulate import tabulate

from bench.commands.options import Execution
from bench.commands.tracks import performer, track_file
from bench.results.arms import Arm
from bench.results.crossed import crossed_mean
from bench.results.record import Record
from bench.results.suite import Suite, read
from bench.trials import track
from bench.trials.expand import expand
from bench.trials.store import Store, default_url

Rows = Mapping[str, list[Record]]


def main() -> None:
    """Run both and print a line a row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--track", default="speech")
    parser.add_argument("--preset", default="")
    parser.add_argument("--rows", nargs="*", default=[])
    parser.add_argument("--attackers", nargs="*", default=[])
    parser.add_argument("--seeds", nargs="*", type=int, default=[])
    parser.add_argument("--store", default="")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    suite = read(track_file(options.track), options.preset)
    suite = suite.model_copy(
        update={
            "defenses": ["clean", *(options.rows or [name for name in suite.defenses if name != "clean"])],
            "attackers": options.attackers or suite.attackers,
            "seeds": options.seeds or suite.seeds,
            "responses": {
                name: tried for name, tried in suite.responses.items() if name in (options.attackers or suite.attackers)
            },
        }
    )
    store = Store(options.store or default_url())
    halved = _run(suite, store, options.jobs)
    every = _run(suite.model_copy(update={"round": []}), store, options.jobs)
    lines, found = [], []
    for name, records in every.items():
        mine, best = (_items(each) for each in (halved[name], records))
        difference = crossed_mean(mine - best, records[0].groups)
        found.append(difference.mean >= -difference.error)
        cost = [sum(a.cpu_seconds for r in rs for a in r.attempts[Arm.PROTECTED]) for rs in (halved[name], records)]
        lines.append([
            name, f"{mine.mean():.3f}", f"{best.mean():.3f}", f"{difference.mean:+.3f}", f"{difference.error:.3f}",
            "yes" if found[-1] else "no", f"{cost[0]:,.0f}", f"{cost[1]:,.0f}",
        ])  # fmt: skip
    heads = ["row", "by halving", "by all", "difference", "standard error", "found", "CPU s, halving", "CPU s, all"]
    print(tabulate(lines, heads))
    print(f"{np.mean(found):.0%} of {len(found)} rows within one standard error")


def _run(suite: Suite, store: Store, jobs: int) -> Rows:
    """The records of each row, by seed."""
    trials = expand(suite.model_copy(update={"seeds": suite.seeds[:1]})).trials
    perform = performer(store, Execution(jobs=jobs, display="none"))
    rows: dict[str, list[Record]] = {}
    for record in track.run(trials, suite.seeds, suite.round, store, perform):
        if record.status == "ok":
            rows.setdefault(record.trial.row, []).append(record)
    return rows


def _items(records: list[Record]) -> np.ndarray:
    """The qualities of the chosen responses, [seed, item]."""
    return np.array([record.quality(Arm.PROTECTED) for record in records], dtype=float)


if __name__ == "__main__":
    main()
