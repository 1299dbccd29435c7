"""Where records are: a folder of record files, one record file, an archive, or a suite by name or file.

All commands that read records take any of these. A suite's records are beside its file: in `records/NAME.jsonl.xz`, an
archive, or in `records/NAME/`, a folder. Suites in a folder `tracks` or `studies` have one folder `records` beside
those two. Where both are there the folder is read, since running a suite again writes
there; `bench records pack` makes an archive of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import plugins
from bench.errors import DataError, UsageError, unknown
from bench.results import archive
from bench.results.reading import load, load_all, load_archive
from bench.results.record import Record

__all__ = [
    "SUITE_FOLDERS",
    "Source",
    "all_suites",
    "find",
    "has_records",
    "read",
    "records_folder",
    "records_of",
    "suite_files",
]

RECORD = ".json"
SUITE = ".toml"
SUITE_FOLDERS = ("tracks", "studies")  # in which suites stand, beside the folder of their records


@dataclass(frozen=True)
class Source:
    """Records somewhere.

    Attributes:
        name: What they are called: the suite's name, or that of the folder or file.
        path: A folder of record files, a record file, or an archive.
        suite: The suite's file, where the records are those of a suite.
    """

    name: str
    path: Path
    suite: Path | None = None

    def files(self) -> list[Path]:
        """Return the record files of a folder by name, and the path itself where it is a file."""
        return sorted(self.path.glob(f"*{RECORD}")) if self.path.is_dir() else [self.path]


def find(word: str | Path) -> Source:
    """Find records by the word that a user gives.

    Args:
        word: A folder of record files, one record file, an archive, a suite's TOML file, or the name of a suite that
            has records.

    Raises:
        UsageError: It is none of these.
    """
    path = Path(word)
    if path.suffix == SUITE:
        if not path.is_file():
            raise UsageError(f"the suite {path} does not exist: expected a TOML file, or one of {_listed()}")
        return Source(path.stem, records_of(path), path)
    if path.is_dir() or path.is_file() or path.suffix == RECORD or archive.is_archive(path):
        if not path.exists():
            raise UsageError(f"{path} does not exist: expected records, or one of {_listed()}")
        absolute = path.resolve()
        if path.suffix == RECORD:
            return Source(absolute.parent.name, path)
        suite = all_suites(absolute.parent.parent).get(_stem(absolute))
        return Source(_stem(absolute), path, suite)
    suites = suite_files()
    if str(word) not in suites:
        raise UsageError(unknown("suite with records, folder or archive", str(word), suites))
    return Source(str(word), records_of(suites[str(word)]), suites[str(word)])


def read(source: Source) -> Mapping[str, Record]:
    """Read records.

    Returns:
        Name of the file, or of the record in an archive -> the record.

    Raises:
        DataError: There are none, one is no record, or one leads elsewhere.
    """
    if source.path.is_file() and archive.is_archive(source.path):
        records = {record.name: record for record in load_archive(source.path)}
    else:
        for file in source.files():
            if file.is_symlink():
                raise DataError(f"{file} is a link: a record is a plain file")
        record_list = (
            load_all(source.path) if source.path.is_dir() else [load(source.path)] if source.path.is_file() else []
        )
        records = {f"{record.name}{RECORD}": record for record in record_list}
    if not records:
        hint = f": run `bench matrix {source.suite}` first" if source.suite else f": expected {RECORD} files in it"
        raise DataError(f"{source.path} holds no record{hint}")
    return records


def records_folder(suite: Path) -> Path:
    """Return where a suite's records are written: beside its file and called by it, whatever its `name` is."""
    folder = suite.absolute().parent
    return (folder.parent if folder.name in SUITE_FOLDERS else folder) / "records" / suite.stem


def records_of(suite: Path) -> Path:
    """Return where the records of a suite's file are: the folder, where it holds any, else the archive."""
    folder = records_folder(suite)
    archive_path = folder.with_name(f"{folder.name}{archive.SUFFIX}")
    return archive_path if archive_path.is_file() and not any(folder.glob(f"*{RECORD}")) else folder


def has_records(suite: Path) -> bool:
    """Return whether a suite's file has records: an archive, or a folder that holds any."""
    path = records_of(suite)
    return path.is_file() or any(path.glob(f"*{RECORD}"))


def all_suites(folder: Path | None = None) -> dict[str, Path]:
    """Return the suites of a folder and of its `tracks` and `studies`, by name; by default of `leaderboards/`."""
    top = folder or plugins.home() / "leaderboards"
    files = [file for place in (top, *(top / name for name in SUITE_FOLDERS)) for file in place.glob(f"*{SUITE}")]
    return {file.stem: file for file in sorted(files, key=lambda file: file.stem)}


def suite_files(folder: Path | None = None) -> dict[str, Path]:
    """Return those of `all_suites` that have records."""
    return {name: path for name, path in all_suites(folder).items() if has_records(path)}


def _stem(path: Path) -> str:
    """Return what a folder, file or archive is called."""
    return path.name.removesuffix(archive.SUFFIX) if archive.is_archive(path) else path.stem


def _listed() -> str:
    """Return the names of the suites that have records."""
    return ", ".join(suite_files()) or "a suite that was run"
