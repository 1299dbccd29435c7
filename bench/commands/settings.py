"""Values of the command line: parameters given by --set, and the files of --plugin."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import plugins
from bench.errors import UsageError, unknown
from bench.sources import plain_name
from bench.trials.facts import facts

NONE = "none"  # in place of an adaptation: none at all

_PLURAL = {singular: plural for plural, singular in plugins.SINGULAR.items()}

__all__ = ["parse_settings", "plugin_files", "toml_value"]


def parse_settings(
    settings: Sequence[str], names_by_kind: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Parse the values of --set.

    Args:
        settings: NAME.KEY=VALUE each. NAME is a plugin of the run, or a kind: then every plugin of that kind with such
            a parameter gets it. VALUE is TOML, or else text.
        names_by_kind: Kind -> the names of the run's plugins.

    Returns:
        Kind -> name of the plugin -> parameters.

    Raises:
        UsageError: A setting has another form, or names no plugin or parameter of the run.
    """
    tables: dict[str, dict[str, dict[str, Any]]] = {}
    parameters = [setting.partition("=")[0].strip() for setting in settings]
    if twice := next((name for name in parameters if parameters.count(name) > 1), ""):
        raise UsageError(f"--set {twice} is given twice, expected once; two values are two rows of a suite file")
    for setting in settings:
        target, equals, value_text = setting.partition("=")
        name, dot, key = target.strip().rpartition(".")
        if not (equals and dot and key):
            raise UsageError(f"--set {setting}: expected NAME.KEY=VALUE, e.g. --set defense.epsilon=0.05")
        words_of = {(kind, plugin): _called(kind, plugin) for kind, names in names_by_kind.items() for plugin in names}
        kinds = [
            kind
            for kind in names_by_kind
            if name == kind or any(name in words_of[kind, each] for each in names_by_kind[kind])
        ]
        if not kinds:
            everyone = {*names_by_kind, *(each for words in words_of.values() for each in words)}
            raise UsageError(f"--set {setting}: {unknown('plugin of this run', name, everyone)}")
        pairs = [(kind, plugin) for kind in kinds for plugin in names_by_kind[kind]]
        owners = [pair for pair in pairs if name in words_of[pair] or (pair[0] == name and _has(*pair, key))]
        if not owners:
            raise UsageError(f"--set {setting}: no {name} of this run has a parameter '{key}'")
        for kind, plugin in owners:
            tables.setdefault(kind, {}).setdefault(plugin, {})[key] = toml_value(value_text)
    return tables


def plugin_files(words: Sequence[str]) -> dict[str, Path]:
    """Parse the values of --plugin.

    Args:
        words: FILE or NAME=FILE each.

    Returns:
        The name of the plugin in records -> its file.

    Raises:
        UsageError: A word names no Python file.
    """
    files = {}
    for word in words:
        name, equals, path = word.rpartition("=")
        file = Path(path) / "__init__.py" if Path(path).is_dir() else Path(path)
        if file.suffix != ".py" or not file.is_file() or bool(equals) != bool(name):
            raise UsageError(f"--plugin {word}: expected a Python file, a folder with __init__.py, or NAME=FILE")
        files[name or plain_name(file)] = file
    return files


def _has(kind: str, plugin: str, key: str) -> bool:
    """Return whether a plugin has a parameter of that name."""
    return plugin != NONE and key in facts(_PLURAL[kind], plugin).fields


def _called(kind: str, plugin: str) -> tuple[str, ...]:
    """What a plugin may be called in --set: its name; of a user's file its plain name, or its path without `.py`."""
    path = plugins.locate(_PLURAL[kind], plugin)
    if not path.endswith(".py"):
        return (plugin,)
    return plain_name(Path(path)), plugin.removesuffix(".py")


def toml_value(text: str) -> Any:
    """Parse a TOML value; return the text itself where it is none."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text
