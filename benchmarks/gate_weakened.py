"""Weaken defenses of ci.toml on purpose and run the real gate: what it says, and what the earlier test would have said.

A baseline is accepted for leaderboards/ci.toml as it is, in a folder of its own. Then defenses get the weaker
parameters of `WEAKER`, and the gate runs against that baseline. The earlier test is Student's paired t on the learning
denied of the first five seeds, with Holm's correction over both directions of the same cells.

    python benchmarks/gate_weakened.py --out /tmp/weakened         # three runs of the gate: some minutes
    python benchmarks/gate_weakened.py --out /tmp/weakened --suite mine.toml

Expected: every cell of a weakened defense that fell by more than its smallest detectable drop is "regressed".
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.files import folder_of
from bench.regression import baseline as baselines
from bench.regression.paired import mean_loss, one_sided_p
from bench.results import sources
from bench.results.cells import Cell
from bench.results.statistics import holm

SUITE = Path(__file__).resolve().parents[1] / "leaderboards" / "ci.toml"
WEAKER = {
    "clearly": (("decibels = 12.0", "decibels = 9.0"), ("epsilon = 0.15", "epsilon = 0.1")),
    "slightly": (("decibels = 12.0", "decibels = 11.0"), ("epsilon = 0.15", "epsilon = 0.13")),
}
EARLIER_SEEDS, ALPHA = 5, 0.05


def gate(suite: Path, out: Path, *words: str) -> int:
    """Run the gate on a suite, with its baseline, store and records below a folder; return its exit code."""
    place = ["--baseline", str(out / "baseline.json"), "--store", str(out / "store"), "--display", "none"]
    return subprocess.run([sys.executable, "-m", "bench", "gate", "--suite", str(suite), *place, *words]).returncode


def weakened(text: str, changes: Sequence[tuple[str, str]]) -> str:
    """Return the text of the suite with other parameters.

    Args:
        text: the suite's file.
        changes: lines as they are, and as they are to be.

    Raises:
        SystemExit: a line that is to be changed is not there.
    """
    for before, after in changes:
        if len(re.findall(f"^{re.escape(before)}$", text, re.MULTILINE)) != 1:
            raise SystemExit(f"the suite has no line '{before}', expected one")
        text = text.replace(before, after)
    return text


def earlier_p(then: Mapping[Cell, dict[int, float]], now: Mapping[Cell, dict[int, float]]) -> dict[Cell, float]:
    """Return the adjusted p of a fall by the earlier test, for every cell that moved."""
    pairs: dict[Cell, tuple[float, float]] = {}
    for cell, denied in then.items():
        seeds = sorted(denied.keys() & now[cell].keys())[:EARLIER_SEEDS]
        drops = np.array([[denied[seed] - now[cell][seed]] for seed in seeds])
        if drops.any():
            pairs[cell] = one_sided_p(mean_loss(drops))
    adjusted = holm([p for pair in pairs.values() for p in pair])
    return {cell: adjusted[2 * index] for index, cell in enumerate(pairs)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the baseline, the store and the reports")
    parser.add_argument("--suite", type=Path, default=SUITE, help="a suite with the lines of WEAKER")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    text = arguments.suite.read_text(encoding="utf-8")
    (out / "strong.toml").write_text(text, encoding="utf-8")
    if gate(out / "strong.toml", out, "--accept", "the suite as it is"):
        raise SystemExit("the baseline was not accepted")
    accepted = baselines.read(out / "baseline.json")
    then = {cell.cell: cell.denied for cell in accepted.cells if not cell.control}
    for name, changes in WEAKER.items():
        suite, document = out / f"{name}.toml", out / f"{name}.json"
        suite.write_text(weakened(text, changes), encoding="utf-8")
        code = gate(suite, out, "--json", str(document))
        folder = folder_of(suite, out / "store" / "records" / f"gate-{accepted.suite}")  # as the gate does
        measured = baselines.measured(sources.read(sources.find(folder)).values())
        p = earlier_p(then, {cell: measured.cells[cell].denied for cell in then})
        print(f"\n{name} weaker, exit code {code}\ncell: drop, adjusted p now, verdict; adjusted p of the earlier test")
        for verdict in json.loads(document.read_text(encoding="utf-8"))["verdicts"]:
            cell = Cell(**verdict["cell"])
            if cell in p:
                seen = "seen" if p[cell] < ALPHA else "missed"
                print(
                    f"{cell}: {verdict['drop']:+.3f}, {verdict['adjusted_p']:.2g}, {verdict['verdict']}; "
                    f"{p[cell]:.2g}, {seen}"
                )


if __name__ == "__main__":
    main()
