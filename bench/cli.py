"""The command `bench`: thin functions that parse words and call the library.

Results go to standard output, talk to standard error. Exit codes: 0 done, 2 bad input, 3 some trials failed or a check
did, 130 interrupted. Heavy imports stay inside the commands, so that `--help` and `list` are quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from bench import __version__, plugins
from bench.errors import BenchError, UsageError

OK, BAD_INPUT, INCOMPLETE, INTERRUPTED = 0, 2, 3, 130

Kind = Literal["defenses", "attackers", "adaptations", "datasets"]
Preset = Literal["smoke", "small", "full"]
What = Literal["defense", "attacker", "adaptation", "dataset"]
Knows = Literal["white-box", "ensemble", "black-box", "none"]
Place = Literal["local", "ray"]
Display = Literal["auto", "rich", "plain", "none"]
Many = Annotated[list[str] | None, Parameter(negative="", consume_multiple=False)]
Sets = Annotated[list[str] | None, Parameter(name="--set", negative="", consume_multiple=False)]

app = App(
    name="bench",
    help="The adversarial benchmark for unlearnable audio and music: every defense against every attacker.",
    version=__version__,
    help_format="plaintext",
    help_epilogue=(
        "Examples:\n"
        "  bench list\n"
        "  bench run --defense harmonycloak --attacker musicgen\n"
        "  bench run --defense harmonycloak --attacker musicgen --adapt mp3 --adapt resample\n"
        "  bench protect song.wav -o protected.wav --defense harmonycloak\n"
    ),
)


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
    jobs: int | None = None,
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
    jobs: int | None = None,
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
        "  bench protect song.wav -o protected.wav\n"
        "  bench protect song.flac -o protected.flac --set harmonycloak.bound=paper\n"
        "  bench protect song.wav -o noisy.wav --defense noise --set noise.snr_db=20\n"
        "  bench protect song.mid -o protected.mid --set harmonycloak.mode=ghost\n"
    )
)
def protect(
    source: Path,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    defense: str = "harmonycloak",
    attacker: str | None = None,
    preset: Preset = "small",
    seed: int = 0,
    set_: Sets = None,
    force: bool = False,
) -> int:
    """Protect a sound file or a MIDI file and say what that did to the sound or the notes.

    Parameters
    ----------
    source
        A WAV, FLAC, OGG, MP3 or AIFF file of any length, rate and number of channels, or a MIDI file.
    out
        Where to write; the ending says the format. A MIDI file gives a MIDI file.
    defense
        A defense by name, or a Python file that holds one.
    attacker
        Whom the defense is made against (its surrogate); default: musicgen, of a MIDI file symphonynet. "none" for a
        defense that needs nobody.
    preset
        The budget of the defense.
    seed
        Of the defense's random numbers.
    set_
        A parameter, as NAME.KEY=VALUE.
    force
        Write over an existing file.
    """
    from bench.commands import protect as protecting

    protecting.protect_file(source, out, defense, attacker, preset, seed, set_ or [], force=force)
    return OK


@app.command(help_epilogue="Examples:\n  bench doctor\n  bench doctor --clean\n")
def doctor(*, store: str | None = None, clean: bool = False) -> int:
    """Say what is installed, which weights and data sets are found, and what each lacking thing disables.

    Parameters
    ----------
    store
        The store to look at; default: $BENCH_STORE, else the user's cache.
    clean
        Remove every artefact of the store (they are made again when needed).
    """
    from bench.commands.doctor import doctor as examine

    examine(store, clean=clean)
    return OK


@app.command(
    help_epilogue=(
        "Examples:\n"
        "  bench leaderboard --all --open\n"
        "  bench leaderboard speech\n"
        "  bench leaderboard mine.toml --records records --out site\n"
    )
)
def leaderboard(
    suites: Annotated[list[str] | None, Parameter(name="SUITE", negative="")] = None,
    /,
    *,
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
    out: Path = Path("site"),
    records: Path | None = None,
    store: Many = None,
    audio: bool = True,
    open_: Annotated[bool, Parameter(name="--open", negative="")] = False,
) -> int:
    """Render records into pages to look at and listen to, and into Markdown, CSV, JSON and SQLite beside them.

    Parameters
    ----------
    suites
        Suites by name or file; their tables are printed too.
    all_
        Every suite that has records.
    out
        The folder to write; it opens from the disk, and on any static host.
    records
        A folder of records in place of the one beside the suite.
    store
        Where the protected sets lie that are played; default: $BENCH_STORE, else the user's cache. Repeat for several.
    audio
        Whether to look for sounds.
    open_
        Open the pages in a browser.
    """
    from bench.commands import leaderboard as showing

    if bool(suites) == all_:
        raise UsageError("expected suites by name, or --all: see `bench leaderboard --help`")
    showing.leaderboard(suites or [], out, records=records, stores=store or [], audio=audio, show=open_)

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
    jobs: int | None = None,
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


@app.command(
    help_epilogue=(
        "Examples:\n"
        "  bench export speech --to tensorboard --out runs\n"
        "  bench export leaderboards/music.toml --to mlflow --out mlruns\n"
        "  bench export my_records/ --to mlflow --out http://localhost:5000\n"
    )
)
def export(suite: str, *, to: Literal["mlflow", "tensorboard"], out: str) -> int:
    """Give the records of a suite to an experiment tracker: a run a trial. Exporting again doubles nothing.

    Parameters
    ----------
    suite
        A suite's TOML file, the name of one whose records lie in leaderboards/records, a folder of records, or one
        record.
    to
        The tracker.
    out
        A folder; for MLflow also the URI of a server or a database.
    """
    from bench.commands import export as exporting

    exporting.export(suite, to, out)
    return OK


def main(words: Sequence[str] | None = None) -> None:
    """The entry point. Bad input is one line and exit code 2."""
    try:
        code = app(words, exit_on_error=False, print_error=False, result_action="return_value")
    except BenchError as error:
        code = _refuse(str(error))
    except CycloptsError as error:
        code = _refuse(" ".join(str(error).split()) + " (see --help)")
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe is gone: not our failure
        sys.stderr.close()
        code = OK
    raise SystemExit(code if isinstance(code, int) else OK)


def _refuse(line: str) -> int:
    print(f"bench: {line}", file=sys.stderr)
    return BAD_INPUT


if __name__ == "__main__":
    main()
