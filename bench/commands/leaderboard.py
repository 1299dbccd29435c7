"""The command `bench leaderboard`: records into tables and pages."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from pathlib import Path

from bench.commands.display import say
from bench.report import markdown
from bench.report.site import build
from bench.results.board import boards
from bench.trials.store import Store, default_url


def leaderboard(
    suites: Sequence[str],
    out: Path,
    *,
    records: Path | None,
    stores: Sequence[str],
    audio: bool,
    show: bool,
) -> None:
    """Write the pages of some suites, of all where none is named; print the tables of those named, else the summary."""
    found = boards(suites, records)
    if suites:
        for board in found:
            print(markdown.page(board, board.command))
    else:
        print(markdown.summary(found), end="")
    places = [Store(url) for url in (stores or [default_url()])] if audio else []
    silent = build(found, out, places, say)
    if silent:
        where = ", ".join(place.url for place in places)
        say(f"no sound for {len(silent)} records, since {where} lacks it: give --store, or run the suite here first")
    say(f"pages: {out / 'index.html'}")
    if show:
        webbrowser.open((out / "index.html").resolve().as_uri())
