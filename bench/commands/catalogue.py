"""`bench list` and `bench check`: what plugins there are, and whether one keeps the contract."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from bench import plugins
from bench.errors import PluginError, unknown
from bench.vocabulary import Kind


def listing(kinds: Sequence[Kind], *, as_json: bool) -> None:
    """Print the plugins of some kinds."""
    found = [listing for kind in kinds for listing in plugins.names(kind).values()]
    if as_json:
        rows = [{**dataclasses.asdict(entry), "path": str(entry.path) if entry.path else None} for entry in found]
        print(json.dumps(rows, indent=1))
        return
    width = max((len(entry.name) for entry in found), default=0)
    for kind in kinds:
        print(kind)
        for entry in found:
            if entry.kind == kind:
                origin = "" if entry.origin == "built in" else f"  [{entry.origin}]"
                print(f"  {entry.name:<{width}}  {entry.summary}{origin}")


def conformance(name: str, kind: Kind | None, *, fast: bool) -> bool:
    """Print one line a check; whether all that ran passed."""
    from bench import check

    kind = kind or kind_of(name)
    mark = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}
    passed = True
    for each in check.checks(kind, plugins.build(kind, name, preset="smoke")):
        if fast and each.slow:
            continue
        ended = check.outcome(each)
        passed = passed and ended.status != "failed"
        reason = f": {ended.reason}" if ended.reason else ""
        print(f"{mark[ended.status]}  {each.name}: {each.meaning}{reason}", flush=True)
    fits = "fits" if passed else "does not fit"
    print(f"{plugins.SINGULAR[kind]} '{name}' {fits} the contract (kit {check.KIT_VERSION})")
    return passed


def kind_of(name: str) -> Kind:
    """The kind of a plugin by its name alone. Raises `PluginError` where none, or several, have it."""
    if name.endswith(".py"):
        fitting = [kind for kind in plugins.FOLDERS if _loads(kind, name)]
    else:
        fitting = [kind for kind in plugins.FOLDERS if name in plugins.names(kind)]
    if len(fitting) > 1:
        raise PluginError(f"'{name}' is in {' and '.join(fitting)}: say which with --kind")
    if not fitting:
        if name.endswith(".py"):
            plugins.load("defenses", name)  # says what is wrong with the file
        raise PluginError(unknown("plugin", name, [each for kind in plugins.FOLDERS for each in plugins.names(kind)]))
    return fitting[0]


def _loads(kind: Kind, name: str) -> bool:
    try:
        plugins.load(kind, name)
    except PluginError:
        return False
    return True
