"""`bench listen`: the sounds of one trial side by side, on a page of their own."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from bench.commands.options import Device, Display, Many
from bench.errors import DataError
from bench.exits import OK

if TYPE_CHECKING:
    from bench.results.record import Record
    from bench.trials.store import Store


app = App(
    name="listen",
    help_epilogue=(
        "Examples:\n"
        "  bench listen chorales--cloak-ghost--white-box--symphonynet--deghost--s0 --open\n"
        "  bench listen 129f93dd --store s3://bucket/store\n"
        "  bench listen records/mine/trial.json --make\n"
    ),
)


@app.default
def listen(
    key: str,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("listen"),
    records: str | None = None,
    store: Many = None,
    make: Annotated[bool, Parameter(negative="")] = False,
    plugin: Many = None,
    device: Device = "auto",
    display: Display = "auto",
    open_: Annotated[bool, Parameter(name="--open", negative="")] = False,
) -> int:
    """Write a page that plays a trial: clean and protected sounds, the noise alone, and what trained models generate.

    Parameters
    ----------
    key
        The trial: a record's file or name, at least 6 digits of its key, or a cell's id from a table.
    out
        Folder for the page.
    records
        Records to search: a suite by name or file, a folder, or an archive; default: all suites and runs.
    store
        Store that holds the sounds; default: $BENCH_STORE, else the user's cache folder. Repeatable.
    make
        Run the trial again if no store holds its sounds.
    plugin
        For --make: Python file of a plugin that is not installed, as FILE or NAME=FILE. Repeatable.
    device
        For --make: auto (an accelerator if there is one), cpu, cuda, or cuda:N.
    display
        For --make, progress display: bars (rich), a line per event (plain), or nothing; auto: bars on a terminal.
    open_
        Open the page in a browser.
    """
    from bench.commands.settings import plugin_files
    from bench.report.site import build_cell, check_site
    from bench.results import lookup, sources
    from bench.results.board import Board
    from bench.results.suite import Suite
    from bench.trials.store import Store, default_url

    check_site(out.expanduser())
    stores = [Store(url) for url in store or [default_url()]]
    candidates = [sources.find(records)] if records else lookup.known_sources(each.root for each in stores)
    match = lookup.find(key, candidates)
    record = match.trial
    if record.status != "ok":
        raise DataError(f"{record.name} failed, so there is nothing to play: {(record.error or {}).get('message', '')}")
    if record.trial.control.is_clean:
        raise DataError(f"{record.name} is of clean data: nothing was protected, so there is nothing to compare")
    if make and not any(each.has(record.stages["protected_set"]) for each in stores):
        record = _again(record, stores[0], plugin_files(plugin or []), device, display)
        siblings: tuple[Record, ...] = (record,)
    else:
        siblings = match.records
    board = Board(Suite(name=match.source.name), siblings)
    page = build_cell(board, record, out, stores)
    print(page)
    if open_:
        webbrowser.open(page.resolve().as_uri())
    return OK


def _again(record: Record, store: Store, files: Mapping[str, Path], device: str, display: Display) -> Record:
    """The trial run once more, with the code that is here."""
    from bench.commands.display import watching
    from bench.trials.again import trial_of
    from bench.trials.run import execute, prepare

    print(f"running {record.name} again with the code that is installed here", file=sys.stderr)
    work = prepare([trial_of(record, files)], store)
    with watching(display, work.missing) as watch:
        (second_record,) = execute(work, store.root / "records" / "listen", watch, device=device)
    if second_record.status != "ok":
        raise DataError(f"{second_record.name} failed: {(second_record.error or {}).get('message', '')}")
    return second_record
