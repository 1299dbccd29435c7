"""The gate as tests: `pytest --bench-suite ci.toml` collects one item a cell, which fails with the gate's sentence.

For the repository of a defense, beside its other tests. Without the option it does nothing and imports only pytest. The
suite runs once a session, when the first cell is tested; what the store has is not computed again. The fixture
`bench_row` serves assertions without a baseline:

    def test_my_defense_still_denies_learning(bench_row):
        assert bench_row("mine.toml", "hum").best.denied.low > 0.2
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from bench.commands.options import Execution
    from bench.regression.baseline import Baseline
    from bench.regression.gate import Report
    from bench.results.cells import Cell
    from bench.results.suite import Suite
    from bench.results.table import Row

__all__ = ["bench_row"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the gate.

    Args:
        parser: Pytest's parser.
    """
    group = parser.getgroup("bench", "unlearnability, judged by bench gate")
    group.addoption("--bench-suite", metavar="FILE", help="a suite: one test a cell, judged against its baseline")
    group.addoption("--bench-baseline", metavar="FILE", help="default: baseline.json beside the suite")
    group.addoption("--bench-store", metavar="URL", help="the artefacts; default: $BENCH_STORE, else the user's cache")


def pytest_configure(config: pytest.Config) -> None:
    """Collect the suite's file beside the other arguments.

    Args:
        config: Pytest's configuration.
    """
    suite = config.getoption("--bench-suite")
    if suite:
        # Without xdist the mark of the cells would be unregistered.
        config.addinivalue_line(
            "markers", "xdist_group(name): runs in one worker with its like, under --dist loadgroup"
        )
        file = _suite_file(suite)
        if str(file) not in config.args:
            config.args.append(str(file))


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect a suite's file.

    Args:
        file_path: A file.
        parent: Its folder's collector.

    Returns:
        A collector of the suite; None for any other file.
    """
    suite = parent.config.getoption("--bench-suite")
    if suite and file_path == _suite_file(suite):
        return _SuiteFile.from_parent(parent, path=file_path)
    return None


class CellFailed(Exception):
    """A cell failed the gate. The message is the gate's sentence and its details."""


class _SuiteFile(pytest.File):
    """A suite: its cells and those of its baseline."""

    def collect(self) -> Iterator[pytest.Item]:
        from bench.commands.execution import expanded
        from bench.errors import BenchError
        from bench.regression import baseline
        from bench.results import suite as suites

        named = self.config.getoption("--bench-baseline")
        baseline_file = Path(named) if named else self.path.with_name("baseline.json")
        try:
            self.suite: Suite = suites.read(self.path)
            self.accepted: Baseline = baseline.read_accepted(baseline_file, self.suite, str(self.path))
            self.due = [(trial.cell, trial.seed) for trial in expanded(self.suite)]
        except BenchError as error:
            raise self.CollectError(str(error)) from error
        self._report: Report | Exception | None = None
        for cell in sorted({cell for cell, _ in self.due} | {cell.cell for cell in self.accepted.cells}):
            yield _CellItem.from_parent(self, name=str(cell), cell=cell)

    def report(self) -> Report:
        """Return the verdicts; the suite runs at the first call."""
        from bench.commands.execution import gate_records
        from bench.regression.gate import judge

        if self._report is None:
            try:
                measured = gate_records(self.suite, self.path, _silent(self.config))
                self._report = judge(self.accepted, measured, self.suite.gate, self.due)
            except Exception as error:  # cached, so that the next cell fails alike instead of running it all again
                self._report = error
        if isinstance(self._report, Exception):
            raise self._report
        return self._report


class _CellItem(pytest.Item):
    """One cell, one verdict."""

    def __init__(self, *, cell: Cell, **more: Any):
        super().__init__(**more)
        self._cell = cell
        self.add_marker(pytest.mark.xdist_group("bench"))  # with --dist loadgroup: all cells in one worker

    def runtest(self) -> None:
        from bench.regression.text import details
        from bench.trials.store import Store, default_url

        assert isinstance(self.parent, _SuiteFile)
        store = Store(self.config.getoption("--bench-store") or default_url())
        for verdict in (item for item in self.parent.report().verdicts if item.cell == self._cell):
            lines = [f"{verdict.word}: {verdict.sentence}", *details(verdict, store.locate)]
            if verdict.exit:
                raise CellFailed("\n  ".join(lines))
            self.add_report_section("call", "bench gate", "\n".join(lines))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        return str(excinfo.value) if isinstance(excinfo.value, CellFailed) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"bench gate: {self.name}"


@pytest.fixture(scope="session")
def bench_row(pytestconfig: pytest.Config) -> Callable[..., Row]:
    """Return a function from a suite's file and a row's name to the row, with its best response.

    The function runs what the store lacks, and raises `UsageError` for a row that the suite does not have.

    Args:
        pytestconfig: Pytest's configuration.

    Returns:
        The function.
    """

    def row(suite: str | Path, defense: str) -> Row:
        from bench.commands.execution import gate_records
        from bench.errors import UsageError, unknown
        from bench.results import suite as suites
        from bench.results import table

        definition = suites.read(Path(suite))
        measured = gate_records(definition, Path(suite), _silent(pytestconfig))
        rows = {row.defense: row for row in table.rows(measured, definition.budget)}
        if defense not in rows:
            raise UsageError(unknown(f"row of {suite}", defense, rows))
        return rows[defense]

    return row


def _silent(config: pytest.Config) -> Execution:
    """Return the execution of stages on this machine, without a display."""
    from bench.commands.options import Execution

    return Execution(store=config.getoption("--bench-store"), display="none")


def _suite_file(name: str) -> Path:
    from bench.errors import BenchError
    from bench.results.board import find_suite

    try:
        return find_suite(name).resolve()
    except BenchError as error:
        raise pytest.UsageError(str(error)) from error
