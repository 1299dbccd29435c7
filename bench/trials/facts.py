"""Cache what expansion needs to know about plugins between runs, so that they need not be imported.

A plugin's module imports torch, which takes a second or two. What its class declares and what its parameters resolve to
follow from its source. What a class declares in literals is read from the source (`bench.literals`); the rest is kept
in the user's cache by the digest of that source: a run whose stages are all in the store imports no plugin. What is not
in the cache, or cannot be read, is computed by importing the plugin.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from bench import plugins
from bench.files import write_json
from bench.literals import Declared, declared
from bench.results.names import digest
from bench.vocabulary import DOMAINS, DomainName, Kind

__all__ = ["Facts", "check_parameters", "facts", "remembered"]

# The files that compute the cached values: a change of one of them invalidates the whole cache.
_READERS = (
    "api/contract.py",
    "api/plugin.py",
    "declarations.py",
    "plugins.py",
    "trials/facts.py",
    "trials/resolving.py",
    "vocabulary.py",
)


@dataclass(frozen=True)
class Facts:
    """The declarations of a plugin's class that decide which trials a suite has."""

    domains: tuple[DomainName, ...]
    fields: tuple[str, ...]  # its parameters
    dataset: str = ""  # attackers only: its own data set
    bag: tuple[str, ...] = ()  # attackers only: its usual surrogates
    seen: tuple[str, ...] = ()  # attackers only: the data sets of its pretraining
    threat: Mapping[str, Any] = field(default_factory=dict)  # data sets only: domain -> preset -> threat model
    types: Mapping[str, Any] = field(default_factory=dict)  # of parameters, where the source tells and they are plain


def facts(kind: Kind, name: str) -> Facts:
    """Return what a plugin's class declares.

    Args:
        kind: The plugin's kind.
        name: The plugin's name, or the path of its file.

    Returns:
        The declarations, from the cache where it has them.

    Raises:
        PluginError: There is no such plugin, or it cannot be imported where its source alone does not tell.
    """
    name = plugins.locate(kind, name)
    if read := _read(kind, plugins.find(kind, name)):
        return read

    def imported() -> dict[str, Any]:
        cls = plugins.load(kind, name)
        own = {"attackers": ("dataset", "bag", "seen"), "datasets": ("threat",)}.get(kind, ())
        declarations = {name: getattr(cls, name) for name in own}
        return {"domains": cls.domains, "fields": [field.name for field in fields(cls)], **declarations}

    answer = remembered(kind, name, {}, imported)
    return Facts(
        domains=tuple(answer["domains"]),
        fields=tuple(answer["fields"]),
        dataset=answer.get("dataset", ""),
        bag=tuple(answer.get("bag", ())),
        seen=tuple(answer.get("seen", ())),
        threat=answer.get("threat", {}),
    )


def _read(kind: Kind, listing: plugins.Listing) -> Facts | None:
    """What the source of a plugin says by itself; None where it must be imported."""
    if listing.path is None or listing.origin not in ("built in", "file"):
        return None  # an entry point may name any class of its module
    literals = _literals(listing.path, listing.path.stat().st_mtime_ns, plugins.SINGULAR[kind].capitalize())
    if literals is None:
        return None
    words = {name: literals.attributes.get(name, default) for name, default in _DEFAULTS.items()}
    domains, dataset, bag, seen = words["domains"], words["dataset"], words["bag"], words["seen"]
    threat = words["threat"]
    lists = all(isinstance(value, tuple) and all(isinstance(word, str) for word in value) for value in (bag, seen))
    if not isinstance(domains, tuple) or not domains or not set(domains) <= set(DOMAINS):
        return None
    if not lists or not isinstance(dataset, str) or not isinstance(threat, dict):
        return None
    types = {name: type_ for name, type_ in literals.fields.items() if type_ is not None}
    return Facts(domains, tuple(literals.fields), dataset, bag, seen, threat, types)


# What the bases of the contract declare where a plugin does not.
_DEFAULTS: Mapping[str, Any] = {"domains": ("audio",), "dataset": "", "bag": (), "seen": (), "threat": {}}


@functools.cache
def _literals(file: Path, changed: int, base: str) -> Declared | None:
    """A suite asks of each plugin many times."""
    return declared(file, base)


def check_parameters(kind: Kind, name: str, params: Mapping[str, Any]) -> None:
    """Check parameters by what a plugin's source says, so that a wrong one is refused before the plugin is imported.

    Args:
        kind: The plugin's kind.
        name: The plugin's name, or the path of its file.
        params: Its parameters.

    Raises:
        UsageError: It has no such parameter, or the value has another type. What only the class can tell passes.
        PluginError: There is no such plugin.
    """
    about = facts(kind, name)
    plugins.check_parameters(kind, name, params, about.fields)
    for key, type_ in about.types.items():
        if key in params:
            plugins.check_value(kind, name, key, params[key], type_)


def remembered(
    kind: Kind, name: str, question: Mapping[str, Any], find: Callable[[], Mapping[str, Any] | None]
) -> dict[str, Any]:
    """Return a value that follows from a plugin's source, from the cache or computed and then cached.

    Args:
        kind: The plugin's kind.
        name: As `plugins.locate` gives it.
        question: JSON: what beside the source decides about the value.
        find: Computes the value, JSON, or None for one that must not be cached, such as a fingerprint of data. Its
            errors pass through.

    Returns:
        The value, as JSON holds it; empty for None.
    """
    listing = plugins.find(kind, name)
    if listing.path is None:  # without a source there is no cache key
        return _as_json(find())
    key = digest([_readers(), kind, name, plugins.digest(kind, name), _as_json(dict(question))])
    file = _folder() / f"{key}.json"
    with contextlib.suppress(OSError, ValueError):
        cached = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(cached, dict):
            return cached
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
