"""A gate's report as text: the table, what explains a verdict, and GitHub's workflow commands."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from bench.regression import gate
from bench.regression.baseline import Baseline, suite_digest
from bench.regression.gate import Report, Verdict, worth_text
from bench.results.formats import number, text_table
from bench.results.statistics import Interval, mean
from bench.results.suite import Suite

__all__ = ["WORTH", "accepted_rows", "details", "github_annotations", "report_lines", "rows"]

WORTH = (
    "Of a worth: clean items, with the 95 % interval; the drop is the factor of worth + granted, and the smallest "
    "detectable one is the worth that would be seen."
)
Locate = Callable[[str], str]  # the key of a protected set -> where to listen to it

_LEVELS = {"same": "", "moved": "notice", "suspicious": "warning"}  # of all others: error


def report_lines(report: Report, baseline: Baseline, suite: Suite, locate: Locate) -> Iterator[str]:
    """Yield the report as text: every cell, then why cells failed and where to look.

    Args:
        report: The gate's report.
        baseline: What was compared with.
        suite: The suite.
        locate: Maps the key of a protected set to its folder.
    """
    yield text_table(*rows(report))
    if any(verdict.intervals for verdict in report.verdicts):
        yield f"\n{WORTH}"
    torch = baseline.environment.get("torch", "?")
    yield f"\nbaseline: {baseline.reason} ({baseline.at}, bench {baseline.bench}, torch {torch})"
    if not baseline.held_out:
        yield "the baseline is of an older form, without held-out items: cells are compared by seeds alone; accept anew"
    if baseline.suite_digest != suite_digest(suite):
        yield "the suite has changed since the baseline was accepted"
    for verdict in report.verdicts:
        if verdict.word != "same" or verdict.notes:
            yield f"\n{verdict.word}: {verdict.cell}\n  {verdict.sentence}"
            yield from (f"  {line}" for line in details(verdict, locate))
    counts = ", ".join(f"{sum(v.word == word for v in report.verdicts)} {word}" for word in gate.EXITS)
    yield f"\ngate: {'passed' if report.exit == 0 else 'FAILED'} ({counts})"


def rows(report: Report) -> tuple[list[str], list[list[str]]]:
    """Return headings and cells of the report's table; see `WORTH` for what they mean of a worth."""
    heads = ["cell", "baseline", "this run", "drop", "adjusted p", "smallest detectable drop", "verdict"]
    return heads, [
        [str(verdict.cell), *(_worth(verdict) if verdict.intervals else _denied(verdict)), verdict.word]
        for verdict in report.verdicts
    ]


def _denied(verdict: Verdict) -> list[str]:
    """Learning denied then and now, its fall, and what the test says."""
    scores = [number(value, "+.3f") for value in (verdict.baseline_score, verdict.score, verdict.drop)]
    return [*scores, number(verdict.p, ".2g"), number(verdict.detectable_drop, ".3f")]


def _worth(verdict: Verdict) -> list[str]:
    """Worth then and now with their intervals, the factor on the curve's axis, and what the test says."""
    assert verdict.threat is not None
    granted, published = verdict.threat.granted, verdict.threat.published
    smallest = (verdict.baseline_score + granted) * math.exp(verdict.detectable_drop) - granted
    detectable = f"above {published:,}" if math.isinf(smallest) else number(smallest, ",.0f")
    worths = [worth_text(interval) for interval in verdict.intervals]
    return [*worths, f"x {math.exp(verdict.drop):.2f}", number(verdict.p, ".2g"), detectable]


def accepted_rows(baseline: Baseline) -> tuple[list[str], list[list[str]]]:
    """Return headings and cells of a baseline's table: name, score over the seeds, number of seeds."""
    body = []
    for cell in baseline.cells:
        score = f"{mean(cell.denied.values()):+.3f}"
        if cell.worth:
            score = f"worth {worth_text(Interval(*(math.nan if end is None else end for end in cell.worth)))}"
        body.append([str(cell.cell), score, str(len(cell.denied))])
    return ["cell", "worth" if baseline.threats else "learning denied", "seeds"], body


def details(verdict: Verdict, locate: Locate) -> list[str]:
    """Return what explains a verdict: notes, the items that moved most, and the protected sets to listen to.

    Args:
        verdict: The verdict.
        locate: Maps the key of a protected set to its folder.
    """
    lines = list(verdict.notes)
    if verdict.exit or verdict.word == "suspicious":
        lines += [f"held-out item {name}: quality {old:.4g} -> {new:.4g}" for name, old, new in verdict.moved]
        for moment, (seed, key) in zip(("then", "now"), verdict.sets, strict=False):
            lines.append(f"protected set {moment}, {seed}: {locate(key)}")
    return lines


def github_annotations(report: Report) -> Iterator[str]:
    """Yield GitHub's workflow commands, one for each cell that is not the same."""
    for verdict in report.verdicts:
        level = _LEVELS.get(verdict.word, "error")
        if level:
            title = _escaped(f"{verdict.word}: {verdict.cell}").replace(":", "%3A").replace(",", "%2C")
            yield f"::{level} title={title}::{_escaped(verdict.sentence)}"


def _escaped(text: str) -> str:
    """Escape the data of a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
