"""What models generate, by the field's metrics of notes: ours beside real music, references and published figures.

Metrics go down the page, sets across: real held-out music, random notes and tracks that do not belong together, then
the training set and what was generated after learning from it, clean and protected.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from bench.results.arms import Arm
from bench.results.formats import number
from bench.results.record import Number, Record
from bench.results.statistics import mean
from bench.results.suite import Published

__all__ = ["tables"]

REFERENCES = ("real", "random notes", "shuffled tracks")
_Columns = dict[str, dict[str, float]]  # heading -> metric -> value


def tables(
    records: Sequence[Record], published: Sequence[Published] = ()
) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yield a table of music metrics for every data set and attacker whose records have them, without adaptation.

    Args:
        records: The records of a suite.
        published: Figures of papers, shown beside ours.

    Yields:
        Title, headings and cells.
    """
    bins: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        if record.status == "ok" and record.trial.adaptation is None and "real" in record.music:
            bins[record.trial.dataset.label, record.trial.attacker.label].append(record)
    for (dataset, attacker), group in bins.items():
        columns = _columns(group) | {
            row.title or f"published, {row.defense}": row.music
            for row in published
            if row.music and row.attacker in ("", attacker)
        }
        metrics = list(dict.fromkeys(metric for values in columns.values() for metric in values))
        body = [
            [metric, *(number(values.get(metric, math.nan), ".3f") for values in columns.values())]
            for metric in metrics
        ]
        yield f"Music of {attacker} on {dataset}", ["metric", *columns], body


def _columns(records: Sequence[Record]) -> _Columns:
    """Return the columns of a table: references, training sets and generated sets."""
    columns: _Columns = {name: _means([r.music[name] for r in records if name in r.music]) for name in REFERENCES}
    columns["training set"] = _means([r.music["clean set"] for r in records if "clean set" in r.music])
    columns["generated, clean"] = _means([record.music[f"generated, {Arm.CLEAN}"] for record in records])
    columns["generated, untrained"] = _means([record.music[f"generated, {Arm.UNTRAINED}"] for record in records])
    several = len({record.trial.knowledge for record in records if not record.trial.control}) > 1
    rows: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if not record.trial.control.is_clean:
            rows[record.trial.row + (f" ({record.trial.knowledge})" if several else "")].append(record)
    for row, group in rows.items():
        columns[f"{row}: training set"] = _means(
            [r.music["protected set"] for r in group if "protected set" in r.music]
        )
        columns[f"{row}: generated"] = _means([record.music[f"generated, {Arm.PROTECTED}"] for record in group])
    return {name: values for name, values in columns.items() if values}


def _means(rows: Sequence[Mapping[str, Number]]) -> dict[str, float]:
    """Return the mean of every metric over some rows; a metric without any number is left out."""
    metrics = dict.fromkeys(metric for row in rows for metric in row)
    means = {metric: mean(row.get(metric) for row in rows) for metric in metrics}
    return {metric: value for metric, value in means.items() if not math.isnan(value)}
