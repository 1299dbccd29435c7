"""All records of a suite in one compressed file; values that several records share are stored once.

An archive is a text of JSON lines, compressed by xz, so that `xz -dc FILE | head` shows it and the standard library
of Python reads it. Its lines are

    {"format": "cloakbench records", "version": 1, "suite": "digits", "records": 102}
    {"id": "arms-5f0c8a3e91b2d474", "value": {"accuracy": [1.0, 0.0, ...]}}
    {"record": {"schema_version": 2, ..., "arms": {"clean": "arms-5f0c8a3e91b2d474", ...}, ...}}

A value that records may share (the quality of an arm, the names of the held-out items, a plugin's parameters; see
`SHARED`) is written once, before the first record that holds it, and each record names it by its id. An id is a digest
of the value and not the key of its stage, so that records which contradict each other about a stage are stored as they
are, for `bench verify` to find.

The same records give the same bytes. An archive may come from anybody: reading it never takes a name in it for a path,
runs nothing, and stops at a stated size.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import DataError
from bench.files import io_errors, replacing

__all__ = ["LIMIT", "SHARED", "SUFFIX", "Header", "is_archive", "read", "read_header", "sha256", "write"]

SUFFIX = ".jsonl.xz"
FORMAT = "cloakbench records"
VERSION = 1
LIMIT = 64 * 2**20  # bytes of text that an archive may hold; the largest suite of this repository has 2.3 million
LINE_LIMIT = 8 * 2**20

# Paths of values that several records may share; "*" is every entry of a mapping or list.
SHARED: tuple[tuple[str, ...], ...] = (
    ("trial", "dataset"),
    ("trial", "defense"),
    ("trial", "surrogates", "*"),
    ("trial", "expects", "*"),
    ("trial", "reference"),
    ("trial", "adaptation"),
    ("trial", "attacker"),
    ("trial", "replacement"),
    ("arms", "*"),
    ("curve", "*"),
    ("granted", "*"),
    ("ids",),
    ("groups",),
    ("labels",),
    ("epochs", "*"),
    ("audibility", "*"),
    ("audibility_ids",),
    ("distance", "*"),
    ("music", "*"),
    ("crafting_log",),
    ("input_change",),
    ("memorisation", "*"),
    ("cost", "*"),
    ("provenance", "git"),
    ("provenance", "packages"),
)

_CHUNK = 2**18
_MEMORY = 100 * 2**20  # that the decompressor may take: what xz -9 needs, of a window of 64 MiB
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6 | lzma.PRESET_EXTREME}]


@dataclass(frozen=True)
class Header:
    """The first line of an archive.

    Attributes:
        suite: The name of the suite whose records it holds.
        records: How many records it holds.
    """

    suite: str
    records: int


def write(path: Path, suite: str, records: Iterable[Mapping[str, Any]], count: int) -> str:
    """Write an archive.

    Args:
        path: The file to write; an existing one is replaced once the new one is whole.
        suite: The name of the suite.
        records: JSON objects, in the order in which they are to be read.
        count: How many there are.

    Returns:
        The SHA-256 of the file, in hexadecimal digits.

    Raises:
        DataError: A record holds NaN or infinity, or text that is not Unicode.
    """
    hasher = hashlib.sha256()
    squeeze = lzma.LZMACompressor(format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, filters=_FILTERS)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft, draft.open("wb") as file:

        def put(data: bytes) -> None:
            hasher.update(data)
            file.write(data)

        for line in _lines(suite, records, count):
            put(squeeze.compress(line + b"\n"))
        put(squeeze.flush())
    return hasher.hexdigest()


def read(path: Path, limit: int = LIMIT) -> Iterator[dict[str, Any]]:
    """Read the records of an archive, one after another.

    Args:
        path: The archive.
        limit: How many bytes of text it may hold.

    Yields:
        Each record as a JSON object. Shared values are the same object in all of them: do not change them.

    Raises:
        DataError: It is no archive, is damaged or cut off, is of a newer version, or holds more than `limit`.
    """
    lines = _decoded(path, limit)
    header = _header(path, lines)
    shared_values: dict[str, Any] = {}
    count = 0
    for line in lines:
        if line.keys() == {"id", "value"} and isinstance(line["id"], str) and line["id"] not in shared_values:
            shared_values[line["id"]] = line["value"]
        elif line.keys() == {"record"} and isinstance(line["record"], dict):
            count += 1
            yield _resolved(path, line["record"], shared_values)
        else:
            raise DataError(f"{path} is damaged: a line is neither a new value nor a record")
    if count != header.records:
        raise DataError(f"{path} is damaged: it holds {count} records, and its first line says {header.records}")


def read_header(path: Path) -> Header:
    """Read the first line of an archive alone.

    Raises:
        DataError: As of `read`.
    """
    return _header(path, _decoded(path, LIMIT))


def is_archive(path: Path) -> bool:
    """Tell whether a file is named as archives are."""
    return path.name.endswith(SUFFIX)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits.

    Raises:
        DataError: It cannot be read.
    """
    with io_errors(path, "read"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lines(suite: str, records: Iterable[Mapping[str, Any]], count: int) -> Iterator[bytes]:
    """Yield the lines of an archive, without line breaks."""
    yield _dumps({"format": FORMAT, "version": VERSION, "suite": suite, "records": count}, suite)
    written_ids: set[str] = set()
    for record in records:
        new_lines: list[bytes] = []

        def share(kind: str, value: Any, new_lines: list[bytes] = new_lines, record: Mapping[str, Any] = record) -> str:
            text = _dumps(value, record)
            name = f"{kind}-{hashlib.sha256(text).hexdigest()[:16]}"
            if name not in written_ids:
                written_ids.add(name)
                new_lines.append(b'{"id":"%s","value":%s}' % (name.encode(), text))
            return name

        line = _replaced(record, SHARED, lambda path, value: share(path[0] if path[0] != "trial" else "plugin", value))
        yield from new_lines
        yield _dumps({"record": line}, record)


def _dumps(value: Any, record: Any) -> bytes:
    """Return a JSON value as compact UTF-8."""
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:  # NaN, or half of a surrogate pair
        name = record.get("key", "?") if isinstance(record, Mapping) else record
        raise DataError(f"record {name} cannot be written: {error}") from error


def _resolved(path: Path, record: dict[str, Any], shared_values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with its shared values in place of their ids."""

    def value(_: tuple[str, ...], name: Any) -> Any:
        if not isinstance(name, str) or name not in shared_values:
            raise DataError(f"{path} is damaged: a record names the value '{name}', which does not stand before it")
        return shared_values[name]

    return _replaced(record, SHARED, value)


def _replaced(
    record: Mapping[str, Any], paths: Iterable[tuple[str, ...]], new: Callable[[tuple[str, ...], Any], Any]
) -> dict[str, Any]:
    """Return a copy of a nest of mappings and lists with the values at some paths replaced; null stays null."""

    def at(value: Any, path: tuple[str, ...], remaining: tuple[str, ...]) -> Any:
        if value is None:
            return None
        if not remaining:
            return new(path, value)
        name, *deeper = remaining
        further = tuple(deeper)
        if name == "*" and isinstance(value, Mapping):
            return {key: at(item, path, further) for key, item in value.items()}
        if name == "*" and isinstance(value, list):
            return [at(item, path, further) for item in value]
        if isinstance(value, Mapping) and name in value:
            return {**value, name: at(value[name], path, further)}
        return value

    result: Any = record
    for path in paths:
        result = at(result, path, path)
    return dict(result)


def _header(path: Path, lines: Iterator[dict[str, Any]]) -> Header:
    """Read the first line."""
    first = next(lines, {})
    if first.get("format") != FORMAT or not isinstance(first.get("version"), int):
        raise DataError(f"{path} is not an archive of records: its first line does not say '{FORMAT}'")
    if first["version"] > VERSION:
        raise DataError(
            f"{path} is an archive of version {first['version']}, this program reads up to {VERSION}: update cloakbench"
        )
    suite, records = first.get("suite"), first.get("records")
    if not isinstance(suite, str) or not isinstance(records, int):
        raise DataError(f"{path} is damaged: its first line names no suite, or no number of records")
    return Header(suite, records)


def _decoded(path: Path, limit: int) -> Iterator[dict[str, Any]]:
    """Yield the lines of an archive as JSON objects."""
    for line in _split(path, _text(path, limit)):
        try:
            value = json.loads(line, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} is damaged: a line is not JSON ({str(error).splitlines()[0]})") from error
        if not isinstance(value, dict):
            raise DataError(f"{path} is damaged: a line is not a JSON object")
        yield value


def _refuse(name: str) -> Any:
    """Refuse NaN and infinity, which JSON does not have."""
    raise ValueError(f"{name} is not JSON")


def _split(path: Path, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Cut chunks of text at line breaks."""
    buffer = bytearray()
    for chunk in chunks:
        first, *further = chunk.split(b"\n")
        buffer += first
        for part in further:
            yield bytes(buffer)
            buffer = bytearray(part)
        if len(buffer) > LINE_LIMIT:
            raise DataError(f"{path} is damaged: a line is longer than {LINE_LIMIT >> 20} MiB")
    if buffer:
        raise DataError(f"{path} is damaged: its last line is cut off")


def _text(path: Path, limit: int) -> Iterator[bytes]:
    """Decompress a file a chunk at a time, up to `limit` bytes in all."""
    total = 0
    try:
        with io_errors(path, "read"), path.open("rb") as file:
            expand = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MEMORY)
            while not expand.eof:
                data = file.read(_CHUNK) if expand.needs_input else b""
                if expand.needs_input and not data:
                    raise DataError(f"{path} is damaged: it is cut off")
                chunk = expand.decompress(data, max_length=_CHUNK)
                total += len(chunk)
                if total > limit:
                    raise DataError(f"{path} holds more than {limit / 2**20:g} MiB of text: it is not read any further")
                yield chunk
            if expand.unused_data or file.read(1):
                raise DataError(f"{path} is damaged: something follows its end")
    except lzma.LZMAError as error:
        raise DataError(f"{path} is not an archive of records, or is damaged: {error}") from error
