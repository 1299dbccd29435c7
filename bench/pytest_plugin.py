"""The gate as tests: `pytest --bench-suite ci.toml` gives an item a cell, which fails with the gate's sentence.

For the repository of a defense of your own, beside its other tests. Without the option it does nothing and imports
nothing but pytest. The suite runs once a session, when the first cell is due; what the store holds is not done again.
The fixture `bench_row` serves assertions without a baseline:

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
    group = parser.getgroup("bench", "unlearnability, judged by bench gate")
    group.addoption("--bench-suite", metavar="FILE", help="a suite: one test a cell, judged against its baseline")
    group.addoption("--bench-baseline", metavar="FILE", help="default: baseline.json beside the suite")
    group.addoption("--bench-store", metavar="URL", help="the artefacts; default: $BENCH_STORE, else the user's cache")


def pytest_configure(config: pytest.Config) -> None:
    """Have the suite's file collected beside whatever else is."""
    suite = config.getoption("--bench-suite")
    if suite:
        # Without xdist nobody else registers the mark of the cells.
        config.addinivalue_line(
            "markers", "xdist_group(name): runs in one worker with its like, under --dist loadgroup"
        )
        file = _suite_file(suite)
        if str(file) not in config.args:
            config.args.append(str(file))


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    suite = parent.config.getoption("--bench-suite")
    if suite and file_path == _suite_file(suite):
        return _SuiteFile.from_parent(parent, path=file_path)
    return None


class CellFailed(Exception):
    """A cell's verdict is one that fails. The message is the gate's sentence and what it leads to."""


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
            self.held: Baseline = baseline.read_accepted(baseline_file, self.suite, str(self.path))
            self.due = [(trial.cell, trial.seed) for trial in expanded(self.suite)]
        except BenchError as error:
            raise self.CollectError(str(error)) from error
        self._report: Report | Exception | None = None
        for cell in sorted({cell for cell, _ in self.due} | {cell.cell for cell in self.held.cells}):
            yield _CellItem.from_parent(self, name=str(cell), cell=cell)

    def report(self) -> Report:
        """The verdicts; the suite is run by whoever asks first."""
        from bench.commands.execution import gate_records
        from bench.regression.gate import judge

        if self._report is None:
            try:
                measured = gate_records(self.suite, _silent(self.config))
                self._report = judge(self.held, measured, self.suite.gate, self.due)
            except Exception as error:  # kept, so that the next cell fails alike instead of running it all again
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
        for verdict in (verdict_ for verdict_ in self.parent.report().verdicts if verdict_.cell == self._cell):
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
    """A function: a suite's file and a defense's row of it -> the row with its best response.

    Runs what the store lacks. Raises `UsageError` for a row that the suite does not have.
    """

    def row(suite: str | Path, defense: str) -> Row:
        from bench.commands.execution import gate_records
        from bench.errors import UsageError, unknown
        from bench.results import suite as suites
        from bench.results import table

        definition = suites.read(Path(suite))
        measured = gate_records(definition, _silent(pytestconfig))
        rows = {row.defense: row for row in table.rows(measured, definition.budget)}
        if defense not in rows:
            raise UsageError(unknown(f"row of {suite}", defense, rows))
        return rows[defense]

    return row


def _silent(config: pytest.Config) -> Execution:
    """Where the stages run: here, without a display."""
    from bench.commands.options import Execution

    return Execution(store=config.getoption("--bench-store"), display="none")


def _suite_file(name: str) -> Path:
    from bench.errors import BenchError
    from bench.results.board import find_suite

    try:
        return find_suite(name).resolve()
    except BenchError as error:
        raise pytest.UsageError(str(error)) from error
