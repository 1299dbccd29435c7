"""`bench matrix`: a suite from its TOML file."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from bench.commands.options import Execution, Flag
from bench.exits import OK
from bench.vocabulary import Preset

app = App(
    name="matrix",
    help_epilogue=(
        "Examples:\n"
        "  bench matrix leaderboards/studies/music-smoke.toml --dry-run\n"
        "  bench matrix leaderboards/studies/music-smoke.toml\n"
        "  bench matrix leaderboards/studies/music-smoke.toml --on ray --jobs 2\n"
    ),
)


@app.default
def matrix(
    file: Path,
    *,
    preset: Preset | None = None,
    dry_run: Flag = False,
    records: Path | None = None,
    page: Path | None = None,
    execution: Execution = Execution(),
) -> int:
    """Run a suite: every combination of the data sets, defenses, attackers and adaptations that its TOML file lists.

    Parameters
    ----------
    file
        The suite's TOML file.
    preset
        Size of the data set and effort of defense and attacker, in place of the suite's own.
    dry_run
        Print which stages would run, or of a track how many trainings, and stop.
    records
        Folder for the records, one JSON file per trial; default: records/NAME beside the suite's file NAME.toml.
    page
        Markdown file to write the result tables to.
    """
    from bench.commands.execution import prepared, run_suite
    from bench.results.sources import records_folder
    from bench.results.suite import read

    suite = read(file, preset or "")
    if suite.track:
        from bench.commands.tracks import describe, run_track, size_folder

        if dry_run:
            return describe(suite)
        return run_track(suite, execution, records or size_folder(file, suite.preset), page)
    if not dry_run:
        return run_suite(suite, execution, records or records_folder(file), page)
    work = prepared(suite, execution.store)
    print(f"{suite.name}: {len(work.plan.cells)} trials, {len(work.plan.stages)} stages, {work.missing} to do")
    for stage in work.plan.stages.values():
        print(f"  {'done ' if stage.key in work.present else 'to do'}  {stage.key[:8]}  {stage.title}")
    return OK
