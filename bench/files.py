"""Output files: checked before the work, and replaced atomically.

A command checks its output with `check_output` before the work and writes it inside `replacing`: to a draft beside the
target, which the caller reads again, and which is flushed to the disk and renamed. On any error, Ctrl-C, SIGTERM or
SIGHUP, the target is unchanged and the draft is removed. A process that is killed cannot remove its draft: the next
command that writes into the folder does. It tells those drafts from others' by a lock that ends with its process.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import hashlib
import json
import os
import secrets
import shutil
import signal
import stat
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from bench.errors import DataError, UsageError

if sys.platform != "win32":
    import fcntl

__all__ = [
    "Terminated",
    "check_folder",
    "check_output",
    "check_source",
    "draft_folder",
    "folder_of",
    "io_errors",
    "json_text",
    "printable",
    "replacing",
    "require_space",
    "sync",
    "write_json",
    "write_text",
]

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
_LONGEST_NAME = 255  # bytes of one name in every common file system
_OWNER = ".bench-owner"  # a file in a folder: the path of what its content comes from
_DRAFTS = ".bench-draft-"  # what the folders of drafts are called at first


class Terminated(SystemExit):
    """The process got SIGTERM or SIGHUP while it wrote a file; the exit code is 128 + the signal, as a shell's."""


def check_source(source: Path) -> None:
    """Check that a source is a regular file that may be read.

    Args:
        source: the file.

    Raises:
        DataError: it is missing, a folder, a device or pipe, or must not be read. One line.
    """
    with io_errors(source, "read"):
        if not source.exists():
            raise DataError(_missing(source))
        mode = source.stat().st_mode
        if stat.S_ISDIR(mode):
            raise DataError(f"'{printable(source)}' is a folder, expected a file")
        if not stat.S_ISREG(mode):
            raise DataError(f"'{printable(source)}' is a device or a pipe, expected a regular file")
        with source.open("rb"):
            pass


def check_output(out: Path, *, sources: Collection[Path] = (), suffixes: Collection[str] = (), force: bool) -> None:
    """Check before the work that `out` can be written, without writing it.

    Args:
        out: the file to write.
        sources: files that must not be written over, whatever `force` says.
        suffixes: the endings that can be written, lower case with the dot; empty: any.
        force: an existing file may be replaced.

    Raises:
        UsageError: the ending is not one of `suffixes`, the folder is missing or not writable, the name is too long,
            `out` is a source, a folder or a device, or exists without `force`. One line.
    """
    name = printable(out)
    if str(out) == "-":
        raise UsageError("cannot write to standard output ('-'), expected a file name such as out.wav")
    if suffixes and out.suffix.lower() not in suffixes:
        raise UsageError(
            f"{name}: cannot write '{printable(out.suffix)}' files, expected {', '.join(sorted(suffixes))}"
        )
    if len(os.fsencode(out.name)) > _LONGEST_NAME:
        raise UsageError(f"{name}: name of {len(os.fsencode(out.name))} bytes, expected at most {_LONGEST_NAME}")
    try:
        folder = out.resolve().parent
        if not folder.is_dir():
            raise UsageError(f"{name}: the folder {printable(folder)} does not exist: create it, or give another")
        if out.exists():
            if any(source.exists() and out.samefile(source) for source in sources):
                raise UsageError(f"{name} is the source itself: give another name")
            if not out.is_file():
                raise UsageError(f"{name} is not a regular file: give another name")
            if not force:
                raise UsageError(f"{name} exists: give another name, or --force to write over it")
        with draft_folder(folder):
            pass
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"cannot write {name}: {_reason(error)}") from error


def check_folder(out: Path) -> None:
    """Check before the work that files can be written into `out`, which may not be there yet; nothing is left there.

    Args:
        out: the folder.

    Raises:
        UsageError: it is a file, its name is too long, or neither it nor a folder above it can be written. One line.
    """
    name = printable(out)
    try:
        existing = out.resolve()
        while not existing.exists():
            size = len(os.fsencode(existing.name))
            if size > _LONGEST_NAME:
                raise UsageError(f"{name}: name of {size} bytes, expected at most {_LONGEST_NAME}")
            existing = existing.parent
        if not existing.is_dir():
            raise UsageError(f"{name}: {printable(existing)} is a file, expected a folder")
        with draft_folder(existing):
            pass
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"cannot write into {name}: {_reason(error)}") from error


@contextlib.contextmanager
def replacing(out: Path, *, force: bool = True) -> Iterator[Path]:
    """Write a file whole or not at all.

    Write to the yielded draft, read it again and compare inside the block; on leaving the block the draft is flushed to
    the disk, gets the permissions of the file that it replaces, and is renamed to `out`. An exception, Ctrl-C, SIGTERM
    or SIGHUP inside the block removes the draft and leaves `out` as it was.

    Args:
        out: the target; a link is followed, so that it stays a link.
        force: replace a file that is there when the block ends.

    Yields:
        The path of the draft: same folder, same suffix, not yet created. Other files may be put beside it; they are
        removed.

    Raises:
        UsageError: an `OSError` inside the block or while renaming (disk full, quota, permission), in one line.
    """
    try:
        target = out.resolve()
        with _terminable(), draft_folder(target.parent) as aside:
            draft = aside / f"draft-{secrets.token_hex(4)}{out.suffix}"
            yield draft
            sync(draft)
            if target.exists():
                if not force:
                    raise UsageError(f"{printable(out)} was created in the meantime: give another name, or --force")
                shutil.copymode(target, draft)
            os.replace(draft, target)
            _sync_folder(target.parent)
    except OSError as error:
        raise UsageError(f"cannot write {printable(out)}: {_reason(error)}") from error


@contextlib.contextmanager
def draft_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder for drafts that ends with the block, and remove those that killed processes have left.

    Args:
        parent: The folder that it is made in.

    Yields:
        Its path. It is locked as long as this process lives.

    Raises:
        OSError: It cannot be made.
    """
    for stale in parent.glob(f"{_DRAFTS}*"):
        with _locked(stale, wait=False) as is_free:
            if is_free:
                shutil.rmtree(stale, ignore_errors=True)
    while True:
        with tempfile.TemporaryDirectory(prefix=_DRAFTS, dir=parent) as name, _locked(Path(name), wait=True):
            if Path(name).is_dir():  # else another process has taken it for a killed one's before it was locked
                yield Path(name)
                return


@contextlib.contextmanager
def _locked(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Lock a folder inside the block; yield whether it is locked. A file system or a platform may have no locks."""
    descriptor, is_locked = None, False
    try:
        with contextlib.suppress(OSError):  # locked by another process, just removed, or without locks
            if sys.platform != "win32":
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                is_locked = True
        yield is_locked
    finally:
        if descriptor is not None:
            os.close(descriptor)


def folder_of(owner: Path, folder: Path) -> Path:
    """Return the folder of an owner, such as a suite: the one wished for, or one beside it if another owner has that.

    Args:
        owner: What the folder's content comes from, a file or a folder.
        folder: The folder that is wished for; made, and marked with its first owner, where it is nobody's.

    Raises:
        OSError: It cannot be made or marked.
    """
    mark, here = folder / _OWNER, str(owner.resolve())
    there = mark.read_text(encoding="utf-8") if mark.is_file() else here
    if there != here and Path(there).exists():
        return folder.with_name(f"{folder.name}-{hashlib.sha256(here.encode()).hexdigest()[:6]}")
    write_text(mark, here)
    return folder


def require_space(path: Path, size: int) -> None:
    """Check that a file of `size` bytes fits on its disk.

    Args:
        path: the file to write; its folder exists.
        size: bytes that it will take.

    Raises:
        OSError: ENOSPC with the file's name, the bytes needed and the bytes free.
    """
    free = shutil.disk_usage(path.parent).free
    if size > free:
        reason = f"{os.strerror(errno.ENOSPC)}: {size:,} bytes needed, {free:,} free"
        raise OSError(errno.ENOSPC, reason, os.fspath(path))


def json_text(value: Any) -> str:
    """Return a value as indented JSON with a final line feed.

    Args:
        value: What `json` can write.

    Returns:
        The text.

    Raises:
        ValueError: It contains NaN or infinity.
    """
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, atomically as `write_text`.

    Args:
        path: The file; its folder is created where it is missing.
        value: What `json` can write.

    Raises:
        ValueError: It contains NaN or infinity; nothing is written.
        OSError: It cannot be written; the old file stays.
    """
    write_text(path, json_text(value))


def write_text(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the new one, never a part.

    Args:
        path: the file; its folder is made where it is missing.
        text: what it shall hold.

    Raises:
        OSError: it cannot be written; the old file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def io_errors(path: str | os.PathLike[str], verb: str) -> Iterator[None]:
    """Turn every `OSError` of the block into a one-line `DataError` ("cannot {verb} '{path}': permission denied").

    Args:
        path: the file that the block works on.
        verb: what is done with it: "read", "write".

    Raises:
        DataError: in place of the `OSError`.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"no file '{printable(path)}'") from error
    except OSError as error:
        raise DataError(f"cannot {verb} '{printable(path)}': {_reason(error)}") from error


def sync(path: Path) -> None:
    """Flush a file to the disk.

    Args:
        path: the file.

    Raises:
        OSError: the disk is full or failed; delayed writes report it here.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def printable(path: str | os.PathLike[str]) -> str:
    """Return a path as one line of text; control characters and bytes that are not UTF-8 are escaped (`\\xff`).

    Args:
        path: The path.

    Returns:
        The text.
    """
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _missing(file: Path) -> str:
    """Build the message for a missing file, with the nearest name in its folder."""
    try:
        neighbours = [entry.name for entry in file.parent.iterdir()]
    except OSError:
        return f"no file '{printable(file)}': there is no folder '{printable(file.parent)}'"
    if file.is_symlink():
        return f"'{printable(file)}' is a link to '{printable(os.readlink(file))}', which leads to no file"
    nearest = difflib.get_close_matches(file.name, neighbours, n=1, cutoff=0.6)
    hint = f": did you mean '{printable(nearest[0])}'?" if nearest else f" in the folder '{printable(file.parent)}'"
    return f"no file '{printable(file)}'{hint}"


def _reason(error: BaseException) -> str:
    """Return the operating system's words for an error, lower case."""
    return str(getattr(error, "strerror", None) or error).lower()


def _sync_folder(folder: Path) -> None:
    """Flush a rename to the disk where the system lets a folder be opened."""
    with contextlib.suppress(OSError):  # Windows and some network file systems refuse; the file itself is safe
        sync(folder)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise `Terminated` inside the block, so that drafts are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise Terminated(128 + number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        if before[number] is signal.SIG_DFL:
            signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is signal.SIG_DFL:
                signal.signal(number, handler)
