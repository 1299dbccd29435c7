"""What a run must know of its plugins, remembered between runs.

A plugin's module imports torch, which takes a second or two. What its class declares and what its parameters resolve to
follow from its source, so they are kept in the user's cache by the digest of that source: a run whose stages are all in
the store imports no plugin. What is not there, or cannot be read, is found by importing the plugin.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bench import plugins
from bench.files import write_json
from bench.results.names import digest
from bench.vocabulary import DomainName, Kind

__all__ = ["Facts", "facts", "remembered"]

# What turns a plugin's source into what is remembered: when one of these changes, nothing that is remembered counts.
_READERS = ("api/contract.py", "declarations.py", "plugins.py", "trials/facts.py", "trials/expand.py", "vocabulary.py")


@dataclass(frozen=True)
class Facts:
    """What a plugin's class declares that decides which trials a suite has."""

    domains: tuple[DomainName, ...]
    fields: tuple[str, ...]  # its parameters
    dataset: str = ""  # attackers only: its own data set
    bag: tuple[str, ...] = ()  # attackers only: its usual surrogates
    seen: tuple[str, ...] = ()  # attackers only: the data sets of its pretraining


def facts(kind: Kind, name: str) -> Facts:
    """What a plugin's class declares.

    Args:
        kind: of the plugin.
        name: of the plugin, or the path of its file.

    Raises:
        PluginError: there is no such plugin, or it cannot be imported.
    """

    name = plugins.locate(kind, name)

    def declared() -> dict[str, Any]:
        cls = plugins.load(kind, name)
        own = {"dataset": cls.dataset, "bag": cls.bag, "seen": cls.seen} if kind == "attackers" else {}
        return {"domains": cls.domains, "fields": [field.name for field in fields(cls)], **own}

    answer = remembered(kind, name, {}, declared)
    return Facts(
        domains=tuple(answer["domains"]),
        fields=tuple(answer["fields"]),
        dataset=answer.get("dataset", ""),
        bag=tuple(answer.get("bag", ())),
        seen=tuple(answer.get("seen", ())),
    )


def remembered(
    kind: Kind, name: str, question: Mapping[str, Any], find: Callable[[], Mapping[str, Any] | None]
) -> dict[str, Any]:
    """What was found out about a plugin before, or is now, and is then kept.

    Args:
        kind: of the plugin.
        name: as `plugins.locate` gives it.
        question: JSON: what beside its source decides about the answer.
        find: gives the answer, JSON, or None for one that is not to be kept. Its errors pass through.

    Returns:
        The answer, as JSON holds it; empty for None. What does not follow from source and question alone, such as a
        fingerprint of data, must not be kept.
    """
    listing = plugins.find(kind, name)
    if listing.path is None:  # no source to go by
        return _as_json(find())
    key = digest([_readers(), kind, name, plugins.digest(kind, name), _as_json(dict(question))])
    file = _folder() / f"{key}.json"
    with contextlib.suppress(OSError, ValueError):
        read = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(read, dict):
            return read
    answer = _as_json(find())
    if answer:
        with contextlib.suppress(OSError):  # a cache that cannot be written saves nothing
            write_json(file, answer)
    return answer


def _as_json(value: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(value or {}))
    return plain


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cloakbench" / "plugins"


@functools.cache
def _readers() -> str:
    sha = hashlib.sha256()
    for name in _READERS:
        sha.update((Path(__file__).parents[1] / name).read_bytes())
    return sha.hexdigest()
