"""`bench listen`: the sounds of one trial side by side, on a page of their own."""

from __future__ import annotations

import difflib
import re
import sys
import webbrowser
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from bench import plugins
from bench.commands.options import Device, Display, Many
from bench.errors import DataError, UsageError
from bench.exits import OK

if TYPE_CHECKING:
    from bench.results.record import Record
    from bench.trials.store import Store

_OPENING = 600  # characters of a record, which hold its name and key
_SHORTEST = 6  # digits of a key
_LISTED = 5

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
    store: Many = None,
    make: Annotated[bool, Parameter(negative="")] = False,
    plugin: Many = None,
    device: Device = "auto",
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
    device
        For --make: auto (an accelerator where there is one), cpu, cuda, or cuda:N.
    display
        Progress as bars, as lines, or not at all.
    open_
        Open the page in a browser.
    """
    from bench.commands.settings import plugin_files
    from bench.report.site import build_cell
    from bench.results import record
    from bench.results.board import Board
    from bench.results.cells import cell_of
    from bench.results.suite import Suite
    from bench.trials.store import Store, default_url

    stores = [Store(url) for url in store or [default_url()]]
    path = _find(key, stores)
    asked = record.load(path)
    if asked.status != "ok":
        raise DataError(f"{asked.name} failed, so there is nothing to hear: {(asked.error or {}).get('message', '')}")
    if asked.trial.control.is_clean:
        raise DataError(f"{asked.name} is of clean data: nothing was protected, so there is nothing to compare")
    if make and not any(each.has(asked.stages["protected_set"]) for each in stores):
        asked = _again(asked, stores[0], plugin_files(plugin or []), device, display)
        siblings: tuple[Record, ...] = (asked,)
    else:
        siblings = tuple(one for one in _beside(path) if cell_of(one) == cell_of(asked))
    board = Board(Suite(name=path.parent.name), siblings)
    page = build_cell(board, asked, out, stores)
    print(page)
    if open_:
        webbrowser.open(page.resolve().as_uri())
    return OK


def _find(what: str, stores: Sequence[Store]) -> Path:
    """The record's file: by path, or by its name or the first digits of its key among the records known here."""
    if what.endswith(".json"):
        return Path(what)
    openings = {path: _opening(path) for path in _all_records(stores)}
    matches = [
        path for path, (name, key) in openings.items()
        if what == name or (len(what) >= _SHORTEST and key.startswith(what.lower()))
    ]  # fmt: skip
    if not matches:
        near = difflib.get_close_matches(what, {name for name, _ in openings.values()}, n=1)
        hint = f", did you mean '{near[0]}'?" if near else ""
        raise UsageError(
            f"unknown trial '{what}'{hint}: expected a record's file or name, or {_SHORTEST} digits of its key"
        )
    if len({openings[path] for path in matches}) > 1:
        files = ", ".join(str(path) for path in matches[:_LISTED])
        raise UsageError(f"'{what}' matches {len(matches)} trials: give the record's file: {files}")
    return matches[0]


def _all_records(stores: Sequence[Store]) -> Iterator[Path]:
    for folder in (plugins.home() / "leaderboards" / "records", *(store.root / "records" for store in stores)):
        yield from sorted(folder.glob("*/*.json"))


def _opening(path: Path) -> tuple[str, str]:
    """A record's name and key, without reading all of it."""
    with path.open(encoding="utf-8") as file:
        text = file.read(_OPENING)
    key = re.search(r'"key": ?"([0-9a-f]+)"', text)
    return path.stem, key[1] if key else ""


def _beside(path: Path) -> Iterator[Record]:
    """The records of the other seeds, which lie beside this one under the same name."""
    from bench.results import record

    stem = re.sub(r"--s\d+$", "", path.stem)
    for sibling in sorted(path.parent.glob("*.json")):
        if re.sub(r"--s\d+$", "", sibling.stem) == stem:
            yield record.load(sibling)


def _again(recorded: Record, store: Store, files: Mapping[str, Path], device: str, display: Display) -> Record:
    """The trial run once more, with the code that is here."""
    from bench.commands.display import watching
    from bench.trials.again import trial_of
    from bench.trials.run import execute, prepare

    print(f"running {recorded.name} again with the code that is installed here", file=sys.stderr)
    work = prepare([trial_of(recorded, files)], store)
    with watching(display, work.missing) as watch:
        (rerun,) = execute(work, store.root / "records" / "listen", watch, device=device)
    if rerun.status != "ok":
        raise DataError(f"{rerun.name} failed: {(rerun.error or {}).get('message', '')}")
    return rerun
