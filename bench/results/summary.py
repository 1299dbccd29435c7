"""The summary of a suite, in git beside its archive, made for review in a diff: a few lines a cell.

It holds what a reviewer looks at and what tables print: scores by seed, what their interval needs, means of the arms
and of audibility, and which plugins, packages and machine gave them. Everything in it follows from the archive, which
`bench verify` and a test compare. `score_version` is 2 where the records hold a clean curve: `worths` then says what
each protected set is worth. The `score` of a cell is score 1. Values item by item are in the archive alone. So are the
keys of stages: the key of a trial is a digest of those of its stages, so it differs where any of them does, and `bench
show` prints them all.

    {
      "format": "cloakbench results", "version": 2, "suite": "digits", "score_version": 1,
      "archive": {"file": "speech.jsonl.xz", "sha256": "...", "bytes": 460012, "records": 102},
      "plugins": {"m5@1c0ffee0": {"name": "m5", "version": 1, "digest": "...", "params": {...}}, ...},
      "environments": {"8d2b0a11": {"python": "3.11.7", ..., "packages": {...}}},
      "runs": {"51f0c2de": {"command": "bench matrix ...", "commit": "a1cb3c879543", "environment": "8d2b0a11"}},
      "cells": [
        {
          "cell": {"id": "3f2a91", "dataset": "spoken_digits", "defense": "noise", ...},
          "score": {"mean": 0.12, "low": 0.1, "high": 0.14, "group_error": 0.01, "groups": 60, ...},
          "seeds": {"0": {"score": 0.125, "clean": 0.99, "protected": 0.87, "untrained": 0.1, "key": "5a2d2a71"}, ...
          "audibility": {...}, "plugins": {...}, "provenance": {"run": "51f0c2de", "at": "2026-11-25T08:45:52Z"}
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.errors import DataError
from bench.files import io_errors, replacing
from bench.results import table
from bench.results.arms import ARMS
from bench.results.cells import Cell, cell_of
from bench.results.formats import readable_json
from bench.results.names import digest
from bench.results.record import Number, PartRecord, Record, numbers
from bench.results.roles import parts_of
from bench.results.score import SCORE_VERSION
from bench.results.table import CellScore, Row
from bench.results.views import cell_in
from bench.results.worths import RowWorth, row_worths

__all__ = ["FORMAT", "SUFFIX", "differences", "read", "summarise", "text", "write"]

FORMAT = "cloakbench results"
VERSION = 2
SUFFIX = ".json"
_LARGEST = 16 * 2**20  # bytes
_KEY = 12  # digits of a key, which tell a million of them apart
_ENVIRONMENT = ("python", "platform", "processor", "processors", "accelerator", "packages")


def summarise(
    suite: str, records: Sequence[Record], archive: Mapping[str, Any], score: int = SCORE_VERSION
) -> dict[str, Any]:
    """Summarise the records of a suite.

    Args:
        suite: Its name.
        records: All of them.
        archive: Name, SHA-256, size and number of records of the file that holds them.
        score: Version of the score; 1 leaves out what protected items are worth.

    Returns:
        A JSON object. Cells are in the order of their names.
    """
    by_cell: dict[Cell, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.trial.seed):
        by_cell.setdefault(cell_of(record), []).append(record)
    scores = {cell_in(row, score): (row, score) for row in table.rows(records) for score in row.cells}
    plugins = {name: part for record in records for _, name, part in _plugins(record)}
    environments = {_environment_id(record): _environment(record) for record in records}
    runs = {_run_id(record): _run(record) for record in records}
    worths = [_worth(row) for row in row_worths(sorted(records, key=lambda record: record.name))] if score > 1 else []
    return {
        "format": FORMAT,
        "version": VERSION,
        "suite": suite,
        "score_version": score if score == 1 or worths else 1,
        "archive": dict(archive),
        "plugins": {name: plugins[name].model_dump(exclude={"label"}) for name in sorted(plugins)},
        "environments": {name: environments[name] for name in sorted(environments)},
        "runs": {name: runs[name] for name in sorted(runs)},
        **({"worths": worths} if worths else {}),
        "cells": [_cell(cell, *scores[cell], by_cell[cell]) for cell in sorted(by_cell)],
    }


def text(summary: Mapping[str, Any]) -> str:
    """Return a summary as JSON whose lines change together: a seed, a plugin, a cell's means."""
    return readable_json(summary) + "\n"


def write(path: Path, summary: Mapping[str, Any]) -> None:
    """Write a summary, whole or not at all.

    Args:
        path: The file; its folder is made where it is missing.
        summary: What `summarise` returned.

    Raises:
        DataError: The folder cannot be made.
        UsageError: The file cannot be written.
    """
    with io_errors(path.parent, "make"):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        draft.write_text(text(summary), encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """Read a summary.

    Raises:
        DataError: It cannot be read, is no summary, or is of a newer version.
    """
    with io_errors(path, "read"):
        if path.stat().st_size > _LARGEST:
            raise DataError(f"{path} is larger than {_LARGEST >> 20} MiB: it is no summary of results")
        data = path.read_bytes()
    try:
        summary: dict[str, Any] = json.loads(data.decode("utf-8-sig"))
        if summary["format"] != FORMAT or int(summary["version"]) > VERSION:
            kind = f"'{summary['format']}' {summary['version']}"
            raise DataError(f"{path} is {kind}, expected '{FORMAT}' up to {VERSION}: update cloakbench")
        if not isinstance(summary["archive"]["sha256"], str):
            raise TypeError("archive.sha256 is no text")
        for cell in summary["cells"]:
            str(cell["cell"]["id"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is not a summary of results: {str(error).splitlines()[0]}") from error
    return summary


def differences(stored_summary: Mapping[str, Any], computed_summary: Mapping[str, Any]) -> list[str]:
    """Say where a summary differs from what its archive gives, a line each.

    Args:
        stored_summary: The summary in a file.
        computed_summary: What `summarise` gives for the records of the archive.
    """
    if stored_summary["version"] != computed_summary["version"]:
        versions = f"version {stored_summary['version']}, expected {computed_summary['version']}"
        return [f"{versions}: write the summary again with `bench records pack`"]
    lines = list(_compared("", stored_summary, computed_summary, skip={"cells"}))
    stored_cells, computed_cells = (
        {cell["cell"]["id"]: cell for cell in summary["cells"]} for summary in (stored_summary, computed_summary)
    )
    for key in dict.fromkeys([*computed_cells, *stored_cells]):
        if key not in computed_cells or key not in stored_cells:
            lines.append(f"cell {key}: {'its records are not there' if key in stored_cells else 'missing'}")
        else:
            lines += _compared(f"cell {key}, ", stored_cells[key], computed_cells[key])
    return lines


def _compared(
    prefix: str, stored_part: Mapping[str, Any], computed_part: Mapping[str, Any], skip: Iterable[str] = ()
) -> list[str]:
    """Return a line for each entry that differs, down to the second level."""
    lines = []
    for name in sorted({*stored_part, *computed_part} - set(skip)):
        first, second = stored_part.get(name), computed_part.get(name)
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            parts = [part for part in dict.fromkeys([*first, *second]) if first.get(part) != second.get(part)]
            lines += [
                f"{prefix}{name}.{part}: {first.get(part)}, the records give {second.get(part)}" for part in parts
            ]
        elif first != second:
            lines.append(f"{prefix}{name}: {first}, the records give {second}")
    return lines


def _cell(cell: Cell, row: Row, score: CellScore, records: Sequence[Record]) -> dict[str, Any]:
    """Summarise one cell over its seeds."""
    first = records[0].trial
    interval = score.denied
    plugins_by_record = [{role: name for role, name, _ in _plugins(record)} for record in records]
    return {
        "cell": {"id": cell.id, **cell._asdict()},
        "protocol": {"control": first.control, "scope": first.scope, "share": first.share, "preset": first.preset},
        "score": {
            "metric": score.metric,
            **_rounded({"mean": interval.mean, "low": interval.low, "high": interval.high}),
            **_rounded({"group_error": score.group_error}),
            "groups": score.groups,
            "missing_items": score.missing,
            "failed": score.failed,
            "void": ", ".join(score.void),
        },
        "seeds": {str(record.trial.seed): _seed(record) for record in records},
        "audibility": _rounded(score.audibility),
        "input_change": _rounded({"": score.input_change})[""],
        "plugins": {
            role: _once([plugins.get(role, "") for plugins in plugins_by_record]) for role in plugins_by_record[0]
        },
        "provenance": {
            "run": _once([_run_id(record) for record in records]),
            "at": _once([str(record.provenance.get("at", "")) for record in records]),
        },
    }


def _worth(row: RowWorth) -> dict[str, Any]:
    """Return what a protected set is worth in clean items, with the clean curve that says so."""
    worth = row.worth
    sizes = {str(size): mean for size, mean in zip(row.curve.sizes, row.curve.means.tolist(), strict=True)}
    return {
        "row": {"dataset": row.dataset, "defense": row.defense, "knowledge": row.knowledge, "metric": row.metric},
        "response": row.response,
        "items": _rounded({"mean": worth.items.mean, "low": worth.items.low, "high": worth.items.high}),
        "denied": _rounded({"mean": worth.denied.mean, "low": worth.denied.low, "high": worth.denied.high}),
        "protected": _rounded({"": worth.protected})[""],
        "curve": _rounded(sizes),
        "granted": row.curve.granted,
        "seeds": list(row.seeds),
        "missing_items": worth.missing,
        "void": ", ".join(check.name for check in worth.void),
    }


def _seed(record: Record) -> dict[str, Any]:
    """Summarise one trial."""
    if record.status != "ok":
        return {"failed": (record.error or {}).get("type", ""), "key": record.key[:_KEY]}
    arms = _rounded({arm: record.mean(arm) for arm in ARMS if arm in record.arms})
    return {"score": record.denied, **arms, "key": record.key[:_KEY]}


def _plugins(record: Record) -> list[tuple[str, str, PartRecord]]:
    """Return role, id and plugin of every plugin of a record; an id is its label and a digest of all that it is."""
    counts: Counter[str] = Counter()
    entries = []
    for role, part in parts_of(record.trial):
        counts[role.title] += 1
        title = f"{role.title} {counts[role.title]}" if role.many else role.title
        entries.append((title, f"{part.label}@{digest(part.model_dump())[:8]}", part))
    return entries


def _environment(record: Record) -> dict[str, Any]:
    """Return what decides about the last digits: packages and machine."""
    return {name: record.provenance.get(name) for name in _ENVIRONMENT}


def _environment_id(record: Record) -> str:
    """Return eight digits that name an environment."""
    return digest(_environment(record))[:8]


def _run(record: Record) -> dict[str, Any]:
    """Return what many cells of a suite have in common: command, commit and environment."""
    return {
        "command": str(record.provenance.get("command", "")),
        "commit": (record.provenance.get("git") or {}).get("commit", "")[:_KEY],
        "environment": _environment_id(record),
    }


def _run_id(record: Record) -> str:
    """Return eight digits that name a run."""
    return digest(_run(record))[:8]


def _rounded(values: Mapping[str, float]) -> dict[str, Number]:
    """Return numbers to six digits; null for those that are not finite."""
    return dict(zip(values, numbers([math.nan if value is None else value for value in values.values()]), strict=True))


def _once(values: Sequence[str]) -> str | list[str]:
    """Return one value for all seeds where they agree, else theirs in the order of the seeds."""
    return values[0] if len(set(values)) == 1 else list(values)
