"""Store of artefacts by content key: a folder, or any fsspec URL (s3://, gs://, memory://), one folder a key.

An artefact is complete if and only if its `done.json` exists: it is written last. In a local store the files are
written into a temporary folder, flushed to the disk and renamed into place at once. In a remote store every writer
uploads into a folder of its own below the key's, and then writes `done.json`, which names that folder: readers thus
read the files of one writer, and never those of a broken upload. Two writers of one key write the same content, so the
second changes nothing. Only plain file names are accepted, so that no `done.json` can refer to a file outside its
folder.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.extras import command
from bench.files import json_text, printable, write_json

DONE = "done.json"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_STALE_SECONDS = 24 * 3600
_MOST_SINGLE_QUERIES = 32  # for more keys, one listing of a remote store is faster than a query for each


def default_url() -> str:
    """Return $BENCH_STORE, or else the user's cache folder.

    Returns:
        A path or an fsspec URL.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return os.environ.get("BENCH_STORE") or str(Path(cache) / "cloakbench")


class Store:
    """Artefacts under a folder or an fsspec URL.

    Args:
        url: The folder or URL; created where it does not exist.

    Raises:
        UsageError: The store cannot be created or reached.
    """

    def __init__(self, url: str | os.PathLike[str]):
        text = os.fspath(url)
        local = "://" not in text or text.startswith("file://")
        self._remote: _Remote | None = None
        if local:
            self.url = str(Path(text.removeprefix("file://")).expanduser().resolve())
            self.root = Path(self.url)
        else:
            self.url = text.rstrip("/")
            mirror = hashlib.sha256(self.url.encode()).hexdigest()[:16]
            self.root = Path(default_url() if "://" not in default_url() else tempfile.gettempdir()) / "remote" / mirror
            self._remote = _Remote(self.url)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"the store '{text}' cannot be used: {error.strerror}: give a folder or an fsspec URL"
            ) from error

    def has(self, key: str) -> bool:
        """Return whether an artefact is complete, with every file present and of its full size.

        Args:
            key: The artefact's key.

        Returns:
            Whether it is complete.
        """
        if self._has_here(key):
            return True
        return self._remote is not None and self._remote.has(key)

    def present(self, keys: Iterable[str]) -> frozenset[str]:
        """Return the keys whose artefacts are complete; faster than `has` for many keys.

        Args:
            keys: The keys to look up.

        Returns:
            Those that are complete.
        """
        key_list = list(keys)
        stored = {key for key in key_list if self._has_here(key)}
        absent = [key for key in key_list if key not in stored]
        if self._remote is not None and absent:
            stored |= self._remote.present(absent)
        return frozenset(stored)

    def probe(self) -> None:
        """Write a byte, to find out before hours of work whether the store is writable.

        Raises:
            UsageError: The store cannot be written.
        """
        if self._remote is not None:
            self._remote.probe()
            return
        try:
            with self._aside("probe"):
                pass
        except OSError as error:
            raise UsageError(f"the store '{self.url}' cannot be written: {error.strerror}") from error

    def meta(self, key: str) -> dict[str, Any]:
        """Return the artefact's `done.json`.

        Args:
            key: The artefact's key.

        Returns:
            The parsed JSON.

        Raises:
            KeyError: The artefact is not complete.
        """
        done: dict[str, Any] = self.json(key, DONE)
        return done

    def json(self, key: str, name: str) -> Any:
        """Read one JSON file of an artefact, without fetching the others.

        Args:
            key: The artefact's key.
            name: The file's name.

        Returns:
            The parsed JSON; None where the artefact has no such file.

        Raises:
            KeyError: The artefact is not complete.
            ValueError: `name` is not a plain file name.
        """
        if not _PLAIN.fullmatch(name):
            raise ValueError(f"'{name}' is not a plain file name, expected letters, digits, '.', '_' and '-'")
        folder = self._folder(key)
        if self._has_here(key):
            return json.loads((folder / name).read_text(encoding="utf-8")) if (folder / name).is_file() else None
        if self._remote is None:
            raise KeyError(key)
        return self._remote.json(key, name)

    def open(self, key: str) -> Path:
        """Return the local folder of an artefact, fetched if the store is remote.

        Args:
            key: The artefact's key.

        Returns:
            The folder.

        Raises:
            KeyError: The artefact is not complete.
        """
        folder = self._folder(key)
        if not self._has_here(key):
            if self._remote is None:
                raise KeyError(key)
            with self._aside(key) as aside:
                self._remote.fetch(key, aside)
                self._settle(aside, folder)
        return folder

    def locate(self, key: str) -> str:
        """Return the folder of an artefact as text for messages.

        Args:
            key: The artefact's key.

        Returns:
            The path; or the key, with the remark that the store lacks it.
        """
        return str(self.open(key)) if self.has(key) else f"{key} (not in {self.url})"

    @contextmanager
    def write(self, key: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yield a new folder and a mapping for `done.json`; they become the artefact unless an error is raised.

        Args:
            key: The artefact's key.

        Returns:
            A context manager that gives the folder and the mapping.

        Raises:
            ValueError: A file has a name that is not plain, or is called `done.json`.
        """
        meta: dict[str, Any] = {}
        with self._full_disk(), self._aside(key) as aside:
            yield aside, meta
            files = {path.name: path.stat().st_size for path in sorted(aside.iterdir())}
            for name in files:
                if not _PLAIN.fullmatch(name) or name == DONE:
                    raise ValueError(
                        f"an artefact cannot hold a file named '{name}', expected a plain name other than {DONE}"
                    )
            (aside / DONE).write_text(json_text({**meta, "key": key, "files": files}), encoding="utf-8")
            if self._remote is not None:
                if self._remote.has(key):  # another writer was first: theirs is what everybody reads
                    return
                self._remote.upload(key, aside)
            self._settle(aside, self._folder(key))

    def sweep(self) -> int:
        """Remove temporary folders of interrupted writers that are older than a day.

        Returns:
            How many folders were removed.
        """
        limit = time.time() - _STALE_SECONDS
        stale = [folder for folder in (self.root / "tmp").glob("*") if folder.stat().st_mtime < limit]
        for folder in stale:
            shutil.rmtree(folder, ignore_errors=True)
        return len(stale)

    def _folder(self, key: str) -> Path:
        if not _PLAIN.fullmatch(key):
            raise ValueError(f"'{key}' is not a key, expected letters, digits, '.', '_' and '-'")
        return self.root / "artefacts" / key[:2] / key

    def _has_here(self, key: str) -> bool:
        folder = self._folder(key)
        try:
            files = self._done(folder)["files"]
            return all(
                _PLAIN.fullmatch(name) and (folder / name).stat().st_size == size for name, size in files.items()
            )
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            return False  # absent, truncated or of another format: the stage is done again

    @staticmethod
    def _done(folder: Path) -> dict[str, Any]:
        done = json.loads((folder / DONE).read_text(encoding="utf-8"))
        if not isinstance(done, dict):
            raise ValueError(f"{folder / DONE} does not hold a JSON object")
        return done

    @contextmanager
    def _full_disk(self) -> Iterator[None]:
        """Turn the errors of a full disk into a `UsageError` of one line."""
        try:
            yield
        except OSError as error:
            if error.errno not in _NO_SPACE:
                raise
            path = error.filename if isinstance(error.filename, str) else str(self.root)
            reason = (error.strerror or os.strerror(error.errno or 0)).lower()
            raise UsageError(f"the store '{self.url}' cannot be written: '{printable(path)}': {reason}") from error

    @contextmanager
    def _aside(self, key: str) -> Iterator[Path]:
        parent = self.root / "tmp"
        parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f"{key}-", dir=parent))
        try:
            yield aside
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _settle(self, aside: Path, folder: Path) -> None:
        """Move a finished folder into place, unless another writer was first."""
        for path in aside.iterdir():
            _flush(path)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists() and not self._has_here(folder.name):
            shutil.rmtree(folder, ignore_errors=True)
        try:
            aside.rename(folder)
        except OSError:
            if not self._has_here(folder.name):
                raise
        _flush(folder.parent)


class _Remote:
    """A remote store on an fsspec file system. Every error there becomes a `UsageError` of one line."""

    def __init__(self, url: str):
        import fsspec

        self._url = url
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            reason = f"its package is not installed: {command('s3')}" if url.startswith("s3:") else str(error)
            raise UsageError(f"the store '{url}' cannot be used: {reason}") from error
        except ValueError as error:
            raise UsageError(f"the store '{url}' cannot be used: {error}") from error

    def has(self, key: str) -> bool:
        with self._reached():
            self._fs.invalidate_cache()
            return bool(self._fs.exists(self._path(key, DONE)))

    def present(self, keys: list[str]) -> set[str]:
        if len(keys) <= _MOST_SINGLE_QUERIES:
            return {key for key in keys if self.has(key)}
        with self._reached():
            self._fs.invalidate_cache()
            paths = self._fs.find(f"{self._root}/artefacts")
        done = {path.split("/")[-2] for path in paths if path.endswith(f"/{DONE}")}
        return done & set(keys)

    def probe(self) -> None:
        with self._reached():
            self._fs.pipe_file(f"{self._root}/probe", b"\n")

    def json(self, key: str, name: str) -> Any:
        done = self._done(key)
        if name == DONE:
            return done
        if name not in done["files"]:
            return None
        with self._reached():
            return json.loads(self._fs.cat_file(self._path(key, done["folder"], name)))

    def fetch(self, key: str, folder: Path) -> None:
        done = self._done(key)
        for name, size in done["files"].items():
            with self._reached():
                self._fs.get_file(self._path(key, done["folder"], name), str(folder / name))
            if (folder / name).stat().st_size != size:
                raise UsageError(
                    f"the store '{self._url}': artefact {key}: {name} is truncated, expected {size} bytes: remove it"
                )
        write_json(folder / DONE, done)

    def upload(self, key: str, folder: Path) -> None:
        done = json.loads((folder / DONE).read_text(encoding="utf-8"))
        folder_name = uuid.uuid4().hex
        with self._reached():
            # No folder is created first: s3fs would create a bucket for a mistyped name.
            for name in done["files"]:
                self._fs.put_file(str(folder / name), self._path(key, folder_name, name))
            self._fs.pipe_file(self._path(key, DONE), json_text({**done, "folder": folder_name}).encode())

    def _path(self, key: str, *names: str) -> str:
        return "/".join([self._root, "artefacts", key[:2], key, *names])

    def _done(self, key: str) -> dict[str, Any]:
        """Return the artefact's `done.json`, with every name in it plain. Raise `KeyError` where there is none."""
        with self._reached():
            try:
                text = self._fs.cat_file(self._path(key, DONE))
            except FileNotFoundError:
                text = None
        if text is None:
            raise KeyError(key)
        try:
            done: dict[str, Any] = json.loads(text)
            names = [done["folder"], *done["files"]]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"the store '{self._url}': {DONE} of artefact {key} is not valid: remove it") from error
        for name in names:
            if not _PLAIN.fullmatch(name):
                raise UsageError(
                    f"artefact {key} of the store '{self._url}' lists a file '{name}', expected a plain name: remove it"
                )
        return done

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Turn any error of the file system (endpoint, bucket, credentials, rights) into a `UsageError`."""
        try:
            yield
        except Exception as error:
            message = " ".join(str(error).split()) or type(error).__name__
            raise UsageError(f"the store '{self._url}' cannot be used: {type(error).__name__}: {message}") from error


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
