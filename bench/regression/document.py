"""A gate's report as JSON: every verdict with its sentence and the numbers of the table, for other programs."""

from __future__ import annotations

import math
from typing import Any

from bench.regression.gate import Report, Verdict
from bench.results.formats import readable_json

__all__ = ["document", "text"]


def document(report: Report) -> dict[str, Any]:
    """Return a report as JSON values; numbers that there are none of are null.

    Scores are learning denied or, under a threat model, worth in clean items; `drop` is the fall of learning denied, or
    the rise of log(worth + granted). A smallest detectable drop that is beyond the published items is null.
    """
    return {
        "suite": report.suite,
        "exit": report.exit,
        "tested": report.tested,
        "verdicts": [_verdict(verdict) for verdict in report.verdicts],
    }


def text(report: Report) -> str:
    """Return the report as the text of a JSON file."""
    return readable_json(document(report)) + "\n"


def _verdict(verdict: Verdict) -> dict[str, Any]:
    """Return one verdict as JSON values."""
    values = {
        "baseline": verdict.baseline_score,
        "score": verdict.score,
        "drop": verdict.drop,
        "adjusted_p": verdict.p,
        "smallest_detectable_drop": verdict.detectable_drop,
    }
    intervals = [[interval.low, interval.high] for interval in verdict.intervals]
    return {
        "cell": dict(verdict.cell._asdict()),
        "verdict": verdict.word,
        "exit": verdict.exit,
        "sentence": verdict.sentence,
        "scale": "worth" if verdict.intervals else "learning denied",
        "granted": verdict.threat.granted if verdict.threat else None,
        **{name: _finite(value) for name, value in values.items()},
        "intervals": [[_finite(low), _finite(high)] for low, high in intervals],
        "seeds": verdict.seeds,
        "items": verdict.items,
        "seeds_that_decide": verdict.decide,
        "notes": list(verdict.notes),
        "moved_items": [list(item) for item in verdict.moved],
    }


def _finite(value: float) -> float | None:
    """Return a number as JSON can hold it."""
    return value if math.isfinite(value) else None
