"""Commands that run trials: one cell, or a suite."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from bench.cli.app import Display, Jobs, Knows, Many, Place, Preset, Sets, app


@app.command(
    help_epilogue=(
        "Examples:\n"
        "  bench run --defense harmonycloak --attacker musicgen\n"
        "  bench run --defense harmonycloak --attacker musicgen --preset smoke\n"
        "  bench run --defense harmonycloak --set harmonycloak.bound=paper --attacker musicgen --adapt mp3\n"
        "  bench run --defense my_defense.py --attacker musicgen --seeds 5 --on ray\n"
    )
)
def run(
    *,
    defense: Many = None,
    attacker: Many = None,
    dataset: Many = None,
    adapt: Many = None,
    knowledge: Annotated[list[Knows] | None, Parameter(negative="", consume_multiple=False)] = None,
    expect: Many = None,
    share: Many = None,
    control: Many = None,
    preset: Preset = "small",
    seeds: int = 3,
    set_: Sets = None,
    on: Place = "local",
    jobs: Jobs = None,
    store: str | None = None,
    records: Path | None = None,
    display: Display = "auto",
) -> int:
    """Put a defense against an attacker; print the table with arms, controls, interval and audibility.

    Parameters
    ----------
    defense
        A defense by name, or a Python file that holds one. Repeat for several.
    attacker
        An attacker by name. Repeat for several.
    dataset
        A data set by name; default: the attacker's own.
    adapt
        What the attacker does to win anyway, beside doing nothing. Repeat for several.
    knowledge
        What the defender knows of the attacker.
    expect
        An adaptation that the defender prepares for.
    share
        How much of the training set is protected, 0 to 1, or the class that alone is; default: 1. Repeat for several.
    control
        A matched control; default: noise. "none" for none.
    preset
        The budget of data set, defense and attacker.
    seeds
        How many seeds; the interval is over them.
    set_
        A parameter, as NAME.KEY=VALUE; NAME is a plugin of this run or one of dataset, defense, attacker, adaptation.
    on
        Where the stages run.
    jobs
        Processes; default: one a core.
    store
        Folder or fsspec URL of the artefacts; default: $BENCH_STORE, else the user's cache.
    records
        Folder of the records; default: inside the store.
    display
        Progress as bars, as lines, or not at all.
    """
    from bench.commands import run as running

    suite = running.suite_of(
        defenses=defense or ["clean"],
        attackers=attacker or [],
        datasets=dataset or [],
        adaptations=adapt or [],
        knowledge=list(knowledge or ["white-box"]),
        expects=expect or [],
        shares=share or ["1"],
        controls=control if control is not None else ["noise"],
        preset=preset,
        seeds=seeds,
        settings=set_ or [],
    )
    return running.run(suite, store=store, records=records, on=on, jobs=jobs, display=display)


@app.command(
    help_epilogue=(
        "Examples:\n"
        "  bench matrix leaderboards/music-smoke.toml --dry-run\n"
        "  bench matrix leaderboards/music-smoke.toml\n"
        "  bench matrix leaderboards/music-smoke.toml --on ray --jobs 2\n"
    )
)
def matrix(
    file: Path,
    *,
    dry_run: bool = False,
    on: Place = "local",
    jobs: Jobs = None,
    store: str | None = None,
    records: Path | None = None,
    page: Path | None = None,
    display: Display = "auto",
) -> int:
    """Run a suite: the TOML file that names a matrix of trials.

    Parameters
    ----------
    file
        The suite.
    dry_run
        Show the plan and stop.
    on
        Where the stages run.
    jobs
        Processes; default: one a core.
    store
        Folder or fsspec URL of the artefacts; default: $BENCH_STORE, else the user's cache.
    records
        Folder of the records; default: records/NAME beside the suite.
    page
        A Markdown file to write the tables to.
    display
        Progress as bars, as lines, or not at all.
    """
    from bench.commands import run as running
    from bench.trials.matrix import read

    suite = read(file)
    if dry_run:
        return running.show_plan(suite, store)
    folder = records or file.resolve().parent / "records" / suite.name
    return running.run(suite, store=store, records=folder, on=on, jobs=jobs, display=display, page=page)
