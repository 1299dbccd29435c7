"""Artefacts by content: a folder, or any fsspec URL (s3://, gs://, memory://), one folder a key.

An artefact is complete if and only if its `done.json` is there: it is written last. In a local store the files are made
in a folder aside, flushed to the disk and renamed into place at once; in a remote one they are uploaded before
`done.json` is. Two writers of one key write the same content, so whoever comes second changes nothing. Only plain file
names are accepted: nothing that a `done.json` says can lead out of its folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.errors import UsageError

DONE = "done.json"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_STALE_SECONDS = 24 * 3600


def default_url() -> str:
    """$BENCH_STORE, or the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return os.environ.get("BENCH_STORE") or str(Path(cache) / "cloakbench")


class Store:
    """Artefacts under a folder or an fsspec URL.

    Raises `UsageError` where the place cannot be used.
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
        """Whether the artefact is complete. A file that is missing or cut short makes it incomplete."""
        if self._has_here(key):
            return True
        return self._remote is not None and self._remote.has(key)

    def meta(self, key: str) -> dict[str, Any]:
        """The artefact's `done.json`. Raises `KeyError` where it is not complete."""
        return self._done(self.open(key))

    def open(self, key: str) -> Path:
        """The local folder of a complete artefact, fetched if the store is remote. Raises `KeyError`."""
        folder = self._folder(key)
        if not self._has_here(key):
            if self._remote is None or not self._remote.has(key):
                raise KeyError(key)
            with self._aside(key) as aside:
                self._remote.fetch(key, aside)
                self._settle(aside, folder)
        return folder

    @contextmanager
    def write(self, key: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        """A folder to write files into and a mapping for `done.json`: the artefact, unless an error is raised."""
        meta: dict[str, Any] = {}
        with self._aside(key) as aside:
            yield aside, meta
            files = {path.name: path.stat().st_size for path in sorted(aside.iterdir())}
            for name in files:
                if not _PLAIN.fullmatch(name) or name == DONE:
                    raise ValueError(f"an artefact cannot hold a file named '{name}'")
            (aside / DONE).write_text(_dumps({**meta, "key": key, "files": files}), encoding="utf-8")
            if self._remote is not None:
                self._remote.upload(key, aside)
            self._settle(aside, self._folder(key))

    def sweep(self) -> int:
        """Remove what interrupted writers left more than a day ago; how many folders that was."""
        limit = time.time() - _STALE_SECONDS
        stale = [folder for folder in (self.root / "tmp").glob("*") if folder.stat().st_mtime < limit]
        for folder in stale:
            shutil.rmtree(folder, ignore_errors=True)
        return len(stale)

    def _folder(self, key: str) -> Path:
        if not _PLAIN.fullmatch(key):
            raise ValueError(f"not a key: '{key}'")
        return self.root / "artefacts" / key[:2] / key

    def _has_here(self, key: str) -> bool:
        folder = self._folder(key)
        try:
            files = self._done(folder)["files"]
            return all(
                _PLAIN.fullmatch(name) and (folder / name).stat().st_size == size for name, size in files.items()
            )
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            return False  # not there, cut short, or not ours: it will be made again

    @staticmethod
    def _done(folder: Path) -> dict[str, Any]:
        done = json.loads((folder / DONE).read_text(encoding="utf-8"))
        if not isinstance(done, dict):
            raise ValueError(f"{folder / DONE} is not a JSON object")
        return done

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
        """Move a finished folder into its place, unless another writer was first."""
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
    """The far side of a store: an fsspec file system."""

    def __init__(self, url: str):
        import fsspec

        try:
            self._fs, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise UsageError(f"the store '{url}' cannot be used: {error}") from error

    def _at(self, key: str, name: str) -> str:
        return f"{self._root}/artefacts/{key[:2]}/{key}/{name}"

    def has(self, key: str) -> bool:
        self._fs.invalidate_cache()
        return bool(self._fs.exists(self._at(key, DONE)))

    def fetch(self, key: str, folder: Path) -> None:
        done = json.loads(self._fs.cat_file(self._at(key, DONE)))
        for name in done["files"]:
            if not _PLAIN.fullmatch(name):
                raise UsageError(f"artefact {key} names a file '{name}', which is not a plain name: it is not used")
            self._fs.get_file(self._at(key, name), str(folder / name))
        write_json(folder / DONE, done)

    def upload(self, key: str, folder: Path) -> None:
        names = [path.name for path in folder.iterdir() if path.name != DONE]
        self._fs.makedirs(self._at(key, "").rstrip("/"), exist_ok=True)
        for name in [*names, DONE]:
            self._fs.put_file(str(folder / name), self._at(key, name))


def write_json(path: Path, value: Any) -> None:
    """Write JSON as `write_text` does. NaN is refused."""
    write_text(path, _dumps(value))


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(aside, 0o644)
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def _dumps(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
