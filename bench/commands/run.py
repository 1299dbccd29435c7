"""`bench run`: defenses against attackers, named on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from bench.commands.options import Execution, Knows, Many, Sets
from bench.commands.settings import parse_settings, toml_value
from bench.vocabulary import Preset

if TYPE_CHECKING:
    from bench.results.suite import Suite

CLEAN = "clean"  # the control that every run has
CONTROL = "noise"  # the matched control, unless others are named

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


@Parameter(name="*")
@dataclass(frozen=True)
class Selection:
    """What is run: every combination of these."""

    defense: Many = None
    """A defense by name, or the path of a file or folder that holds one. Repeat for several."""
    attacker: Many = None
    """An attacker by name or path. Repeat for several."""
    dataset: Many = None
    """A data set by name or path. Repeat for several; default: the attacker's own."""
    adapt: Many = None
    """An adaptation by name or path: what the attacker does to win anyway, beside doing nothing. Repeat for several."""
    knowledge: Annotated[list[Knows] | None, Parameter(negative="", consume_multiple=False)] = None
    """What the defender knows of the attacker."""
    expect: Many = None
    """An adaptation that the defender prepares for."""
    share: Many = None
    """How much of the training set is protected, 0 to 1, or the class that alone is; default: 1. Repeat for several."""
    control: Many = None
    """A matched control; default: noise. "none" for none."""
    preset: Preset = "small"
    """The budget of data set, defense and attacker."""
    seeds: int = 3
    """How many seeds; the interval is over them."""
    set_: Sets = None
    """A parameter, as NAME.KEY=VALUE; NAME is a plugin of this run or one of dataset, defense, attacker, adaptation."""


@app.default
def run(
    *,
    selection: Selection = Selection(),
    records: Path | None = None,
    execution: Execution = Execution(),
) -> int:
    """Put a defense against an attacker; print the table with arms, controls, interval and audibility.

    Parameters
    ----------
    records
        Folder of the records; default: inside the store.
    """
    from bench.commands.execution import run_suite

    return run_suite(suite_of(selection), execution, records)


def suite_of(selection: Selection) -> Suite:
    """The suite of one run, with the clean control beside the defenses and "none" beside the adaptations.

    Raises:
        UsageError: no attacker, fewer than one seed, or a name or parameter that does not exist.
    """
    from bench.results.suite import suite
    from bench.session import default_datasets, request

    attackers, datasets = selection.attacker or [], selection.dataset or []
    adaptations, expects = selection.adapt or [], selection.expect or []
    definition = request(
        defenses=selection.defense or [CLEAN],
        attackers=attackers,
        datasets=datasets,
        adaptations=adaptations,
        knowledge=selection.knowledge or ["white-box"],
        expects=expects,
        shares=[toml_value(share) for share in selection.share or ["1"]],
        controls=[CONTROL] if selection.control is None else selection.control,
        preset=selection.preset,
        seeds=selection.seeds,
    )
    named = {
        "dataset": datasets or default_datasets(attackers),
        "defense": [*definition["defenses"], *definition["controls"]],
        "attacker": attackers,
        "adaptation": [*adaptations, *expects],
    }
    return suite({**definition, **parse_settings(selection.set_ or [], named)}, "this run")
