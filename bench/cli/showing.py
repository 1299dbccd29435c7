"""Commands that show records: pages to look at, and other programs that show them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from bench.cli.app import Display, Many, app
from bench.commands.exits import OK
from bench.errors import UsageError


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


@app.command(
    help_epilogue=(
        "Examples:\n"
        "  bench listen chorales--cloak-ghost--white-box--symphonynet--deghost--s0 --open\n"
        "  bench listen 129f93dd --store s3://bucket/store\n"
        "  bench listen records/mine/trial.json --make\n"
    )
)
def listen(
    key: str,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("listen"),
    store: Many = None,
    make: Annotated[bool, Parameter(negative="")] = False,
    plugin: Many = None,
    display: Display = "auto",
    open_: Annotated[bool, Parameter(name="--open", negative="")] = False,
) -> int:
    """Hear a trial: clean, protected, the noise alone, after the response, and what models generate.

    Parameters
    ----------
    key
        A record's file or name, or the first digits of its key.
    out
        The folder to write the page to.
    store
        Where the protected sets lie; default: $BENCH_STORE, else the user's cache. Repeat for several.
    make
        Run the trial again where its sets are gone.
    plugin
        For --make: the file of a plugin that is not installed, as FILE or NAME=FILE. Repeat for several.
    display
        Progress as bars, as lines, or not at all.
    open_
        Open the page in a browser.
    """
    from bench.commands import listen as hearing

    hearing.listen(key, out, stores=store or [], make=make, plugin=plugin or [], display=display, show=open_)
    return OK
