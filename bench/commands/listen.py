"""The command `bench listen`: one trial's sounds side by side, on a page of their own."""

from __future__ import annotations

import difflib
import re
import sys
import webbrowser
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench import plugins
from bench.commands.display import Style, watching
from bench.commands.verify import own_files
from bench.errors import DataError, UsageError
from bench.report import views
from bench.report.site import build_cell
from bench.results.board import Board
from bench.results.cells import cell_of
from bench.trials import record
from bench.trials.again import trial_of
from bench.trials.matrix import Suite
from bench.trials.record import Record
from bench.trials.run import execute, prepare
from bench.trials.store import Store, default_url

_OPENING = 600  # characters of a record, which hold its name and key
_SHORTEST = 6  # digits of a key
_LISTED = 5


def listen(
    what: str, out: Path, *, stores: Sequence[str], make: bool, plugin: Sequence[str], display: Style, show: bool
) -> None:
    """Write the page of the trial that `what` names, a record's file, name or key, and say where it is.

    make: run the trial again, into the first store, where no store holds its sets; plugin: files of plugins that are
    not installed, for that. Raises `UsageError` for an unknown trial and `DataError` where its sets are gone.
    """
    places = [Store(url) for url in stores or [default_url()]]
    path = _find(what, places)
    asked = record.load(path)
    if asked.status != "ok":
        raise DataError(f"{asked.name} failed, so there is nothing to hear: {(asked.error or {}).get('message', '')}")
    if asked.trial.control == "clean":
        raise DataError(f"{asked.name} is of clean data: nothing was protected, so there is nothing to compare")
    if make and not any(place.has(asked.stages["protected_set"]) for place in places):
        asked = _again(asked, places[0], own_files(plugin), display)
        siblings: tuple[Record, ...] = (asked,)
    else:
        siblings = tuple(one for one in _beside(path) if cell_of(one) == cell_of(asked))
    board = Board(Suite(name=path.parent.name), siblings)
    (cell,) = views.cells(board)
    page = build_cell(board, cell, asked, out, places)
    print(page)
    if show:
        webbrowser.open(page.resolve().as_uri())


def _find(what: str, places: Sequence[Store]) -> Path:
    """The record's file: by path, or by its name or the first digits of its key among the records known here."""
    if what.endswith(".json"):
        return Path(what)
    known = {path: _opening(path) for path in _all_records(places)}
    found = [
        path for path, (name, key) in known.items()
        if what == name or (len(what) >= _SHORTEST and key.startswith(what.lower()))
    ]  # fmt: skip
    if not found:
        near = difflib.get_close_matches(what, {name for name, _ in known.values()}, n=1)
        hint = f", did you mean '{near[0]}'?" if near else ""
        raise UsageError(
            f"unknown trial '{what}'{hint}: expected a record's file or name, or {_SHORTEST} digits of its key"
        )
    if len({known[path] for path in found}) > 1:
        files = ", ".join(str(path) for path in found[:_LISTED])
        raise UsageError(f"'{what}' stands for {len(found)} trials: expected one, such as by its file: {files}")
    return found[0]


def _all_records(places: Sequence[Store]) -> Iterator[Path]:
    for folder in (plugins.home() / "leaderboards" / "records", *(place.root / "records" for place in places)):
        yield from sorted(folder.glob("*/*.json"))


def _opening(path: Path) -> tuple[str, str]:
    """A record's name and key, without reading all of it."""
    with path.open(encoding="utf-8") as file:
        text = file.read(_OPENING)
    key = re.search(r'"key": "([0-9a-f]+)"', text)
    return path.stem, key[1] if key else ""


def _beside(path: Path) -> Iterator[Record]:
    """The records of the other seeds, which lie beside this one under the same name."""
    stem = re.sub(r"--s\d+$", "", path.stem)
    for other in sorted(path.parent.glob("*.json")):
        if re.sub(r"--s\d+$", "", other.stem) == stem:
            yield record.load(other)


def _again(asked: Record, place: Store, files: Mapping[str, Path], display: Style) -> Record:
    """The trial run once more, with the code that is here."""
    print(f"running {asked.name} again with the code that is installed here", file=sys.stderr)
    work = prepare([trial_of(asked, files)], place)
    with watching(display, work.missing) as watch:
        (made,) = execute(work, place.root / "records" / "listen", watch)
    if made.status != "ok":
        raise DataError(f"{made.name} failed: {(made.error or {}).get('message', '')}")
    return made
