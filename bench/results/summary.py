"""The summary of a suite that is kept beside its archive to be read in a diff: one cell a few lines.

It holds what a reviewer looks at and what the tables print: scores by seed, what their interval needs, means of the
arms and of audibility, keys of stages, and which plugins, packages and machine gave them. Everything in it follows from
the archive, which `bench verify` and a test compare; per-item values stand in the archive alone.

    {
      "format": "cloakbench results", "version": 1, "suite": "speech", "score_version": 1,
      "archive": {"file": "speech.jsonl.xz", "sha256": "...", "bytes": 460012, "records": 102},
      "plugins": {"m5@1c0ffee0": {"name": "m5", "version": 1, "digest": "...", "data": "", "params": {...}}, ...},
      "environments": {"8d2b0a11": {"python": "3.11.7", ..., "packages": {...}}},
      "cells": [
        {
          "id": "3f2a91", "dataset": "spoken_digits", "defense": "noise", "knowledge": "none", ...
          "seeds": {
            "0": {"score": 0.125, "clean": 0.99, "protected": 0.87, "untrained": 0.1, "key": "5a2d2a715255"},
          }, ...
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.errors import DataError
from bench.results.cells import Cell, cell_of
from bench.results.files import replacing
from bench.results.names import digest
from bench.results.record import EVALUATED, Number, PluginRecord, Record, mean, numbers
from bench.results.score import SCORE_VERSION, group_error
from bench.results.table import score_cell

__all__ = ["differences", "read", "summarise", "text", "write"]

FORMAT = "cloakbench results"
VERSION = 1
SUFFIX = ".json"
_KEY = 12  # digits of a key, which tell a million of them apart


def summarise(
    suite: str, records: Sequence[Record], archive: Mapping[str, Any], version: int = SCORE_VERSION
) -> dict[str, Any]:
    """Summarise the records of a suite.

    Args:
        suite: Its name.
        records: All of them.
        archive: Name, SHA-256 and size of the file that holds them.
        version: The version of the score.

    Returns:
        A JSON object. The order of cells is that of their names.
    """
    cells: dict[Cell, list[Record]] = {}
    for record in records:
        cells.setdefault(cell_of(record), []).append(record)
    return {
        "format": FORMAT,
        "version": VERSION,
        "suite": suite,
        "score_version": version,
        "archive": dict(archive),
        "plugins": dict(sorted((name, _plugin(part)) for r in records for name, part in _plugins(r).values())),
        "environments": dict(sorted((_environment_id(r), _environment(r)) for r in records)),
        "cells": [_cell(cell, sorted(cells[cell], key=lambda r: r.trial.seed), version) for cell in sorted(cells)],
    }


def text(summary: Mapping[str, Any]) -> str:
    """Return a summary as JSON whose lines change together: a seed, a plugin, a cell's means."""
    return readable_json(summary) + "\n"


def write(path: Path, summary: Mapping[str, Any]) -> None:
    """Write a summary, whole or not at all."""
    with replacing(path) as file:
        file.write(text(summary).encode())


def read(path: Path) -> dict[str, Any]:
    """Read a summary.

    Raises:
        DataError: It cannot be read, is no summary, or is of a newer version.
    """
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT or int(data["version"]) > VERSION:
            raise DataError(f"{path} is '{data['format']}' {data['version']}: expected '{FORMAT}' up to {VERSION}")
        dict(data["archive"]), list(data["cells"])
        return data
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a summary of results: {str(error).splitlines()[0]}") from error


def differences(told: Mapping[str, Any], made: Mapping[str, Any]) -> list[str]:
    """Say where a summary differs from what its archive gives, a line each.

    Args:
        told: The summary as it stands in a file.
        made: The summary of the archive's records, by `summarise`.
    """
    lines = [
        f"{name}: {_short(told.get(name))}, the records give {_short(made.get(name))}"
        for name in sorted({*told, *made} - {"cells"})
        if told.get(name) != made.get(name)
    ]
    cells, again = ({cell["id"]: cell for cell in summary["cells"]} for summary in (told, made))
    for key in dict.fromkeys([*again, *cells]):
        if key not in again or key not in cells:
            lines.append(f"cell {key}: {'not in the records' if key in cells else 'missing'}")
            continue
        lines += [
            f"cell {key}, {name}: {_short(cells[key].get(name))}, the records give {_short(again[key].get(name))}"
            for name in sorted({*cells[key], *again[key]})
            if cells[key].get(name) != again[key].get(name)
        ]
    return lines


def _cell(cell: Cell, records: Sequence[Record], version: int) -> dict[str, Any]:
    """Summarise one cell over its seeds."""
    first, good = records[0], [record for record in records if record.status == "ok"]
    score = score_cell(cell, records)
    arms = [arm for arm in EVALUATED if any(arm in record.arms for record in good)]
    return {
        "id": cell.id,
        **cell._asdict(),
        "control": first.trial.control,
        "scope": first.trial.scope,
        "share": first.trial.share,
        "preset": first.trial.preset,
        "metric": score.metric,
        "score": _rounded(score.denied),
        "void": list(score.void),
        "seeds": {
            str(record.trial.seed): {
                "score": record.denied,
                **{arm: _number(record.mean(arm)) for arm in arms if arm in record.arms},
                "key": record.key[:_KEY],
            }
            if record.status == "ok"
            else {"failed": (record.error or {}).get("type", ""), "key": record.key[:_KEY]}
            for record in records
        },
        "audibility": {
            name: _number(mean(value for record in good for value in record.audibility.get(name, [])))
            for name in dict.fromkeys(name for record in good for name in record.audibility)
        },
        "stages": {
            role: _once([record.stages.get(role, "")[:_KEY] for record in records])
            for role in dict.fromkeys(role for record in records for role in record.stages)
        },
        "plugins": {role: _once([_plugins(record).get(role, ("", None))[0] for record in records]) for role in _roles(records)},
        "provenance": {
            "command": _once([record.provenance.get("command", "") for record in records]),
            "commit": _once([(record.provenance.get("git") or {}).get("commit", "")[:_KEY] for record in records]),
            "at": _once([record.provenance.get("at", "") for record in records]),
            "environment": _once([_environment_id(record) for record in records]),
        },
    }
