"""Time that a page of 500 records takes: to build, to load in headless Chromium, to sort and to filter.

    python benchmarks/page.py
    python benchmarks/page.py --records 5000 --show folder

The records are those of a run of small plugins with other names, so that every record is a row of its own. Medians of
five. Expected at 500 records: sorting takes at most a tenth of loading (all scripts run, the table laid out and
painted), which takes under 1 s.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.report.site import build
from bench.results.board import Board
from bench.results.record import Record
from bench.results.suite import suite
from bench.trials.expand import expand
from bench.trials.run import execute, prepare
from bench.trials.store import Store

PLUGINS = Path(__file__).resolve().parents[1] / "tests" / "plugins"
ROUNDS = 5
# From the click to the frame after the one that shows the sorted table.
SORT = """async (head) => {
  const begin = performance.now();
  head.click();
  document.body.offsetHeight;
  const sorted = performance.now();
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return [sorted - begin, performance.now() - begin];
}"""
FIND = """(box) => {
  const begin = performance.now();
  box.value = "hiss-1";
  box.dispatchEvent(new Event("input", {bubbles: true}));
  document.body.offsetHeight;
  return performance.now() - begin;
}"""


def board(count: int, folder: Path) -> Board:
    """A board of `count` records, a row each."""
    matrix = suite({
        "name": "many", "datasets": ["tones"], "defenses": ["clean", "hiss"], "attackers": ["linear"], "seeds": [0],
        "dataset": {"tones": {"plugin": str(PLUGINS / "tones.py")}},
        "defense": {"hiss": {"plugin": str(PLUGINS / "hiss.py")}},
        "attacker": {"linear": {"plugin": str(PLUGINS / "linear.py")}},
    })  # fmt: skip
    records = execute(
        prepare(expand(matrix).trials, Store(folder / "store")), folder / "records", lambda event: None, jobs=1
    )
    hiss = next(record for record in records if record.trial.row == "hiss")
    renamed = [_renamed(hiss, number) for number in range(count - 1)]
    return Board(matrix, (*[record for record in records if record.trial.row == "clean"], *renamed))


def _renamed(record: Record, number: int) -> Record:
    """A copy of a record as another row, with other qualities."""
    name = f"hiss-{number:04d}"
    defense = record.trial.defense.model_copy(update={"label": name})
    trial = record.trial.model_copy(update={"defense": defense})
    qualities = [(value or 0.0) - number * 0.618 % 1 for value in record.arms["protected"][record.metric]]
    arms = {**record.arms, "protected": {**record.arms["protected"], record.metric: qualities}}
    return record.model_copy(update={"trial": trial, "arms": arms})


def measured(page: Any, address: str) -> dict[str, float]:
    """Load a page and use it; milliseconds of every action."""
    begin = time.perf_counter()
    page.goto(address)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    wall = (time.perf_counter() - begin) * 1000
    load = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    head = page.get_by_role("button", name="learning denied").element_handle()
    sorts = [page.evaluate(SORT, head) for _ in range(3)]
    find = page.evaluate(FIND, page.get_by_role("searchbox").element_handle())
    return {
        "load event": load,
        "loaded and painted": wall,
        "sorted": max(each[0] for each in sorts),
        "sorted and painted": max(each[1] for each in sorts),
        "filtered": find,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Load and sort times of a page of many records.")
    parser.add_argument("--records", type=int, default=500)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    parser.add_argument("--show", type=Path, help="keep the pages here")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        out = (options.show or Path(folder) / "site").resolve()
        subject = board(options.records, Path(folder))
        begin = time.process_time()
        build([subject], out, [])
        build_seconds = time.process_time() - begin
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=options.chromium, args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
            )
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            rounds = [measured(page, (out / "many" / "index.html").as_uri()) for _ in range(ROUNDS)]
            rows = page.locator("table[data-table=ranking] tbody tr").count()
            browser.close()
        size = (out / "many" / "index.html").stat().st_size
    print(f"{options.records} records, {rows} rows, {size / 1e6:.2f} MB; built in {build_seconds:.1f} CPU s")
    medians = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    print(f"sorting / loading (at most 0.1)  {medians['sorted'] / medians['loaded and painted']:.2f}")
    for name in rounds[0]:
        values = [each[name] for each in rounds]
        print(f"{name:22} {medians[name]:8.1f} ms  (most {max(values):.1f})")


if __name__ == "__main__":
    main()
