"""A gate's report as text: the table, what explains a verdict, and GitHub's workflow commands."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from bench.regression import gate
from bench.regression.baseline import Baseline, suite_digest
from bench.regression.gate import Report, Verdict, worth_text
from bench.results.formats import number, text_table
from bench.results.statistics import mean
from bench.results.suite import Suite
from bench.results.threat import ThreatModel

__all__ = ["accepted_rows", "details", "github_annotations", "report_lines", "rows"]

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
    """Return headings and cells of the report's table: learning denied or, under a threat model, worth."""
    heads = ["cell", "baseline", "this run", "drop", "adjusted p", "smallest detectable drop", "verdict"]
    if report.threat:
        worth = ["worth in the baseline", "worth in this run", "factor", "adjusted p", "smallest detectable worth"]
        heads = ["cell", *worth, "verdict"]
    columns = _worth_columns if report.threat else _denied_columns
    return heads, [[str(verdict.cell), *columns(verdict, report.threat), verdict.word] for verdict in report.verdicts]


def _denied_columns(verdict: Verdict, _: ThreatModel | None) -> list[str]:
    """Learning denied then and now, its fall, and what the test says."""
    scores = [number(value, "+.3f") for value in (verdict.baseline_score, verdict.score, verdict.drop)]
    return [*scores, number(verdict.p, ".2g"), number(verdict.detectable_drop, ".3f")]


def _worth_columns(verdict: Verdict, threat: ThreatModel | None) -> list[str]:
    """Worth then and now with their intervals, the factor on the curve's axis, and what the test says."""
    assert threat is not None
    scores = [number(value, ",.0f") for value in (verdict.baseline_score, verdict.score)]
    if verdict.intervals:
        scores = [worth_text(interval) for interval in verdict.intervals]
    smallest = (verdict.baseline_score + threat.granted) * math.exp(verdict.detectable_drop) - threat.granted
    detectable = f"more than {threat.published:,}" if math.isinf(smallest) else number(smallest, ",.0f")
    return [*scores, number(math.exp(verdict.drop), ".2f"), number(verdict.p, ".2g"), detectable]


def accepted_rows(baseline: Baseline) -> tuple[list[str], list[list[str]]]:
    """Return headings and cells of a baseline's table: name, score over the seeds, number of seeds."""
    scale = "worth (clean items)" if baseline.threat else "learning denied"
    body = []
    for cell in baseline.cells:
        score = number(mean(cell.worth[:1]), ",.0f") if baseline.threat else f"{mean(cell.denied.values()):+.3f}"
        body.append([str(cell.cell), score, str(len(cell.denied))])
    return ["cell", scale, "seeds"], body


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
