"""`bench run`: defenses against attackers, named on the command line."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from bench.commands.options import Execution, Flag, KnowledgeName, Many, Sets
from bench.commands.settings import parse_settings, toml_value
from bench.errors import UsageError
from bench.vocabulary import Preset

if TYPE_CHECKING:
    from bench.results.suite import Suite

CLEAN = "clean"  # the control that every run has
CONTROL = "random"  # the matched control, unless others are named

app = App(
    name="run",
    help_epilogue=(
        "Examples:\n"
        "  bench run --defense harmonycloak --attacker musicgen\n"
        "  bench run --defense harmonycloak --attacker musicgen --preset smoke\n"
        "  bench run --defense harmonycloak --set harmonycloak.bound=paper --attacker musicgen --adapt mp3\n"
        "  bench run --defense my_defense.py --attacker musicgen --seeds 5 --on ray\n"
        "  bench run --defense my_defense.py --track speech\n"
    ),
)


@Parameter(name="*")
@dataclass(frozen=True)
class Selection:
    """What is run: every combination of these. The strings below the fields are their help texts."""

    defense: Many = None
    """Defense to test: a name (see `bench list defenses`) or a path. Repeatable."""
    attacker: Many = None
    """Attacker that trains on the data: a name (see `bench list attackers`) or a path. Repeatable."""
    dataset: Many = None
    """Data set: a name (see `bench list datasets`) or a path; default: the attacker's own. Repeatable."""
    adapt: Many = None
    """Adaptation that the attacker tries besides plain training, such as mp3, or a chain such as trim+mp3: names or
    paths. Repeatable."""
    knowledge: Annotated[list[KnowledgeName] | None, Parameter(negative="", consume_multiple=False)] = None
    """Models that the defender crafts against: the attacker's (white-box), several with or without it, or none."""
    expect: Many = None
    """Adaptation, or chain of them, that the defender crafts the noise to survive. Repeatable."""
    share: Many = None
    """Share of the training set that is protected, 0 to 1, or one class by name; default: 1. Repeatable."""
    control: Many = None
    """Control that is made as audible as each defense; default: random, its own noise not optimised, or else noise.
    "none" for no control. Repeatable."""
    preset: Preset | None = None
    """Size of the data set and effort of defense and attacker: smoke (a quick test, decides nothing), small (the
    default) or full."""
    published: int | None = None
    """Number of training items that each seed draws and publishes; needs --granted; default: the data set's own."""
    granted: int | None = None
    """Number of clean items that the attacker holds in any case; half of them choose its response."""
    replacement: str | None = None
    """Data set of other material that the attacker trains on as well; needs --published and --granted."""
    score: Literal[1, 2] = 2
    """Version of the score; 1: publish the whole training set, and train on no smaller clean sets to compare with."""
    seeds: int | None = None
    """Number of random seeds (default: 3); the confidence interval is over them."""
    set_: Sets = None
    """Plugin parameter, as NAME.KEY=VALUE, such as noise.snr_db=20; NAME is a plugin or a kind. Repeatable."""


@app.default
def run(
    *,
    selection: Selection = Selection(),
    track: str | None = None,
    exhaustive: Flag = False,
    records: Path | None = None,
    execution: Execution = Execution(),
) -> int:
    """Test defenses against attackers, and print how much of the attackers' learning each defense denies.

    Parameters
    ----------
    track
        Track (speech, or a TOML file) that the defenses face in whole: its data set, attackers, responses and seeds.
        Their rows are printed among those that come with it.
    exhaustive
        With --track: train every response at every seed, in place of successive halving.
    records
        Folder for the records, one JSON file per trial; default: a folder in the store.
    """
    from bench.commands.execution import run_suite

    if track:
        return _run_track(track, selection, exhaustive, records, execution)
    if exhaustive:
        raise UsageError("--exhaustive goes with --track; without it every response is trained at every seed anyway")
    return run_suite(suite_of(selection), execution, records)


def _run_track(name: str, selection: Selection, exhaustive: bool, records: Path | None, execution: Execution) -> int:
    """Let the defenses of a run face a track.

    Raises:
        UsageError: No defense is named, or something is given that the track decides.
    """
    from bench.commands.tracks import committed, run_track, track_file, with_defenses
    from bench.results.suite import read

    decided = [
        field.name.rstrip("_")
        for field in fields(Selection)
        if field.name not in ("defense", "preset", "set_") and getattr(selection, field.name) != field.default
    ]
    if decided:
        raise UsageError(f"--{decided[0]} is decided by the track {name}: leave it out, or leave out --track")
    if not selection.defense:
        raise UsageError(f"--track {name} needs --defense NAME or FILE: `bench matrix` runs all rows of a track")
    file = track_file(name)
    track = read(file, selection.preset or "")
    if not track.track:
        raise UsageError(f"{file} is a study, expected a track: `track = 1` in its file")
    suite = with_defenses(
        track,
        selection.defense,
        parse_settings(selection.set_ or [], {"defense": selection.defense}).get("defense", {}),
    )
    if exhaustive:
        suite = suite.model_copy(update={"round": []})
    return run_track(suite, execution, records, others=committed(file, track.preset))


def suite_of(selection: Selection) -> Suite:
    """Build the suite of one run, with the clean control beside the defenses and "none" beside the adaptations.

    Args:
        selection: What the user chose.

    Raises:
        UsageError: There is no attacker, fewer than one seed, or an unknown name or parameter.
    """
    from bench.results.suite import links, listed_control, suite
    from bench.session import default_datasets, request, threat

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
        preset=selection.preset or "small",
        seeds=3 if selection.seeds is None else selection.seeds,
        threat=threat(selection.published, selection.granted, selection.replacement),
        score=selection.score,
    )
    names_by_kind = {
        "dataset": [*(datasets or default_datasets(attackers)), *filter(None, [selection.replacement])],
        "defense": [*definition["defenses"], *map(listed_control, definition["controls"])],
        "attacker": attackers,
        "adaptation": list(dict.fromkeys(link for each in (*adaptations, *expects) for link in links(each))),
    }
    return suite({**definition, **parse_settings(selection.set_ or [], names_by_kind)}, "this run")
