"""Files of a folder, its table of labels, and the sub-folders that are splits."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath

from bench.errors import DataError
from bench.files import io_errors, printable

SPLITS = ("train", "validation", "test")
COLUMNS = ("file", "label", "group", "text")
_SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "development"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SPLIT_OF = {name: split for split, names in _SPLIT_NAMES.items() for name in names}
_BEGINS_LIKE_SPLIT = re.compile(rf"({'|'.join(_SPLIT_OF)})[-_. ]")
_EXPECTED = "expected train/ and test/, perhaps validation/; rename the folders if they are labels"


def files_below(root: Path) -> Iterator[str]:
    """List the files below a folder, hidden ones left out.

    Args:
        root: the folder.

    Yields:
        Paths relative to the root, with slashes.

    Raises:
        DataError: a link, since it may lead anywhere; a device or pipe; a folder that must not be read.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"{printable(error.filename)}: {error.strerror}") from error

    for folder, folders, files in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in (*folders, *files):
            if (Path(folder) / name).is_symlink():
                shown = printable(Path(folder) / name)
                raise DataError(f"{shown} is a link; links are refused, since they may lead anywhere")
        for name in files:
            if not name.startswith("."):
                with io_errors(Path(folder) / name, "read"):
                    if not (Path(folder) / name).is_file():
                        raise DataError(f"{printable(Path(folder) / name)} is no regular file")
                yield (Path(folder) / name).relative_to(root).as_posix()


def usable_files(root: Path, suffixes: Collection[str], others: Mapping[str, Collection[str]], table: str) -> list[str]:
    """List the files of one domain below a folder and warn of those that are left out.

    Args:
        root: the folder.
        suffixes: the endings of the domain, lower case with the dot.
        others: endings of the other domains.
        table: the name of the table, which is not counted.

    Returns:
        Paths relative to the root, with slashes, in order.

    Raises:
        DataError: there is none, or two have names that look alike in print.
    """
    all_files = sorted(files_below(root))
    files = [file for file in all_files if PurePosixPath(file).suffix.lower() in suffixes]
    rest = [file for file in all_files if file not in set(files) and file != PurePosixPath(table).as_posix()]
    if not files:
        hint = ""
        for domain, endings in others.items():
            if count := sum(PurePosixPath(file).suffix.lower() in endings for file in rest):
                hint = f"; {count} files of {domain} are there: set domain={domain}"
        raise DataError(f"{printable(root)}: no files of this domain in it ({' '.join(suffixes)}){hint}")
    shown = Counter(printable(file) for file in files)
    if len(shown) < len(files):
        raise DataError(f"{printable(root)}: two files are called '{shown.most_common(1)[0][0]}', rename one")
    if rest:
        kinds = Counter(printable(PurePosixPath(file).suffix.lower()) or "no ending" for file in rest)
        counted = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))
        more = ", ..." if len(kinds) > 5 else ""
        warnings.warn(
            f"{printable(root)}: {len(rest)} of {len(all_files)} files are left out ({counted}{more});"
            f" expected {' '.join(suffixes)}",
            stacklevel=3,
        )
    return files


def digest(root: Path) -> str:
    """Digest names, sizes, and the first, middle and last 4096 bytes of every file below a folder.

    Raises:
        DataError: a file cannot be read.
    """
    sha = hashlib.sha256()
    for file in sorted(files_below(root)):
        with io_errors(root / file, "read"):
            size = (root / file).stat().st_size
            sha.update(os.fsencode(file) + f" {size}\n".encode())
            with (root / file).open("rb") as data:
                for offset in (0, max(0, size // 2 - 2048), max(0, size - 4096)):
                    data.seek(offset)
                    sha.update(data.read(4096))
    return sha.hexdigest()[:16]


def read_table(root: Path, name: str, files: Collection[str], needed: bool) -> dict[str, dict[str, str]] | None:
    """Read the table of labels: file,label[,group][,text], paths relative to the folder.

    Args:
        root: the folder.
        name: the table's path in it.
        files: the files that may be named.
        needed: whether the table must be there.

    Returns:
        file -> its row; None where there is no table.

    Raises:
        DataError: the table is missing or no table in UTF-8, or a line does not fit.
    """
    path = _inside(root, name, "the table")
    shown = printable(path)
    with io_errors(path, "read"):
        if not path.is_file():
            if needed:
                raise DataError(f"{shown}: no such table")
            return None
        try:
            with path.open(newline="", encoding="utf-8-sig") as text:
                reader = csv.DictReader(text)
                header = tuple(reader.fieldnames or ())
                if "file" not in header or not set(header) <= set(COLUMNS):
                    raise DataError(f"{shown}: columns {','.join(header)}, expected file,label[,group][,text]")
                rows = list(reader)
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{shown}: not a table in UTF-8 that can be read ({error})") from error
    table: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise DataError(f"{shown}: line {number} has not {len(header)} columns, as the first line has")
        file = PurePosixPath(row["file"]).as_posix()
        _inside(root, row["file"], f"{shown}: line {number}")
        if file not in files:
            raise DataError(f"{shown}: line {number} names '{row['file']}', which is no file of this domain there")
        if file in table:
            raise DataError(f"{shown}: line {number} names '{row['file']}' a second time")
        table[file] = row
    if not table:
        raise DataError(f"{shown}: no rows, expected one a file")
    return table


def split_folders(root: Path, files: Collection[str], table: bool) -> dict[str, str]:
    """Find the sub-folders that are splits.

    Args:
        root: the folder, for messages.
        files: paths relative to it.
        table: whether a table names the labels, so that other sub-folders are none.

    Returns:
        Sub-folder -> "train", "validation" or "test"; empty where the sub-folders are labels.

    Raises:
        DataError: some sub-folders are splits and others are not, train or test is missing, two stand for one split,
            or the splits lie below the labels.
    """
    title = printable(root)
    tops = {PurePosixPath(file).parts[0] if "/" in file else "." for file in files}
    splits = {top: _SPLIT_OF[top.casefold()] for top in tops if top.casefold() in _SPLIT_OF}
    other_folders = sorted(tops - set(splits))
    split_like = {top: match[1] for top in other_folders if (match := _BEGINS_LIKE_SPLIT.match(top.casefold()))}
    if not splits and len({_SPLIT_OF[name] for name in split_like.values()}) < 2:
        if not table:
            _refuse_splits_below_labels(title, files)
        return {}
    if other_folders and len(splits) == 1 and not split_like:
        return {}  # a label that is called like a split
    if other_folders:
        beside = " and ".join(map(printable, sorted(splits) or sorted(split_like)[1:]))
        first = sorted(split_like)[0] if not splits else sorted(split_like or other_folders)[0]
        raise DataError(f"{title}: '{printable(first)}' lies beside {beside}; {_EXPECTED}")
    folders_by_split = [sorted(top for top in splits if splits[top] == split) for split in SPLITS]
    if pair := next((pair for pair in folders_by_split if len(pair) > 1), None):
        raise DataError(f"{title}: {' and '.join(f'{top}/' for top in pair)} stand for one split, expected one of them")
    if not {"train", "test"} <= set(splits.values()):
        raise DataError(f"{title}: found {' and '.join(f'{top}/' for top in sorted(splits))}; {_EXPECTED}")
    return splits


def _refuse_splits_below_labels(title: str, files: Collection[str]) -> None:
    """Raise a `DataError` where every file lies in label/split/."""
    parts = [PurePosixPath(file).parts for file in files]
    second_parts = {part[1].casefold() if len(part) > 2 else "" for part in parts}
    if second_parts <= set(_SPLIT_OF) and len({_SPLIT_OF[name] for name in second_parts}) > 1:
        label, split = sorted(parts)[0][:2]
        layout = f"{printable(label)}/{split}/"
        raise DataError(f"{title}: found {layout}, expected the split above the label: {split}/{printable(label)}/")


def _inside(root: Path, name: str, what: str) -> Path:
    """Resolve a path that a name states. Raises `DataError` if it leads out of the root or through a link."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or ".." in parts or "\0" in name or PurePosixPath(name).is_absolute() or Path(name).is_absolute():
        raise DataError(
            f"{what} names '{printable(name.replace(chr(0), '?'))}', expected a path below {printable(root)}"
        )
    path = root
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise DataError(f"{printable(path)} is a link; links are refused, since they may lead anywhere")
    return path
