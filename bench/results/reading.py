"""Records read: from a file, a folder of files or an archive, of any schema up to today's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pydantic

from bench.errors import DataError
from bench.files import io_errors
from bench.results import archive
from bench.results.record import SCHEMA, PartRecord, Record
from bench.results.upgrade import UPGRADES

__all__ = ["load", "load_all", "load_archive", "require_unique"]

LARGEST_FILE = 64 * 2**20  # bytes; the largest record of this repository has a hundred thousand


def load(path: Path) -> Record:
    """Read a record's file.

    Raises:
        DataError: It is no record, or one of a schema newer than this program.
    """
    with io_errors(path, "read"):
        if path.stat().st_size > LARGEST_FILE:
            raise DataError(f"{path} is larger than {LARGEST_FILE >> 20} MiB: it is not read")
        data = path.read_bytes()
    try:
        return Record.model_validate(_upgraded(json.loads(data.decode("utf-8-sig")), path))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is not a record: {_line(error)}") from error


def load_all(folder: Path) -> list[Record]:
    """Read every record file of a folder, by name.

    Raises:
        DataError: A file is no record, is not called as its record is, or holds a trial that another file holds: a
            copy would count as one more seed.
    """
    pairs = [(path, load(path)) for path in sorted(folder.glob("*.json"))]
    require_unique((str(path), record) for path, record in pairs)
    for path, record in pairs:
        if path.name != f"{record.name}.json":
            raise DataError(f"{path} holds the record '{record.name}', expected in {record.name}.json: a renamed copy?")
    return [record for _, record in pairs]


def load_archive(path: Path, limit: int = archive.LIMIT) -> list[Record]:
    """Read every record of an archive, in its order.

    Args:
        path: The archive.
        limit: How many bytes of text it may hold.

    Raises:
        DataError: As of `bench.results.archive.read`; or something in it is no record.
    """
    cache = _Shared()
    records = []
    for data in archive.read(path, limit):
        try:
            records.append(cache.record(_upgraded(data, path)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: record {len(records) + 1} is not a record: {_line(error)}") from error
    require_unique((f"{path}, record {at}", record) for at, record in enumerate(records, start=1))
    return records


def require_unique(records: Iterable[tuple[str, Record]]) -> None:
    """Refuse two records of one trial: a copy would count as one more seed.

    Args:
        records: Where each record was read from, and the record.

    Raises:
        DataError: Two have the same name, which follows from data set, defense, attacker, adaptation and seed.
    """
    first_source: dict[str, str] = {}
    for source, record in records:
        first = first_source.setdefault(record.name, source)
        if first != source:
            raise DataError(f"{first} and {source} hold the same trial, {record.name}: remove one")


class _Shared:
    """Builds records of which many hold the same values, and checks each value once."""

    _FIELDS = tuple(dict.fromkeys(path[0] for path in archive.SHARED if path[0] not in ("trial", "provenance")))

    def __init__(self) -> None:
        self._adapters: dict[str, pydantic.TypeAdapter[Any]] = {
            name: pydantic.TypeAdapter[Any](Record.model_fields[name].annotation or Any) for name in self._FIELDS
        }
        self._plugin = pydantic.TypeAdapter(PartRecord)
        self._cache: dict[tuple[str, int], tuple[Any, Any]] = {}  # with the value, whose id this is

    def record(self, data: Mapping[str, Any]) -> Record:
        """Build a record from its JSON object."""
        other_fields = {name: value for name, value in data.items() if name not in self._FIELDS}
        record = Record.model_validate({**other_fields, "trial": self._trial(dict(data["trial"]))})
        return record.model_copy(update={name: self._field(name, data[name]) for name in self._FIELDS if name in data})

    def _trial(self, trial: dict[str, Any]) -> dict[str, Any]:
        """Check the plugins of a trial, each distinct one once."""
        for role in ("dataset", "defense", "reference", "adaptation", "attacker"):
            if trial[role] is not None:
                trial[role] = self._once("plugin", trial[role], self._plugin)
        for role in ("surrogates", "expects"):
            trial[role] = [self._once("plugin", plugin, self._plugin) for plugin in trial[role]]
        return trial

    def _field(self, name: str, value: Any) -> Any:
        """Check a field; of a mapping that the archive shares entry by entry, each entry by itself."""
        if (name, "*") not in archive.SHARED:
            return self._once(name, value, self._adapters[name])
        entries = {key: self._once(name, {"": entry}, self._adapters[name], entry)[""] for key, entry in value.items()}
        return {str(key): entry for key, entry in entries.items()}

    def _once(self, kind: str, value: Any, adapter: pydantic.TypeAdapter[Any], identity: Any = None) -> Any:
        """Check a value unless the same object was checked before. identity: what to remember it by, if not itself."""
        at = (kind, id(value if identity is None else identity))
        if at not in self._cache:
            try:
                self._cache[at] = (value, adapter.validate_python(value))
            except pydantic.ValidationError as error:
                raise ValueError(f"{kind}: {_line(error)}") from error
        return self._cache[at][1]


def _upgraded(data: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a record's JSON object in today's schema."""
    version = int(data["schema_version"])
    if version > SCHEMA:
        raise DataError(f"{path} has schema {version}, this program reads up to {SCHEMA}: update cloakbench")
    while version in UPGRADES:
        data = UPGRADES[version](data)
        version = int(data["schema_version"])
    return data


def _line(error: Exception) -> str:
    """Return what is wrong, in one line."""
    if isinstance(error, pydantic.ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return (str(error).splitlines() or [type(error).__name__])[0]
