"""`bench run` and `bench matrix`: a suite from words, the plan shown, the work done, the tables printed."""

from __future__ import annotations

import shlex
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import plugins
from bench.commands.display import Style, say, watching
from bench.commands.exits import INCOMPLETE, INTERRUPTED, OK
from bench.errors import UsageError, unknown
from bench.report import losses, markdown
from bench.results import table
from bench.results.board import Board
from bench.trials import matrix
from bench.trials.agenda import Stopped
from bench.trials.record import Record
from bench.trials.run import Place, execute, prepare
from bench.trials.store import Store, default_url
from bench.trials.trial import digest


def suite_of(
    *,
    defenses: Sequence[str],
    attackers: Sequence[str],
    datasets: Sequence[str],
    adaptations: Sequence[str],
    knowledge: Sequence[str],
    expects: Sequence[str],
    shares: Sequence[str],
    controls: Sequence[str],
    preset: str,
    seeds: int,
    settings: Sequence[str],
) -> matrix.Suite:
    """The suite of one `bench run`: the defenses beside the clean control, "none" beside the adaptations."""
    if seeds < 1:
        raise UsageError(f"--seeds {seeds}: expected at least 1")
    if not attackers:
        raise UsageError(f"name an attacker: --attacker {next(iter(plugins.names('attackers')), 'NAME')}")
    defended = [name for name in defenses if name not in controls]
    data: dict[str, Any] = {
        "defenses": list(dict.fromkeys(["clean", *(defended or defenses)])),
        "controls": [] if list(controls) == [matrix.NONE] else list(controls),
        "attackers": list(attackers),
        "datasets": list(datasets),
        "adaptations": list(dict.fromkeys([matrix.NONE, *adaptations])),
        "knowledge": list(knowledge),
        "expects": list(expects),
        "shares": [_value(share) for share in shares],
        "preset": preset,
        "seeds": list(range(seeds)),
    }
    named = {
        "dataset": list(datasets) or _own_datasets(attackers),
        "defense": [*data["defenses"], *data["controls"]],
        "attacker": list(attackers),
        "adaptation": [*adaptations, *expects],
    }
    return matrix.suite({**data, **parse_settings(settings, named)}, "this run")


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
            tables.setdefault(kind, {}).setdefault(plugin, {})[key] = _value(right)
    return tables


def run(
    suite: matrix.Suite,
    *,
    store: str | None,
    records: Path | None,
    on: Place,
    jobs: int | None,
    display: Style,
    page: Path | None = None,
) -> int:
    """Run a suite and print its tables, to `page` too; the exit code (see `exits`)."""
    place = Store(store or default_url())
    expansion = expanded(suite)
    folder = records or place.root / "records" / f"run-{digest(suite.model_dump())[:12]}"
    command = shlex.join(["bench", *sys.argv[1:]])
    started = time.monotonic()
    work = prepare(expansion.trials, place)
    say(f"{len(expansion.trials)} trials, {len(work.plan.stages)} stages, {len(work.present)} already in {place.url}")
    try:
        with watching(display, work.missing) as watch:
            made = execute(work, folder, watch, on=on, jobs=jobs, command=command)
    except Stopped:
        say(f"stopped. What is done is kept; resume with the same command: {command}")
        return INTERRUPTED
    report(made, suite)
    if page is not None:
        page.write_text(markdown.page(Board(suite, tuple(made)), command), encoding="utf-8")
    print(f"\nrecords: {folder}  ({len(made)} trials, {time.monotonic() - started:.1f} s)")
    scored = all(record.status == "ok" for record in made) and not table.void_reasons(table.rows(made), made)
    return OK if scored else INCOMPLETE


def show_plan(suite: matrix.Suite, store: str | None) -> int:
    """Print what a suite would do, and how much of it is done."""
    expansion = expanded(suite)
    work = prepare(expansion.trials, Store(store or default_url()))
    print(f"{suite.name}: {len(expansion.trials)} trials, {len(work.plan.stages)} stages, {work.missing} to do")
    for stage in work.plan.stages.values():
        print(f"  {'done ' if stage.key in work.present else 'to do'}  {stage.key[:8]}  {stage.title}")
    return OK


def report(records: Sequence[Record], suite: matrix.Suite) -> None:
    """Print the table that ranks, every response, the gates, and what failed."""
    rows = table.rows(records, suite.budget)
    print("\n" + table.text(*table.main_table(rows)))
    if len({cell.response for row in rows for cell in row.cells}) > 1:
        print("\nlearning denied by every response (the clean row: what the response costs the attacker)")
        print(table.text(*table.response_table(rows)))
    moved = losses.moved_table(records)
    if moved[1]:
        print("\nwhat moved: losses, lower is better learned (see the page for what each one is)")
        print(table.text(*moved))
    gates = [
        [name, f"{value:.3f}", f"{limit:.3f}", "passed" if passed else "FAILED: its cells are void", meaning]
        for name, value, limit, passed, meaning in table.gates_of(records)
    ]
    if gates:
        print("\n" + table.text(["gate", "worst seed", "limit", "", ""], gates, "plain"))
    for record in records:
        if record.status != "ok" and record.error:
            say(f"failed: {record.name}: {record.error['stage']}: {record.error['type']}: {record.error['message']}")
    for line in table.void_reasons(rows, records):
        say(line)


def expanded(suite: matrix.Suite) -> matrix.Expansion:
    """The suite's trials; what cannot be is said. Raises `UsageError` where none is left."""
    expansion = matrix.expand(suite)
    for why in expansion.left_out:
        say(f"left out: {why}")
    if not expansion.trials:
        raise UsageError(
            f"'{suite.name}' holds no trial" + (f": {expansion.left_out[0]}" if expansion.left_out else "")
        )
    return expansion


def _own_datasets(attackers: Sequence[str]) -> list[str]:
    own = [getattr(plugins.load("attackers", name), "dataset", "") for name in attackers]
    return [name for name in dict.fromkeys(own) if name]


def _has(kind: str, plugin: str, key: str) -> bool:
    kinds = {singular: plural for plural, singular in plugins.SINGULAR.items()}
    return plugin != matrix.NONE and key in getattr(plugins.load(kinds[kind], plugin), "__dataclass_fields__", {})


def _short(plugin: str) -> str:
    """A plugin's name on the command line: of a user's file, its stem."""
    return Path(plugin).stem if plugin.endswith(".py") else plugin


def _value(text: str) -> Any:
    """A TOML value, or the text itself."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text
