"""`bench matrix`: a suite from its TOML file."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from bench.commands.options import Execution
from bench.exits import OK

app = App(
    name="matrix",
    help_epilogue=(
        "Examples:\n"
        "  bench matrix leaderboards/music-smoke.toml --dry-run\n"
        "  bench matrix leaderboards/music-smoke.toml\n"
        "  bench matrix leaderboards/music-smoke.toml --on ray --jobs 2\n"
    ),
)


@app.default
def matrix(
    file: Path,
    *,
    dry_run: bool = False,
    records: Path | None = None,
    page: Path | None = None,
    execution: Execution = Execution(),
) -> int:
    """Run a suite: the TOML file that names a matrix of trials.

    Parameters
    ----------
    file
        The suite.
    dry_run
        Show the plan and stop.
    records
        Folder of the records; default: records/NAME beside NAME.toml, the suite.
    page
        A Markdown file to write the tables to.
    """
    from bench.commands.execution import prepared, run_suite
    from bench.results.sources import records_folder
    from bench.results.suite import read

    suite = read(file)
    if not dry_run:
        return run_suite(suite, execution, records or records_folder(file), page)
    work = prepared(suite, execution.store)
    print(f"{suite.name}: {len(work.plan.cells)} trials, {len(work.plan.stages)} stages, {work.missing} to do")
    for stage in work.plan.stages.values():
        print(f"  {'done ' if stage.key in work.present else 'to do'}  {stage.key[:8]}  {stage.title}")
    return OK
