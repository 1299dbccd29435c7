"""Where records are: a folder of record files, one record file, an archive, or a suite by name or file.

Whatever reads records takes any of these. A suite's records lie beside its file: in `records/NAME.jsonl.xz`, an
archive, or in `records/NAME/`, a folder. Where both are there the folder is read, since running a suite again writes
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

__all__ = ["Source", "find", "read", "records_folder", "records_of", "suite_files"]

RECORD = ".json"
SUITE = ".toml"


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


def find(what: str | Path) -> Source:
    """Find the records that a word means.

    Args:
        what: A folder of record files, one record file, an archive, a suite's TOML file, or the name of a suite that
            has records.

    Raises:
        UsageError: It is none of these.
    """
    path = Path(what)
    if path.suffix == SUITE:
        if not path.is_file():
            raise UsageError(f"the suite {path} does not exist: expected a TOML file, or one of {_listed()}")
        return Source(path.stem, records_of(path), path)
    if path.is_dir() or path.is_file() or path.suffix == RECORD or archive.is_archive(path):
        if not path.exists():
            raise UsageError(f"{path} does not exist: expected records, or one of {_listed()}")
        whole = path.resolve()
        if path.suffix == RECORD:
            return Source(whole.parent.name, path)
        suite = whole.parent.parent / f"{_stem(whole)}{SUITE}"
        return Source(_stem(whole), path, suite if suite.is_file() else None)
    available = suite_files()
    if str(what) not in available:
        raise UsageError(unknown("suite with records, folder or archive", str(what), available))
    return Source(str(what), records_of(available[str(what)]), available[str(what)])


def read(source: Source) -> Mapping[str, Record]:
    """Read records.

    Returns:
        Where each stands -> the record: a file's name, or the name of the record in an archive.

    Raises:
        DataError: There are none, one is no record, or one leads elsewhere.
    """
    if source.path.is_file() and archive.is_archive(source.path):
        records = {record.name: record for record in load_archive(source.path)}
    else:
        for file in source.files():
            if file.is_symlink():
                raise DataError(f"{file} is a link: a record is a plain file")
        read = load_all(source.path) if source.path.is_dir() else [load(source.path)] if source.path.is_file() else []
        records = {f"{record.name}{RECORD}": record for record in read}
    if not records:
        again = f": run `bench matrix {source.suite}` first" if source.suite else f": expected {RECORD} files in it"
        raise DataError(f"{source.path} holds no record{again}")
    return records


def records_folder(suite: Path) -> Path:
    """Return where a suite's records are written: beside its file and called by it, whatever its `name` is."""
    return suite.absolute().parent / "records" / suite.stem


def records_of(suite: Path) -> Path:
    """Return where the records of a suite's file are: the folder, where it holds any, else the archive."""
    folder = records_folder(suite)
    packed = folder.with_name(f"{folder.name}{archive.SUFFIX}")
    return packed if packed.is_file() and not any(folder.glob(f"*{RECORD}")) else folder


def suite_files(folder: Path | None = None) -> dict[str, Path]:
    """Return the suites of a folder that have records, by name; by default of `leaderboards/`."""
    files = sorted((folder or plugins.home() / "leaderboards").glob(f"*{SUITE}"))
    return {path.stem: path for path in files if (at := records_of(path)).is_file() or any(at.glob(f"*{RECORD}"))}


def _stem(path: Path) -> str:
    """Return what a folder, file or archive is called."""
    return path.name.removesuffix(archive.SUFFIX) if archive.is_archive(path) else path.stem


def _listed() -> str:
    """Return the names of the suites that have records."""
    return ", ".join(suite_files()) or "a suite that was run"
