"""`bench leaderboard`: records rendered into tables and pages."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from bench import plugins
from bench.commands.options import Flag, Many
from bench.errors import UsageError
from bench.exits import OK
from bench.files import check_output, replacing

if TYPE_CHECKING:
    from bench.results.board import Board

app = App(
    name="leaderboard",
    help_epilogue=(
        "Examples:\n"
        "  bench leaderboard --all --open\n"
        "  bench leaderboard digits\n"
        "  bench leaderboard mine.toml --records records --out site\n"
        "  bench leaderboard --all --markdown\n"
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
    markdown: Flag = False,
    open_: Annotated[bool, Parameter(name="--open", negative="")] = False,
) -> int:
    """Write the results of suites as web pages with sound, and as Markdown, CSV, JSON and SQLite files.

    Parameters
    ----------
    suites
        Suites by name or TOML file, folders of records, or archives; their tables are printed too.
    all_
        All suites that have records.
    out
        Folder for the pages; its index.html needs no web server.
    records
        Folder of records or archive to read instead of the suite's own.
    store
        Store that holds the sounds; default: $BENCH_STORE, else the user's cache folder. Repeatable.
    audio
        Put sounds and pictures on the pages, if a store holds them.
    markdown
        Write only NAME.md beside each suite's NAME.toml, and with --all the summary README.md, instead of web pages.
    open_
        Open the pages in a browser.
    """
    from bench.commands.display import say
    from bench.report import markdown as pages
    from bench.report import site
    from bench.results.board import boards
    from bench.trials.store import Store, default_url

    if bool(suites) == all_:
        raise UsageError("expected suites by name, or --all: see `bench leaderboard --help`")
    if markdown:
        for file in _write_markdown(boards(suites or [], records), summary=all_):
            say(f"wrote {file}")
        return OK
    site.check_site(out.expanduser())
    suite_boards = boards(suites or [], records)
    if suites:
        for board in suite_boards:
            print(pages.page(board, board.command))
    else:
        print(pages.summary(suite_boards), end="")
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


def _write_markdown(suite_boards: Sequence[Board], *, summary: bool) -> list[Path]:
    """Write the Markdown page of every suite, and the summary of all; return the files whose text changed."""
    from bench.report import markdown as pages

    texts = {board.page_file: pages.page(board, board.page_command) for board in suite_boards}
    if summary:
        texts[plugins.home() / "leaderboards" / "README.md"] = pages.summary(suite_boards)
    changes = {file: text for file, text in texts.items() if not file.is_file() or file.read_text("utf-8") != text}
    for file in changes:
        check_output(file, force=True)
    for file, text in changes.items():
        with replacing(file) as draft:
            draft.write_text(text, encoding="utf-8")
    return list(changes)
