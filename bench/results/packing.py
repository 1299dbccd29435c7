"""Packs records into an archive and a summary, unpacks them into files, and downloads archives."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import DataError, UsageError
from bench.files import draft_folder, io_errors
from bench.results import archive, sources, summary
from bench.results.board import find_suite
from bench.results.reading import load_archive
from bench.results.record import Record
from bench.results.sources import Source

__all__ = ["Packed", "describe", "origin", "pack", "pinned", "places", "pull", "summary_problems", "unpack"]

MOST_UNPACKED = 2**30  # bytes that unpacking may write; all suites of this repository together give 33 million
MOST_PULLED = 256 * 2**20
_CHUNK = 2**20


@dataclass(frozen=True)
class Packed:
    """What packing wrote.

    Attributes:
        archive: The archive.
        summary: The summary.
        records: How many records they are of.
    """

    archive: Path
    summary: Path
    records: int


def places(source: Source) -> tuple[Path, Path]:
    """Return where the archive and the summary of some records belong by default.

    Those of `HERE/records/NAME` are `HERE/records/NAME.jsonl.xz` and `HERE/results/NAME.json`; of a folder elsewhere
    both stand beside it.
    """
    folder = source.path.resolve().parent
    results = folder.parent / "results" if folder.name == "records" else folder
    return folder / f"{source.name}{archive.SUFFIX}", results / f"{source.name}{summary.SUFFIX}"


def pack(source: Source, archive_path: Path, summary_path: Path) -> Packed:
    """Pack records into an archive and write the summary of it.

    Args:
        source: The records: a folder of them, or an archive to write again.
        archive_path: The archive to write.
        summary_path: The summary to write.

    Raises:
        DataError: Two records have one name, a record cannot be read, or the archive does not give them back.
    """
    records = sorted(sources.read(source).values(), key=lambda record: record.name)
    with draft_folder(_folder(archive_path)) as aside:
        draft = aside / archive_path.name
        archive.write(draft, source.name, (record.model_dump(mode="json") for record in records), len(records))
        if load_archive(draft) != records:
            raise DataError(f"{source.path}: its archive does not give the same records back, so it was not kept")
        os.replace(draft, archive_path)
    summary.write(summary_path, summary.summarise(source.name, records, describe(archive_path)))
    return Packed(archive_path, summary_path, len(records))


def origin(source: Source) -> dict[str, Any]:
    """Return the summary's entry for the archive of its records; for a folder, its path alone."""
    return describe(source.path) if archive.is_archive(source.path) else {"file": str(source.path), "sha256": ""}


def describe(archive_path: Path) -> dict[str, Any]:
    """Return the summary's entry for an archive: file name, SHA-256, size and number of records."""
    return {
        "file": archive_path.name,
        "sha256": archive.sha256(archive_path),
        "bytes": archive_path.stat().st_size,
        "records": archive.read_header(archive_path).records,
    }


def summary_problems(source: Source, records: Sequence[Record]) -> list[str]:
    """Say where the summary beside an archive differs from what its records give, a line each.

    Args:
        source: The archive; of anything else, and of an archive without a summary, there is nothing to say.
        records: Its records.
    """
    if not archive.is_archive(source.path):
        return []
    _, summary_path = places(source)
    if not summary_path.is_file():
        return []
    stored_summary = summary.read(summary_path)
    computed_summary = summary.summarise(source.name, records, describe(source.path))
    return [f"{summary_path.name}: {line}" for line in summary.differences(stored_summary, computed_summary)]


def unpack(source: Source, out: Path, limit: int = MOST_UNPACKED) -> int:
    """Write a file a record.

    Args:
        source: The records, as a rule an archive.
        out: The folder to write: a new or an empty one. It holds all records or does not come to be.
        limit: How many bytes may be written.

    Returns:
        How many records there were.

    Raises:
        UsageError: `out` exists and is not empty.
        DataError: The records cannot be read, are called alike, or take more than `limit`.
    """
    records = list(sources.read(source).values())
    size = 0
    with _new_folder(out) as draft_folder:
        for record in records:
            data = record.text().encode()
            size += len(data)
            if size > limit:
                raise DataError(f"{source.path} unpacks to more than {limit >> 20} MiB: nothing was written")
            try:
                with (draft_folder / f"{record.name}{sources.RECORD}").open("xb") as file:
                    file.write(data)
            except FileExistsError as error:
                raise DataError(f"{source.path}: two records are called '{record.name}'") from error
            except OSError as error:
                raise DataError(f"the record {record.name} cannot be written: {error.strerror}") from error
    return len(records)


def pull(source: str, target: Path, sha256: str) -> int:
    """Copy an archive from a URL or path, and keep it only if it has the expected SHA-256.

    Args:
        source: A path, or a URL that fsspec knows (https://, s3://, ...).
        target: The file to write.
        sha256: The SHA-256 that its file must have, 64 hexadecimal digits.

    Returns:
        How many records it holds.

    Raises:
        UsageError: The source cannot be read, or the digest is none.
        DataError: The file has another SHA-256, is larger than an archive may be, or is no archive.
    """
    if len(sha256) != 64 or set(sha256.lower()) - set("0123456789abcdef"):
        raise UsageError(f"'{sha256}' is not a SHA-256: expected 64 hexadecimal digits")
    with draft_folder(_folder(target)) as aside:
        copy = aside / target.name
        digest = _copy(source, copy)
        if digest != sha256.lower():
            raise DataError(f"{source} has the SHA-256 {digest}, expected {sha256.lower()}: it was not kept")
        count = len(load_archive(copy))
        os.replace(copy, target)
    return count


def pinned(suite: str) -> tuple[Path, str]:
    """Return where the archive of a suite belongs, and the SHA-256 in its summary.

    Args:
        suite: A suite's TOML file, or the name of one that comes with bench.

    Raises:
        UsageError: There is no such suite.
        DataError: It has no summary.
    """
    file = find_suite(suite)
    stored_summary = summary.read(file.parent / "results" / f"{file.stem}{summary.SUFFIX}")
    return file.parent / "records" / f"{file.stem}{archive.SUFFIX}", str(stored_summary["archive"]["sha256"])


def _copy(source: str, target: Path) -> str:
    """Copy a file from anywhere, up to a size; its SHA-256."""
    import fsspec

    hasher, size = hashlib.sha256(), 0
    try:
        with fsspec.open(source, "rb") as remote, target.open("wb") as file:
            while chunk := remote.read(_CHUNK):
                size += len(chunk)
                if size > MOST_PULLED:
                    raise DataError(f"{source} is larger than {MOST_PULLED >> 20} MiB: it was not kept")
                hasher.update(chunk)
                file.write(chunk)
    except DataError:
        raise
    except Exception as error:  # every file system has errors of its own
        message = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{source} cannot be read: {type(error).__name__}: {message}") from error
    return hasher.hexdigest()


def _folder(path: Path) -> Path:
    """Make the folder of a file."""
    with io_errors(path.parent, "make"):
        path.parent.mkdir(parents=True, exist_ok=True)
    return path.parent


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder that takes the place of `out` when the block ends, and vanishes where it raises."""
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise UsageError(f"{out} exists and is not empty: expected a new folder")
    try:
        with draft_folder(_folder(out)) as aside:
            draft = aside / out.name
            draft.mkdir()
            yield draft
            os.replace(draft, out)
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from error
