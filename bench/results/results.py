"""Results in Python: records with their tables, and as a data frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UsageError
from bench.results import sources, table
from bench.results.record import Record
from bench.results.table import Row

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

    def __str__(self) -> str:
        """Return the table that ranks, as `bench leaderboard` prints it."""
        return table.text(*table.main_table(self.rows))

    def to_pandas(self) -> pandas.DataFrame:
        """Return a data frame with a row a trial: what was asked, the score, means of arms and audibility, cost.

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
        path_or_suite: The name of a suite that comes with bench ("speech"), a suite's TOML file, an archive, a folder
            of record files, or one record file.

    Returns:
        The results. `str(results)` is the table, `results.to_pandas()` a data frame with a row a trial.

    Raises:
        UsageError: There is no such suite or path.
        DataError: It holds no record, or something that is none.

    >>> load_results("speech-smoke").name
    'speech-smoke'
    """
    source = sources.find(path_or_suite)
    records = sorted(sources.read(source).values(), key=lambda record: record.name)
    return Results(source.name, tuple(records), _budget(source))
