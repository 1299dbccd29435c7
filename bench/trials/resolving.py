"""Resolve a plugin as a trial names it: every parameter, the digest of its source, what it declares."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from bench import plugins
from bench.errors import PluginError
from bench.trials.facts import check_parameters, facts, remembered
from bench.trials.trial import Part
from bench.vocabulary import Control, Kind, Needs

__all__ = ["resolve"]

# The declaration of each kind that the plan and the tables read, see `Part.traits`.
_TRAITS: dict[Kind, str] = {
    "defenses": "per unoptimised",
    "attackers": "task",
    "adaptations": "preprocess",
    "datasets": "content",
}


def resolve(
    kind: Kind, name: str, overrides: Mapping[str, Any], preset: str = "small", label: str = "", domain: str = ""
) -> Part:
    """Return a plugin as a trial names it: every parameter, the digest of its source, its needs.

    Args:
        kind: The plugin's kind.
        name: Its name, or the path of a file.
        overrides: The parameters that the user gave.
        preset: The preset below them.
        label: The name in tables; empty for the plugin's own.
        domain: Set as the plugin's field `domain`, if it has one and the user did not give it.

    Returns:
        The part, whose `overrides` are the parameters given here.

    Raises:
        PluginError: There is no such plugin, it cannot be imported, or a parameter cannot be written as JSON.
        UsageError: A parameter is refused.
    """
    name = plugins.locate(kind, name)
    params = dict(overrides)
    check_parameters(kind, name, params)
    if domain and "domain" in facts(kind, name).fields:
        params.setdefault("domain", domain)
    files: list[Part] = []

    def answer() -> dict[str, Any] | None:
        part = _resolved(kind, name, params, preset)
        files.append(part)
        return asdict(part) if not part.data else None

    saved = remembered(kind, name, {"given": params, "preset": preset}, answer)
    part = _restored(saved) if saved else files[0] if files else _resolved(kind, name, params, preset)
    return replace(part, overrides=dict(overrides), label=label)


def _restored(saved: Mapping[str, Any]) -> Part:
    """A part from JSON."""
    return Part(
        **{
            **saved,
            "control": Control(saved["control"]),
            "hooks": tuple(saved["hooks"]),
            "needs": Needs(**saved["needs"]),
            "links": (),
        }
    )


def _resolved(kind: Kind, name: str, params: Mapping[str, Any], preset: str) -> Part:
    """Import the plugin and resolve it."""
    plugin = plugins.build(kind, name, params, preset)
    hooks = tuple(hook for hook in plugins.HOOKS.get(kind, ()) if plugin.implements(hook))
    return Part(
        kind=kind,
        name=name,
        params=_plain_parameters(kind, name, plugin),
        digest=plugins.digest(kind, name),
        data=str(plugin.fingerprint()),
        version=plugin.version,
        control=plugin.control if kind == "defenses" else Control.NONE,
        hooks=hooks,
        needs=plugin.resources(),
        traits={name: str(value) for name in _TRAITS[kind].split() if (value := getattr(plugin, name))},
    )


def _plain_parameters(kind: Kind, name: str, plugin: Any) -> dict[str, Any]:
    """Return every parameter as plain JSON values. Raise `PluginError` for what JSON cannot hold, such as NaN."""
    try:
        params: dict[str, Any] = json.loads(json.dumps(plugins.resolved(plugin), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise PluginError(
            f"{plugins.SINGULAR[kind]} '{name}': a parameter cannot be written as JSON: {error}"
        ) from error
    return params
