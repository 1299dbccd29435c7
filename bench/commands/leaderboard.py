"""`bench leaderboard`: records rendered into tables and pages."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from bench.commands.options import Many
from bench.errors import UsageError
from bench.exits import OK
from bench.files import check_folder

app = App(
    name="leaderboard",
    help_epilogue=(
        "Examples:\n"
        "  bench leaderboard --all --open\n"
        "  bench leaderboard speech\n"
        "  bench leaderboard mine.toml --records records --out site\n"
    ),
)


@app.default
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
    """Render records into web pages with sound, and into Markdown, CSV, JSON and SQLite.

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
    from bench.commands.display import say
    from bench.report import markdown, site
    from bench.results.board import boards
    from bench.trials.store import Store, default_url

    if bool(suites) == all_:
        raise UsageError("expected suites by name, or --all: see `bench leaderboard --help`")
    check_folder(out)
    suite_boards = boards(suites or [], records)
    if suites:
        for board in suite_boards:
            print(markdown.page(board, board.command))
    else:
        print(markdown.summary(suite_boards), end="")
    stores = [Store(url) for url in (store or [default_url()])] if audio else []
    without_sound = site.build(suite_boards, out, stores, say)
    if without_sound:
        store_urls = ", ".join(each.url for each in stores)
        say(
            f"no sound for {len(without_sound)} records, since {store_urls} lacks it: "
            "give --store, or run the suite here first"
        )
    say(f"pages: {out / 'index.html'}")
    if open_:
        webbrowser.open((out / "index.html").resolve().as_uri())
    return OK
