"""A stage on its way to another machine: a user's plugin files travel with it, and what came is compared with what was
meant before anything is done.

Names of plugins travel as they are. A plugin of the checkout, or of an installed package, must be on the other machine
already; a plugin that is a user's file is sent as source. Keys name results by source digests, so a machine with other
code, or with another store, must do nothing: its results would be found under keys that are not theirs.
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

Files = Mapping[str, bytes]  # path below the folder that the plugin lies in -> content


@dataclass(frozen=True)
class RemoteTask:
    """A stage with the source of its plugins that are users' files, by digest."""

    stage: Stage
    sources: Mapping[str, Files]
    device: str = CPU


def serialised(stage: Stage, device: str = CPU) -> RemoteTask:
    """The stage and the files that it needs; none for plugins that are found by name."""
    own = {part.digest: part for parts in stage.parts.values() for part in parts if part.name.endswith(".py")}
    return RemoteTask(stage, {digest: _files(part) for digest, part in own.items()}, device)


def perform_remote(task: RemoteTask, store_url: str) -> Outcome:
    """Do a stage that was sent here. What does not fit is its outcome: other code, a parent that this machine's store
    does not hold.
    """
    stage = task.stage
    try:
        stage = _restored(task)
        store = Store(store_url)
        for role, key in stage.parents.items():
            if not store.has(key):
                raise DataError(
                    f"{socket.gethostname()} does not find the {role} of '{stage.title}' in the store {store.url}: "
                    "every node must reach one store: give --store s3://… or a folder that all of them share"
                )
    except BenchError as error:
        described = {"type": type(error).__name__, "message": str(error), "tail": ""}
        return Outcome(stage.key, 0.0, described, bad_input=True)
    return perform(stage, store_url, device=task.device)


def _restored(task: RemoteTask) -> Stage:
    """The stage with its plugins as this machine has them. Raises `PluginError` where their source is another one."""
    parts = {
        role: tuple(_local_part(part, task.sources.get(part.digest)) for part in listed)
        for role, listed in task.stage.parts.items()
    }
    return replace(task.stage, parts=parts)


def _local_part(part: Part, files: Files | None) -> Part:
    name = part.name if files is None else str(_written(part, files))
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


def _written(part: Part, files: Files) -> Path:
    """The plugin's own file, below a folder that is named by its digest and appears at once."""
    entry = Path(part.name).expanduser().resolve()
    parent = Path(tempfile.gettempdir()) / f"cloakbench-plugins-{os.getuid()}"
    parent.mkdir(mode=0o700, exist_ok=True)
    if parent.stat().st_uid != os.getuid():
        raise PluginError(f"{parent} belongs to somebody else: plugins are not read from it")
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
