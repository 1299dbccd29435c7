"""Finds a trial or a cell by the name or id that a table, a file or a message gives it."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError
from bench.results import archive, sources
from bench.results.cells import cell_id
from bench.results.reading import load, load_archive
from bench.results.record import Record
from bench.results.roles import parts_of
from bench.results.sources import Source

__all__ = ["Match", "find", "known_sources"]

_OPENING = 600  # characters of a record's file, which hold its key
_SHORTEST = 6  # digits of a key
_LISTED = 5
_SHOWN = 3  # parameters


@dataclass(frozen=True)
class Match:
    """The result of a search.

    Attributes:
        source: Where its records are.
        records: Its trials, by seed.
        trial: The one that was named; of a cell its first.
    """

    source: Source
    records: tuple[Record, ...]
    trial: Record


@dataclass(frozen=True)
class _Entry:
    """One record of a source."""

    source: Source
    name: str
    key: str

    @property
    def cell(self) -> str:
        """The record's name without the seed."""
        return re.sub(r"--s\d+$", "", self.name)

    def is_called(self, word: str) -> bool:
        """Return whether a word is its name, the first digits of its key, or its cell's name or id."""
        by_key = len(word) >= _SHORTEST and self.key.startswith(word.lower())
        return by_key or word in (self.name, self.cell) or word == cell_id(self.cell)


def known_sources(roots: Iterable[Path]) -> list[Source]:
    """Return all places that hold records: the suites that have any, and the runs in some stores.

    Args:
        roots: The folders of local stores.
    """
    suites = [sources.find(name) for name in sources.suite_files()]
    runs = [folder for root in roots for folder in sorted(root.glob("records/*/"))]
    return suites + [Source(folder.name, folder) for folder in runs]


def find(word: str, candidates: Sequence[Source]) -> Match:
    """Find a trial or a cell.

    Args:
        word: A record's file or name, the first digits of its key, or a cell's id or name.
        candidates: Where to look, the first place first.

    Raises:
        UsageError: Nothing has that name, or several cells have it.
        DataError: A record cannot be read.
    """
    if word.endswith(sources.RECORD):
        trial = load(Path(word))
        source = sources.find(word)
        siblings = [load(file) for file in Path(word).parent.glob(f"{_escaped(trial.cell_name)}--s*{sources.RECORD}")]
        cell_records = [record for record in siblings if record.cell_name == trial.cell_name]
        return Match(source, tuple(sorted(cell_records or [trial], key=lambda record: record.trial.seed)), trial)
    entries = [entry for source in candidates for entry in _entries(source)]
    matches = [entry for entry in entries if entry.is_called(word)]
    if not matches:
        suggestions = difflib.get_close_matches(
            word, {entry.name for entry in entries} | {e.cell for e in entries}, n=1
        )
        hint = f", did you mean '{suggestions[0]}'?" if suggestions else ""
        raise UsageError(
            f"unknown trial or cell '{word}'{hint}: expected a record's file or name, {_SHORTEST} digits of its key, "
            "or a cell's id from a table"
        )
    cells: dict[frozenset[tuple[str, str]], _Entry] = {}
    for match in matches:
        same_cell = (e for e in entries if e.source is match.source and e.cell == match.cell)
        cells.setdefault(frozenset((entry.name, entry.key) for entry in same_cell), match)
    if len(cells) > 1:
        raise UsageError(_ambiguity(word, list(cells.values())))
    (entry,) = cells.values()
    records = _records(entry)
    exact = [record for record in records if word == record.name or record.key.startswith(word.lower())]
    return Match(entry.source, records, (exact or list(records))[0])


def _ambiguity(word: str, entries: Sequence[_Entry]) -> str:
    """Say which cells a word stands for, and what to type instead."""
    settings = [_settings(entry) for entry in entries]
    differing = [name for name in settings[0] if len({each.get(name) for each in settings}) > 1]
    listing = ", ".join(
        f"{entry.cell} in {entry.source.path}"
        + "".join(f", {name} = {values.get(name)}" for name in differing[:_SHOWN])
        for entry, values in zip(entries[:_LISTED], settings, strict=False)
    )
    listing += f" and {len(entries) - _LISTED} more" if len(entries) > _LISTED else ""
    advice = f"choose one with --records, such as --records {shlex.quote(str(entries[0].source.path))}"
    if len({entry.source.path for entry in entries}) == 1:
        advice = f"give one's whole name, such as {shlex.quote(entries[0].cell)}"
    return f"'{word}' stands for {len(entries)} cells with different records, {listing}: {advice}"


def _settings(entry: _Entry) -> dict[str, str]:
    """Return the parameters of the plugins of an entry's cell, by which cells of one name differ."""
    trial = _records(entry)[0].trial
    return {f"{part.label}.{name}": str(value) for _, part in parts_of(trial) for name, value in part.params.items()}


def _entries(source: Source) -> Iterator[_Entry]:
    """Yield the records of a source, those in files without reading all of them."""
    if archive.is_archive(source.path):
        for record in load_archive(source.path):
            yield _Entry(source, record.name, record.key)
        return
    for file in source.files():
        with file.open(encoding="utf-8-sig", errors="replace") as stream:
            key = re.search(r'"key": ?"([0-9a-f]+)"', stream.read(_OPENING))
        yield _Entry(source, file.stem, key[1] if key else "")


def _records(entry: _Entry) -> tuple[Record, ...]:
    """Return all records of an entry's cell, by seed."""
    if archive.is_archive(entry.source.path):
        records = [record for record in load_archive(entry.source.path) if record.cell_name == entry.cell]
    else:
        files = (file for file in entry.source.files() if re.sub(r"--s\d+$", "", file.stem) == entry.cell)
        records = [load(file) for file in files]
    return tuple(sorted(records, key=lambda record: record.trial.seed))


def _escaped(name: str) -> str:
    """Return a name for a glob pattern. Names of records hold no bracket; a stranger's file may."""
    return re.sub(r"([\[\]*?])", r"[\1]", name)
