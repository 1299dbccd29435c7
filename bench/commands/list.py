"""`bench list`: the plugins that are installed."""

from __future__ import annotations

import dataclasses
import json as json_format

from cyclopts import App

from bench import plugins
from bench.commands.options import Flag
from bench.exits import OK
from bench.vocabulary import Kind

app = App(name="list", help_epilogue="Examples:\n  bench list\n  bench list defenses --json\n")


@app.default
def list_(kind: Kind | None = None, *, json: Flag = False) -> int:
    """List the plugins with a one-line description, and where they come from unless they are built in.

    Parameters
    ----------
    kind
        Kind of plugin to list; default: all.
    json
        Print JSON instead of a table.
    """
    kinds = [kind] if kind else list(plugins.FOLDERS)
    listings = [listing for each in kinds for listing in plugins.names(each).values()]
    if json:
        rows = [{**dataclasses.asdict(entry), "path": str(entry.path) if entry.path else None} for entry in listings]
        print(json_format.dumps(rows, indent=1))
        return OK
    width = max((len(entry.name) for entry in listings), default=0)
    for each in kinds:
        print(each)
        for entry in listings:
            if entry.kind == each:
                origin = "" if entry.origin == "built in" else f"  [{entry.origin}]"
                print(f"  {entry.name:<{width}}  {entry.summary}{origin}")
    return OK
