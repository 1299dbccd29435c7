"""`bench gate`: a suite run and judged against its baseline; the report as a table, annotations and JUnit XML.

Nothing writes a baseline but `--accept`. Exit codes: 0 same or suspicious, 1 regressed, unversioned, improved or new,
2 bad input (no baseline among it), 3 missing or broken, 130 interrupted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from bench.commands.options import Execution
from bench.errors import UsageError
from bench.exits import INCOMPLETE, OK
from bench.files import check_output, write_text

if TYPE_CHECKING:
    from bench.regression.baseline import Baseline
    from bench.regression.gate import Report
    from bench.results.cells import Cell
    from bench.results.record import Record
    from bench.results.suite import Suite

app = App(
    name="gate",
    help_epilogue=(
        "Examples:\n"
        "  bench gate\n"
        "  bench gate --suite mine.toml --accept 'first baseline'\n"
        "  bench gate --suite mine.toml --junit gate.xml --json gate.json\n"
        "  bench gate --suite mine.toml --records records/mine\n"
    ),
)


@app.default
def gate(
    *,
    suite: str = "ci",
    baseline: Path | None = None,
    accept: str | None = None,
    records: Path | None = None,
    junit: Path | None = None,
    json: Path | None = None,
    github: bool | None = None,
    execution: Execution = Execution(),
) -> int:
    """Run a suite, and fail if a defense protects less than the accepted baseline says.

    Exit codes: 0 no regression, 1 a regression, or an improvement or new cell that has to be accepted, 2 bad input, 3 a
    result is missing or broken.

    Parameters
    ----------
    suite
        Suite: a TOML file, or the name of a suite that comes with bench.
    baseline
        Baseline file to compare with; default: baseline.json beside the suite's file.
    accept
        Write the results as the new baseline, with this reason. A baseline is written in no other way.
    records
        Compare the records of this folder instead of running the suite.
    junit
        JUnit XML file to write the verdicts to.
    json
        JSON file to write the verdicts to, with every number of the table.
    github
        Print annotations for GitHub Actions; default: only if $GITHUB_ACTIONS is true.
    """
    from bench.commands.execution import expanded, gate_records, stopped
    from bench.regression import baseline as baselines
    from bench.regression import document, text
    from bench.regression import gate as regression
    from bench.regression import junit as xml
    from bench.results import suite as suites
    from bench.results.board import find_suite
    from bench.trials.scheduler import Stopped
    from bench.trials.store import Store, default_url

    file = find_suite(suite)
    definition = suites.read(file)
    path = baseline or file.parent / "baseline.json"
    if accept is not None and not accept.strip():
        raise UsageError("--accept wants a reason, which the baseline keeps: --accept 'harmonycloak 2 masks better'")
    for output in (junit, json):
        if output:
            check_output(output, force=True)
    if accept is not None:
        check_output(path, force=True)
    current = baselines.read_accepted(path, definition, suite) if accept is None or path.exists() else None
    try:
        new_records = gate_records(definition, file, execution, records)
    except Stopped:
        return stopped()
    due = [(trial.cell, trial.seed) for trial in expanded(definition)]
    if accept is not None:
        return _accept(definition, new_records, due, accept.strip(), path, current)
    assert current is not None
    report = regression.judge(current, new_records, definition.gate, due)
    store = Store(execution.store or default_url())
    for line in text.report_lines(report, current, definition, store.locate):
        print(line)
    if junit:
        xml.write(report, junit)
    if json:
        write_text(json, document.text(report))
    if github if github is not None else os.environ.get("GITHUB_ACTIONS") == "true":
        _annotate(report)
    return report.exit


def _annotate(report: Report) -> None:
    """Print annotations for GitHub, and append the table to the job's summary where there is one."""
    from bench.regression import text
    from bench.results.formats import text_table

    for line in text.github_annotations(report):
        print(line)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(f"### bench gate: {report.suite}\n\n{text_table(*text.rows(report), 'github')}\n")


def _accept(
    suite: Suite,
    new_records: Sequence[Record],
    due: Sequence[tuple[Cell, int]],
    reason: str,
    path: Path,
    previous: Baseline | None,
) -> int:
    """Write the baseline, unless records are missing or broken; show what that changes."""
    from bench.commands.display import say
    from bench.regression import baseline as baselines
    from bench.regression import gate as regression
    from bench.regression import text
    from bench.results.formats import text_table

    faults = regression.faults(new_records, due)
    if faults:
        for cell, (word, fault) in faults.items():
            say(f"{word}: {cell}: {fault}")
        say(f"not accepted: {len(faults)} cells have no result; {path} is as it was")
        return INCOMPLETE
    baseline = baselines.from_records(suite, new_records, reason)
    if previous and (obstacle := regression.incomparable(previous, new_records)):
        say(f"not compared with the baseline before it: {obstacle}")
    elif previous:
        report = regression.judge(previous, new_records, suite.gate)
        print(text_table(*text.rows(report)))
        for verdict in report.verdicts:
            if verdict.word != "same":
                print(f"{'dropped' if verdict.word == 'missing' else verdict.word}: {verdict.cell}: {verdict.sentence}")
    else:
        print(text_table(*text.accepted_rows(baseline)))
    baseline.save(path)
    print(f"\naccepted: {reason}\nbaseline: {path} ({len(baseline.cells)} cells)")
    return OK
