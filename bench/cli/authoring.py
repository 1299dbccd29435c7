"""Commands for authors: what there is, a new plugin, does it keep the contract, does a record hold."""

from __future__ import annotations

from pathlib import Path

from bench import plugins
from bench.cli.app import Display, Jobs, Kind, Many, Place, What, app
from bench.commands.exits import INCOMPLETE, OK


@app.command(name="list", help_epilogue="Examples:\n  bench list\n  bench list defenses --json\n")
def list_(kind: Kind | None = None, *, json: bool = False) -> int:
    """Show the plugins: name, what it is, where it comes from.

    Parameters
    ----------
    kind
        Only this kind of plugin.
    json
        Print JSON instead of a table.
    """
    from bench.commands import catalogue

    catalogue.listing([kind] if kind else list(plugins.FOLDERS), as_json=json)
    return OK


@app.command(
    help_epilogue=(
        "Examples:\n"
        "  bench new defense my_idea\n"
        "  bench new attacker my_attack --out plugins\n"
        "  bench new defense my_idea --package\n"
    )
)
def new(what: What, name: str, *, out: Path | None = None, package: bool = False) -> int:
    """Write a working plugin and its test, to be changed into your own, and say the next commands.

    Parameters
    ----------
    what
        What it is.
    name
        Its name: small letters, digits and _.
    out
        The folder to write to; default: the plugin folder in a checkout of this project, else the current folder.
    package
        Write a package that pip can install, with an entry point, instead of a file.
    """
    from bench.commands import new as starting

    starting.new(what, name, out, package=package)
    return OK


@app.command(help_epilogue="Examples:\n  bench check noise\n  bench check my_defense.py --fast\n")
def check(name: str, *, kind: Kind | None = None, fast: bool = False) -> int:
    """Run the conformance kit over a plugin, one line a check.

    Parameters
    ----------
    name
        A plugin by name, or a Python file that holds one.
    kind
        What it is, where the name alone does not tell.
    fast
        Leave out the checks that train.
    """
    from bench.commands import catalogue

    return OK if catalogue.conformance(name, kind, fast=fast) else INCOMPLETE


@app.command(
    help_epilogue=(
        "Examples:\n"
        "  bench verify leaderboards/records/midi-smoke\n"
        "  bench verify leaderboards/records/midi-smoke --sample 3 --seed 7\n"
        "  bench verify record.json --sample 0\n"
        "  bench verify records --plugin my_defense.py\n\n"
        "Exit code 1: a record contradicts itself or does not hold."
    )
)
def verify(
    place: Path,
    *,
    sample: int = 1,
    seed: int | None = None,
    plugin: Many = None,
    store: str | None = None,
    on: Place = "local",
    jobs: Jobs = None,
    display: Display = "auto",
) -> int:
    """Check records that somebody else made: their arithmetic, their provenance, and a sample that is run again.

    Parameters
    ----------
    place
        A record, or a folder of them.
    sample
        How many records are run again from nothing; 0 for none.
    seed
        Draws the sample; default: a new one each time, which is printed.
    plugin
        The file of a plugin that the records use and that is not installed, as FILE or NAME=FILE. Repeat for several.
    store
        Where the sample is run; default: a temporary folder. What is in a store already is not done again.
    on
        Where the stages run.
    jobs
        Processes; default: one a core.
    display
        Progress as bars, as lines, or not at all.
    """
    from bench.commands.verify import verify_records

    return verify_records(
        place, sample=sample, seed=seed, own=plugin or [], store=store, on=on, jobs=jobs, display=display
    )
