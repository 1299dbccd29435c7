"""Records of older schemas as records of today's: pure functions from JSON object to JSON object.

The chain is only ever added to: each function takes one schema to the next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["UPGRADES"]

_COMMON_CHECK = "learns clean data"  # of version 1, which stored it: it follows from the arms


def _plugin(old: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a plugin with what the user set under `overrides`."""
    if old is None:
        return None
    return {("overrides" if key == "given" else key): value for key, value in old.items()}


def _trial(old: dict[str, Any]) -> dict[str, Any]:
    """Return a trial's plugins and settings without the row's name, which follows from them."""
    new = {key: value for key, value in old.items() if key not in ("row", "per")}
    for role in ("dataset", "defense", "reference", "adaptation", "attacker"):
        new[role] = _plugin(old[role])
    for role in ("surrogates", "expects"):
        new[role] = [_plugin(plugin) for plugin in old[role]]
    return {**new, "scope": old.get("per", "")}


def _to_2(old: dict[str, Any]) -> dict[str, Any]:
    """Drop what follows from the rest (name, row, score, notes, the common check) and name fields plainly.

    Fields that version 1 does not have stay, so that they are refused as in any record.
    """
    derived_fields = {"name", "denied", "notes", "gates", "view"}
    new_names = {"heard": "audibility_ids", "crafting": "crafting_log", "made": "provenance"}
    return {
        **{new_names.get(key, key): value for key, value in old.items() if key not in derived_fields},
        "schema_version": 2,
        "trial": _trial(old["trial"]),
        "attacker_checks": [check for check in old.get("gates", []) if check["name"] != _COMMON_CHECK],
        "input_change": old.get("view", {}).get("changed", []),
    }


UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _to_2}
