"""Send a stage to another machine with the user's plugin files, and check there that its sources match.

Plugins of the checkout, or of an installed package, are sent by name and must be on the other machine already; a plugin
that is a user's file is sent as source. Keys name results by source digests, so a machine with other code, or another
store, must refuse the stage: its results would be stored under wrong keys.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bench import plugins
from bench.devices import CPU
from bench.errors import BenchError, DataError, PluginError
from bench.sources import folder_files
from bench.trials.plan import Stage
from bench.trials.scheduler import Outcome
from bench.trials.stages import perform
from bench.trials.store import Store
from bench.trials.trial import Part

Files = Mapping[str, bytes]  # path relative to the plugin's folder -> content


@dataclass(frozen=True)
class RemoteTask:
    """A stage with the sources of those of its plugins that are users' files, by digest."""

    stage: Stage
    sources: Mapping[str, Files]
    device: str = CPU


def serialised(stage: Stage, device: str = CPU) -> RemoteTask:
    """Return a stage with the plugin files that it needs.

    Args:
        stage: The stage.
        device: Where its tensors go, such as "cuda".

    Returns:
        The stage, with no files for plugins that are found by name.
    """
    every = (step for parts in stage.parts.values() for part in parts for step in part.steps)
    user_parts = {part.digest: part for part in every if part.name.endswith(".py")}
    return RemoteTask(stage, {digest: _files(part) for digest, part in user_parts.items()}, device)


def perform_remote(task: RemoteTask, store_url: str) -> Outcome:
    """Perform a stage that was sent to this machine.

    Args:
        task: The stage and its plugin files.
        store_url: The store.

    Returns:
        The outcome; an error if this machine has other code, or its store lacks a parent.
    """
    stage = task.stage
    try:
        stage = _restored(task)
        store = Store(store_url)
        for role, key in stage.parents.items():
            if not store.has(key):
                raise DataError(
                    f"{socket.gethostname()} does not find the {role} of '{stage.title}' in the store {store.url}; "
                    "every node must reach the same store: give --store s3://… or a folder that all nodes share"
                )
    except BenchError as error:
        described = {"type": type(error).__name__, "message": str(error), "tail": ""}
        return Outcome(stage.key, 0.0, described, bad_input=True)
    return perform(stage, store_url, device=task.device)


def _restored(task: RemoteTask) -> Stage:
    """Return the stage with its plugins as this machine has them. Raise `PluginError` where a source differs."""
    parts = {
        role: tuple(_local_part(part, task.sources) for part in listed) for role, listed in task.stage.parts.items()
    }
    return replace(task.stage, parts=parts)


def _local_part(part: Part, sources: Mapping[str, Files]) -> Part:
    if part.links:
        return replace(part, links=tuple(_local_part(link, sources) for link in part.links))
    files = sources.get(part.digest)
    name = part.name if files is None else str(_write_files(part, files))
    digest = plugins.digest(part.kind, name)
    if digest != part.digest:
        raise PluginError(
            f"{plugins.SINGULAR[part.kind]} '{part.name}' has source {digest[:8]} on {socket.gethostname()}, "
            f"{part.digest[:8]} where the plan was made: install the same version on every node"
        )
    return replace(part, name=name)


def _files(part: Part) -> Files:
    path = Path(part.name).expanduser().resolve()
    if path.name != "__init__.py":
        return {path.name: path.read_bytes()}
    return {file.relative_to(path.parent.parent).as_posix(): file.read_bytes() for file in folder_files(path.parent)}


def _write_files(part: Part, files: Files) -> Path:
    """Write the plugin's files into a folder named by its digest, atomically, and return its main file."""
    entry = Path(part.name).expanduser().resolve()
    parent = Path(tempfile.gettempdir()) / f"cloakbench-plugins-{os.getuid()}"
    parent.mkdir(mode=0o700, exist_ok=True)
    if parent.stat().st_uid != os.getuid():
        raise PluginError(
            f"the folder {parent} belongs to another user, so no plugins are loaded from it: set TMPDIR to one of yours"
        )
    folder = parent / part.digest
    if not folder.is_dir():
        aside = Path(tempfile.mkdtemp(dir=parent))
        for name, content in files.items():
            file = aside / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        try:
            aside.rename(folder)
        except OSError:  # another worker of this machine was first
            if not folder.is_dir():
                raise
    return folder / entry.parent.name / entry.name if entry.name == "__init__.py" else folder / entry.name
