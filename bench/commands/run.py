"""`bench run`: defenses against attackers, named on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from bench import plugins
from bench.commands.options import Execution, Knows, Many, Sets
from bench.commands.settings import NONE, parse_settings, toml_value
from bench.errors import UsageError
from bench.vocabulary import Preset

if TYPE_CHECKING:
    from bench.results.suite import Suite

app = App(
    name="run",
    help_epilogue=(
        "Examples:\n"
        "  bench run --defense harmonycloak --attacker musicgen\n"
        "  bench run --defense harmonycloak --attacker musicgen --preset smoke\n"
        "  bench run --defense harmonycloak --set harmonycloak.bound=paper --attacker musicgen --adapt mp3\n"
        "  bench run --defense my_defense.py --attacker musicgen --seeds 5 --on ray\n"
    ),
)


@app.default
def run(
    *,
    defense: Many = None,
    attacker: Many = None,
    dataset: Many = None,
    adapt: Many = None,
    knowledge: Annotated[list[Knows] | None, Parameter(negative="", consume_multiple=False)] = None,
    expect: Many = None,
    share: Many = None,
    control: Many = None,
    preset: Preset = "small",
    seeds: int = 3,
    set_: Sets = None,
    records: Path | None = None,
    execution: Execution = Execution(),
) -> int:
    """Put a defense against an attacker; print the table with arms, controls, interval and audibility.

    Parameters
    ----------
    defense
        A defense by name, or a Python file that holds one. Repeat for several.
    attacker
        An attacker by name. Repeat for several.
    dataset
        A data set by name; default: the attacker's own.
    adapt
        What the attacker does to win anyway, beside doing nothing. Repeat for several.
    knowledge
        What the defender knows of the attacker.
    expect
        An adaptation that the defender prepares for.
    share
        How much of the training set is protected, 0 to 1, or the class that alone is; default: 1. Repeat for several.
    control
        A matched control; default: noise. "none" for none.
    preset
        The budget of data set, defense and attacker.
    seeds
        How many seeds; the interval is over them.
    set_
        A parameter, as NAME.KEY=VALUE; NAME is a plugin of this run or one of dataset, defense, attacker, adaptation.
    records
        Folder of the records; default: inside the store.
    """
    from bench.commands.execution import run_suite

    suite = suite_of(
        defenses=defense or ["clean"],
        attackers=attacker or [],
        datasets=dataset or [],
        adaptations=adapt or [],
        knowledge=list(knowledge or ["white-box"]),
        expects=expect or [],
        shares=share or ["1"],
        controls=control if control is not None else ["noise"],
        preset=preset,
        seeds=seeds,
        settings=set_ or [],
    )
    return run_suite(suite, execution, records)


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
) -> Suite:
    """The suite of one `bench run`: the defenses beside the clean control, "none" beside the adaptations."""
    from bench.results.suite import suite as suite_from

    if seeds < 1:
        raise UsageError(f"--seeds {seeds}: expected at least 1")
    if not attackers:
        raise UsageError(f"name an attacker: --attacker {next(iter(plugins.names('attackers')), 'NAME')}")
    defended = [name for name in defenses if name not in controls]
    data: dict[str, Any] = {
        "defenses": list(dict.fromkeys(["clean", *(defended or defenses)])),
        "controls": [] if list(controls) == [NONE] else list(controls),
        "attackers": list(attackers),
        "datasets": list(datasets),
        "adaptations": list(dict.fromkeys([NONE, *adaptations])),
        "knowledge": list(knowledge),
        "expects": list(expects),
        "shares": [toml_value(share) for share in shares],
        "preset": preset,
        "seeds": list(range(seeds)),
    }
    named = {
        "dataset": list(datasets) or _own_datasets(attackers),
        "defense": [*data["defenses"], *data["controls"]],
        "attacker": list(attackers),
        "adaptation": [*adaptations, *expects],
    }
    return suite_from({**data, **parse_settings(settings, named)}, "this run")


def _own_datasets(attackers: Sequence[str]) -> list[str]:
    own = [plugins.load("attackers", name).dataset for name in attackers]
    return [name for name in dict.fromkeys(own) if name]
