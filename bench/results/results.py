"""Results in Python: records with their tables, and as a data frame."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UsageError
from bench.results import sources, table
from bench.results import suite as suites
from bench.results.arms import ARMS
from bench.results.cells import cell_of
from bench.results.formats import DASH, bounds, number, text_table
from bench.results.record import Record
from bench.results.statistics import mean
from bench.results.table import Row
from bench.results.worths import RowWorth, row_worths

if TYPE_CHECKING:
    import pandas

__all__ = ["Results", "load_results"]


@dataclass(frozen=True)
class Results:
    """The records of a suite or of a run, in the order of their names.

    Attributes:
        name: The suite's name, or that of the folder or archive.
        records: One record a trial.
        budget: The suite's audibility budget: metric -> limit. Rows outside it are not ranked.
    """

    name: str
    records: tuple[Record, ...]
    budget: Mapping[str, float]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    @cached_property
    def rows(self) -> list[Row]:
        """The rows of the table: a defense each, with its best response, interval, rank and audibility."""
        return table.rows(self.records, self.budget)

    @cached_property
    def worths(self) -> list[RowWorth]:
        """What each protected set is worth in clean items (score 2); empty without a threat model."""
        return row_worths(self.records, self.rows)

    def __str__(self) -> str:
        """Return a line a row: rank, defense, worth or learning denied with its interval, the response chosen."""
        head = ["rank", "defense", "knowledge", "denied, score 1", "95 % interval", "best response", "seeds"]
        plain = [_row(row) for row in self.rows if not row.by_worth]
        worths = ["rank", "defense", "knowledge", "worth (clean items)", "95 % interval", "of", "response", "seeds"]
        parts = [text_table(worths, [_worth(row) for row in self.worths])] if self.worths else []
        return "\n\n".join([*parts, *([text_table(head, plain)] if plain else [])])

    def to_pandas(self) -> pandas.DataFrame:
        """Return a data frame with a row a trial: its settings, the score, means of arms and audibility, cost.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise UsageError("to_pandas needs pandas: pip install pandas") from error
        return pandas.DataFrame([_line(record) for record in self.records])


def load_results(path_or_suite: str | Path) -> Results:
    """Read the results of a suite or of a run.

    Args:
        path_or_suite: The name of a suite that comes with bench ("digits"), a suite's TOML file, an archive, a folder
            of record files, or one record file.

    Returns:
        The results. `str(results)` is the table, `results.to_pandas()` a data frame with a row a trial.

    Raises:
        UsageError: There is no such suite or path.
        DataError: It holds no record, or something that is none.

    >>> load_results("digits-smoke").name
    'digits-smoke'
    """
    source = sources.find(path_or_suite)
    records = sorted(sources.read(source).values(), key=lambda record: record.name)
    budget = suites.read(source.suite).budget if source.suite else {}
    return Results(source.name, tuple(records), budget)


def _row(row: Row) -> list[str]:
    """Return a row as text."""
    cell = row.shown
    rank = DASH.join(map(str, dict.fromkeys(row.rank))) if row.rank else DASH
    if cell is None:
        return [rank, row.defense, row.knowledge, "failed", "", "", "0"]
    score = [number(cell.denied.mean, "+.3f"), bounds(cell.denied), cell.response, str(len(cell.per_seed))]
    return [rank, row.defense, row.knowledge, *score]


def _worth(row: RowWorth) -> list[str]:
    """Return what a protected set is worth as text."""
    ranks = DASH.join(map(str, dict.fromkeys(row.rank))) if row.rank else "void" if row.worth.void else DASH
    items = row.worth.items
    interval = f"{number(items.low, ',.0f')} … {number(items.high, ',.0f')}"
    name = [ranks, row.defense, row.knowledge, number(items.mean, ",.0f"), interval, f"{row.worth.published:,}"]
    return [*name, row.response, str(len(row.seeds))]


def _line(record: Record) -> dict[str, Any]:
    """Return a trial as a row of the data frame."""
    trial = record.trial
    return {
        "dataset": trial.dataset.label,
        "defense": trial.row,
        "knowledge": trial.knowledge,
        "attacker": trial.attacker.label,
        "adaptation": trial.adaptation_label,
        "seed": trial.seed,
        "control": trial.control,
        "scope": trial.scope,
        "share": trial.share,
        "preset": trial.preset,
        "status": record.status,
        "metric": record.metric,
        "denied": math.nan if record.denied is None else record.denied,
        "void": ", ".join(check.name for check in record.void),
        **{f"q_{arm}": record.mean(arm) for arm in ARMS},
        "input_change": mean(record.input_change),
        **{name: mean(values) for name, values in record.audibility.items()},
        "cpu_seconds": sum(float(cost.get("cpu_seconds", 0.0)) for cost in record.cost.values()),
        "defense_digest": trial.defense.digest,
        "attacker_digest": trial.attacker.digest,
        "cell": cell_of(record).id,
        "key": record.key,
        "record": record.name,
    }
