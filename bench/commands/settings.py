"""Values of the command line: parameters given by --set, and the files of --plugin."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import plugins
from bench.errors import UsageError, unknown

NONE = "none"  # in place of an adaptation: none at all

__all__ = ["parse_settings", "plugin_files", "toml_value"]


def parse_settings(settings: Sequence[str], named: Mapping[str, Sequence[str]]) -> dict[str, dict[str, dict[str, Any]]]:
    """--set NAME.KEY=VALUE, VALUE as TOML or else as text -> {kind: {plugin: {key: value}}}.

    NAME is a plugin of the run, or a kind: then every plugin of that kind that has such a parameter gets it. Raises
    `UsageError`.
    """
    tables: dict[str, dict[str, dict[str, Any]]] = {}
    for setting in settings:
        left, equals, right = setting.partition("=")
        name, dot, key = left.strip().rpartition(".")
        if not (equals and dot and key):
            raise UsageError(f"--set {setting}: expected NAME.KEY=VALUE, e.g. --set defense.epsilon=0.05")
        kinds = [kind for kind, names in named.items() if name == kind or name in map(_short, names)]
        if not kinds:
            everyone = {*named, *(_short(plugin) for names in named.values() for plugin in names)}
            raise UsageError(f"--set {setting}: {unknown('plugin of this run', name, everyone)}")
        pairs = [(kind, plugin) for kind in kinds for plugin in named[kind]]
        owners = [pair for pair in pairs if _short(pair[1]) == name or (pair[0] == name and _has(*pair, key))]
        if not owners:
            raise UsageError(f"--set {setting}: no {name} of this run has a parameter '{key}'")
        for kind, plugin in owners:
            tables.setdefault(kind, {}).setdefault(plugin, {})[key] = toml_value(right)
    return tables


def plugin_files(words: Sequence[str]) -> dict[str, Path]:
    """FILE or NAME=FILE -> the file by the name that records call its plugin. Raises `UsageError`."""
    files = {}
    for word in words:
        name, equals, path = word.rpartition("=")
        file = Path(path)
        if file.suffix != ".py" or not file.is_file() or bool(equals) != bool(name):
            raise UsageError(f"--plugin {word}: expected a Python file, or NAME=FILE")
        files[name or file.stem] = file
    return files


def _has(kind: str, plugin: str, key: str) -> bool:
    kinds = {singular: plural for plural, singular in plugins.SINGULAR.items()}
    return plugin != NONE and key in getattr(plugins.load(kinds[kind], plugin), "__dataclass_fields__", {})


def _short(plugin: str) -> str:
    """A plugin's name on the command line: of a user's file, its stem."""
    return Path(plugin).stem if plugin.endswith(".py") else plugin


def toml_value(text: str) -> Any:
    """A TOML value, or the text itself."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text
