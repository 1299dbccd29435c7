"""`bench gate`: a suite run, judged against its baseline, told as a table, annotations and JUnit XML.

Nothing writes a baseline but `--accept`. Exit codes: 0 same or suspicious, 1 regressed, unversioned, improved or new,
2 bad input (no baseline among it), 3 missing or broken, 130 interrupted.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import plugins
from bench.commands.display import Style, say, watching
from bench.commands.exits import INCOMPLETE, INTERRUPTED, OK
from bench.commands.run import expanded
from bench.errors import UsageError, unknown
from bench.regression import baseline as baselines
from bench.regression import gate, junit
from bench.regression.baseline import Baseline
from bench.regression.gate import Report, Verdict
from bench.results import table
from bench.results.cells import Cell, cell_of
from bench.trials import matrix, record
from bench.trials.agenda import Stopped
from bench.trials.matrix import Suite
from bench.trials.record import Record
from bench.trials.run import Place, execute, prepare
from bench.trials.store import Store, default_url

_MARKS = {"same": "ok", "moved": "notice", "suspicious": "warning"}  # of all others: error


@dataclass(frozen=True)
class Measuring:
    """How a suite's records are come by: `records` is a folder of them, None runs the suite."""

    store: str | None = None
    on: Place = "local"
    jobs: int | None = None
    display: Style = "none"
    records: Path | None = None


def run(
    suite: str,
    measuring: Measuring,
    *,
    baseline: Path | None = None,
    accept: str | None = None,
    junit_file: Path | None = None,
    github: bool | None = None,
) -> int:
    """Judge a suite, or accept what it measures; the exit code."""
    file = find_suite(suite)
    asked = matrix.read(file)
    place = baseline or file.parent / "baseline.json"
    if accept is not None and not accept.strip():
        raise UsageError("--accept wants a reason, which the baseline keeps: --accept 'harmonycloak 2 masks better'")
    held = known(place, asked, suite) if accept is None or place.exists() else None
    try:
        made = measure(asked, measuring)
    except Stopped:
        say(f"stopped. What is done is kept; resume with the same command: {shlex.join(['bench', *sys.argv[1:]])}")
        return INTERRUPTED
    if accept is not None:
        return _accept(asked, made, accept.strip(), place, held)
    assert held is not None
    report = gate.judge(held, made, asked.gate, due(asked))
    tell(report, held, measuring.store, asked)
    if junit_file:
        junit.write(report, junit_file)
    if github if github is not None else os.environ.get("GITHUB_ACTIONS") == "true":
        annotate(report)
    return report.exit


def find_suite(name: str) -> Path:
    """A suite's file: a path, or the name of one of the suites that come with bench."""
    if name.endswith(".toml"):
        return Path(name)
    shipped = {path.stem: path for path in (plugins.home() / "leaderboards").glob("*.toml")}
    if name not in shipped:
        raise UsageError(f"{unknown('suite', name, shipped)}; a file of your own ends in .toml")
    return shipped[name]


def known(place: Path, suite: Suite, name: str) -> Baseline:
    """The baseline of a suite. Raises `UsageError` where there is none, or it is another suite's."""
    if not place.is_file():
        command = shlex.join(["bench", "gate", "--suite", name, "--baseline", str(place), "--accept", "first baseline"])
        raise UsageError(f"there is no baseline {place}, and nothing makes one by itself: {command}")
    held = baselines.read(place)
    if held.suite != suite.name:
        raise UsageError(
            f"{place} is the baseline of suite '{held.suite}', not of '{suite.name}': give --baseline FILE"
        )
    return held


def due(suite: Suite) -> list[tuple[Cell, int]]:
    """What the suite asks for: a cell and a seed a trial."""
    return [(cell_of(trial), trial.seed) for trial in expanded(suite).trials]


def measure(suite: Suite, how: Measuring) -> list[Record]:
    """The suite's records, what the store lacks being done first. Raises `agenda.Stopped` on Ctrl-C."""
    if how.records:
        return record.load_all(how.records)
    place = Store(how.store or default_url())
    work = prepare(expanded(suite).trials, place)
    say(f"{len(work.plan.cells)} trials, {len(work.plan.stages)} stages, {len(work.present)} already in {place.url}")
    folder = place.root / "records" / ("gate-" + re.sub(r"[^\w.-]", "-", suite.name))
    for stale in {path.stem for path in folder.glob("*.json")} - {cell.trial.name for cell in work.plan.cells}:
        (folder / f"{stale}.json").unlink()  # of a cell that the suite no longer has
    command = shlex.join(["bench", *sys.argv[1:]])
    with watching(how.display, work.missing) as watch:
        return execute(work, folder, watch, on=how.on, jobs=how.jobs, command=command)


def tell(report: Report, held: Baseline, store: str | None, suite: Suite) -> None:
    """Print every cell, then why it failed and where to look."""
    print(table.text(*rows(report)))
    print(f"\nbaseline: {held.reason} ({held.at}, bench {held.bench}, torch {held.place.get('torch', '?')})")
    if held.suite_digest != baselines.suite_digest(suite):
        print("the suite asks for something else than when the baseline was accepted")
    for verdict in report.verdicts:
        if verdict.word != "same" or verdict.notes:
            print(f"\n{verdict.word}: {verdict.cell}\n  {verdict.sentence}")
            for line in details(verdict, store):
                print(f"  {line}")
    counts = ", ".join(f"{sum(v.word == word for v in report.verdicts)} {word}" for word in gate.EXITS)
    print(f"\ngate: {'passed' if report.exit == 0 else 'FAILED'} ({counts})")


def rows(report: Report) -> tuple[list[str], list[list[str]]]:
    """Headings and cells: learning denied then and now, the drop, its adjusted p, the drop that 80 % would see."""
    numbers = [(v.before, v.now, v.drop) for v in report.verdicts]
    body = [
        [
            str(v.cell),
            *(table.number(x, "+.3f") for x in three),
            table.number(v.p, ".2g"),
            table.number(v.sees, ".3f"),
            v.word,
        ]
        for v, three in zip(report.verdicts, numbers, strict=True)
    ]
    return ["cell", "baseline", "now", "drop", "p", "80 % sees", "verdict"], body


def details(verdict: Verdict, store: str | None = None) -> list[str]:
    """What a reader of a verdict wants next: notes, the items that moved most, the protected sets to listen to."""
    lines = list(verdict.notes)
    if verdict.exit or verdict.word == "suspicious":
        lines += [f"held-out item {name}: quality {was:.4g} -> {now:.4g}" for name, was, now in verdict.items]
        for when, (seed, key) in zip(("then", "now"), verdict.sets, strict=False):
            lines.append(f"protected set {when}, {seed}: {_where(Store(store or default_url()), key)}")
    return lines


def annotate(report: Report) -> None:
    """GitHub's workflow commands, one a cell that is not the same, and a job summary where there is a place for it."""
    for verdict in report.verdicts:
        level = _MARKS.get(verdict.word, "error")
        if level != "ok":
            title = _escaped(f"{verdict.word}: {verdict.cell}").replace(":", "%3A").replace(",", "%2C")
            print(f"::{level} title={title}::{_escaped(verdict.sentence)}")
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(f"### bench gate: {report.suite}\n\n{table.text(*rows(report), 'github')}\n")


def _accept(suite: Suite, made: Sequence[Record], reason: str, place: Path, held: Baseline | None) -> int:
    """Write the baseline, unless records are missing or broken; show what that changes."""
    wrong = gate.faults(made, due(suite))
    if wrong:
        for cell, (word, why) in wrong.items():
            say(f"{word}: {cell}: {why}")
        say(f"not accepted: {len(wrong)} cells have no result; {place} is as it was")
        return INCOMPLETE
    accepted = baselines.of(suite, made, reason)
    if held:
        report = gate.judge(held, made, suite.gate)
        print(table.text(*rows(report)))
        for verdict in report.verdicts:
            if verdict.word != "same":
                gone = verdict.word == "missing"
                print(f"{'dropped' if gone else verdict.word}: {verdict.cell}: {verdict.sentence}")
    else:
        body = [
            [str(cell.cell), f"{_mean(cell.denied.values()):+.3f}", str(len(cell.denied))] for cell in accepted.cells
        ]
        print(table.text(["cell", "learning denied", "seeds"], body))
    accepted.save(place)
    print(f"\naccepted: {reason}\nbaseline: {place} ({len(accepted.cells)} cells)")
    return OK


def _where(store: Store, key: str) -> str:
    """The folder of an artefact, to listen to what is in it."""
    return str(store.open(key)) if store.has(key) else f"{key} (not in {store.url})"


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)


def _escaped(text: str) -> str:
    """As GitHub wants the data of its commands."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
