"""`bench show`: from a number in a table to its arms, seeds, stages, artefacts, logs and commands."""

from __future__ import annotations

from cyclopts import App

from bench.commands.options import Many
from bench.exits import OK

app = App(
    name="show",
    help_epilogue=(
        "Examples:\n"
        "  bench show 3f2a91\n"
        "  bench show 3f2a91 --records digits\n"
        "  bench show chorales--cloak-ghost--white-box--symphonynet--deghost\n"
    ),
)


@app.default
def show(cell: str, *, records: str | None = None, store: Many = None) -> int:
    """Print everything recorded about a cell: quality by seed, validity checks, plugins, stages, logs and commands.

    A cell is one defense against one attacker with one adaptation, over all seeds.

    Parameters
    ----------
    cell
        A cell's id from a table, or its name; or a record's file, its name, or at least 6 digits of its key.
    records
        Records to search: a suite by name or file, a folder of records, or an archive; default: all suites and runs.
    store
        Store to look up the stages in; default: $BENCH_STORE, else the user's cache folder. Repeatable.
    """
    from bench.report.inspection import inspected
    from bench.results import lookup, sources
    from bench.trials.store import Store, default_url

    stores = [Store(url) for url in store or [default_url()]]
    places = [sources.find(records)] if records else lookup.known_sources([each.root for each in stores])
    match = lookup.find(cell, places)

    def locate(key: str) -> str:
        holder = next((each for each in stores if each.has(key)), None)
        return holder.locate(key) if holder else "not in the store"

    print(inspected(match.source, match.records, locate))
    return OK
