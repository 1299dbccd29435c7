"""`bench run` in Python: defenses against attackers, with the results as an object."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import plugins
from bench.errors import UsageError, unknown
from bench.results.names import NONE, digest
from bench.results.results import Results
from bench.results.suite import RANDOM, Suite, links, listed_control
from bench.results.suite import suite as suite_from

__all__ = ["default_datasets", "request", "run", "run_folder", "threat"]


def run(
    *,
    defense: str | Sequence[str] = "clean",
    attacker: str | Sequence[str],
    dataset: str | Sequence[str] = (),
    adaptation: str | Sequence[str] = (),
    knowledge: str | Sequence[str] = "white-box",
    expects: str | Sequence[str] = (),
    share: float | str | Sequence[float | str] = 1.0,
    control: str | Sequence[str] = RANDOM,
    preset: str = "small",
    published: int | None = None,
    granted: int | None = None,
    replacement: str | None = None,
    score: int = 2,
    seeds: int = 3,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    store: str | Path | None = None,
    records: str | Path | None = None,
    jobs: int | None = None,
    device: str = "auto",
) -> Results:
    """Run defenses against attackers and return the results. Stages that the store has are not computed again.

    >>> results = bench.run(defense="noise", attacker="m5", preset="smoke", seeds=2)  # doctest: +SKIP

    Args:
        defense: Defenses by name or Python file; the clean control runs beside them.
        attacker: Attackers by name or file.
        dataset: Data sets by name or file; none for each attacker's own.
        adaptation: Adaptations of the attacker, beside none; "trim+mp3" is a chain of two.
        knowledge: What the defender knows of the attacker: white-box, ensemble, black-box or none.
        expects: The adaptations that the defender prepares for.
        share: The protected share of the training set, 0 to 1; or the only class that is protected.
        control: Matched controls by name, or "random", each defense's own noise not optimised; () for none.
        preset: The budget: smoke, small or full.
        published: Items that each seed draws and publishes; None for what the data set declares. `results.worths`
            says what they are worth in clean items.
        granted: Clean items that the attacker has anyway.
        replacement: A data set of other material that the attacker trains on as well.
        score: 2, or 1 to publish the whole training set, without a clean curve.
        seeds: Number of seeds.
        parameters: Name of a plugin -> its parameters.
        store: Folder or fsspec URL of the artefacts; None: $BENCH_STORE, else the user's cache.
        records: Folder of the records; None: one of the run's own in the store.
        jobs: Processes; None: one a core.
        device: auto (an accelerator where there is one), cpu, cuda or cuda:N.

    Returns:
        The results: `print(results)` shows the table, `results.to_pandas()` is a data frame with a row a trial.

    Raises:
        UsageError: A name, a parameter or a value is invalid.
        DataError: A data set is missing.
    """
    from bench.trials.expand import expand
    from bench.trials.run import execute, prepare
    from bench.trials.store import Store, default_url

    definition = request(
        defenses=_listed(defense),
        attackers=_listed(attacker),
        datasets=_listed(dataset),
        adaptations=_listed(adaptation),
        knowledge=_listed(knowledge),
        expects=_listed(expects),
        shares=[share] if isinstance(share, float | int | str) else list(share),
        controls=_listed(control),
        preset=preset,
        seeds=seeds,
        threat=threat(published, granted, replacement),
        score=score,
    )
    suite = suite_from({**definition, **_tables(definition, parameters or {})}, "this run")
    expansion = expand(suite)
    if not expansion.trials:
        raise UsageError(f"nothing to run: {next(iter(expansion.left_out), 'no trial')}")
    work = prepare(expansion.trials, Store(store or default_url()))
    folder = Path(records) if records else run_folder(work.store.root, suite)
    with _workers_ignore_main():
        measured = execute(work, folder, lambda event: None, jobs=jobs, device=device, command="bench.run")
    return Results(folder.name, tuple(measured), suite.budget)


def request(
    *,
    defenses: Sequence[str],
    attackers: Sequence[str],
    datasets: Sequence[str],
    adaptations: Sequence[str],
    knowledge: Sequence[str],
    expects: Sequence[str],
    shares: Sequence[float | str],
    controls: Sequence[str],
    preset: str,
    seeds: int,
    threat: Mapping[str, Any] | None = None,
    score: int = 2,
) -> dict[str, Any]:
    """Return the suite's mapping of a run.

    The clean control is added to the defenses, and no adaptation to the adaptations.

    Args:
        defenses: Defenses by name or file.
        attackers: Attackers by name or file.
        datasets: Data sets by name or file.
        adaptations: Adaptations by name or file.
        knowledge: What the defender knows.
        expects: The adaptations that the defender prepares for.
        shares: The protected shares.
        controls: Matched controls.
        preset: The budget.
        seeds: Number of seeds.
        threat: What is published and granted; None for what each data set declares.
        score: Version of the score.

    Returns:
        The mapping, as `bench.results.suite.suite` reads it.

    Raises:
        UsageError: There is no attacker, or no seed.
    """
    if seeds < 1:
        raise UsageError(f"--seeds {seeds}: expected at least 1")
    if not attackers:
        raise UsageError(
            f"no attacker is named, expected --attacker NAME or FILE: {', '.join(plugins.names('attackers'))}"
        )
    controls = [name for name in controls if name != NONE]
    defended = [name for name in defenses if name not in controls]
    return {
        "defenses": list(dict.fromkeys(["clean", *(defended or defenses)])),
        "controls": controls,
        "attackers": list(attackers),
        "datasets": list(datasets),
        "adaptations": list(dict.fromkeys([NONE, *adaptations])),
        "knowledge": list(knowledge),
        "expects": list(expects),
        "shares": list(shares),
        "preset": preset,
        "seeds": list(range(seeds)),
        **({"threat": dict(threat)} if threat else {}),
        "score": score,
    }


def threat(published: int | None, granted: int | None, replacement: str | None) -> dict[str, Any] | None:
    """Return the threat model of a run as a suite's mapping; None where nothing of one is given.

    Raises:
        UsageError: Of the number published and the number granted one is missing.
    """
    if published is None and granted is None and replacement is None:
        return None
    if published is None or granted is None:
        raise UsageError("a threat model needs both numbers: --published 120 --granted 50")
    return {"published": published, "granted": granted, "replacement": replacement or ""}


def default_datasets(attackers: Sequence[str]) -> list[str]:
    """Return the data sets that attackers name as their default.

    Args:
        attackers: Attackers by name or file.

    Returns:
        Names, each once.
    """
    from bench.trials.facts import facts

    defaults = [facts("attackers", name).dataset for name in attackers]
    return [name for name in dict.fromkeys(defaults) if name]


def run_folder(root: Path, suite: Suite) -> Path:
    """Return the folder of a run's records in a store.

    Args:
        root: The store's folder.
        suite: The run's suite.

    Returns:
        The folder, named by the suite's digest.
    """
    return root / "records" / f"run-{digest(suite.model_dump())[:12]}"


@contextmanager
def _workers_ignore_main() -> Iterator[None]:
    """Keep spawned workers from running a script without a main guard again."""
    main = sys.modules["__main__"]
    names = [name for name in ("__file__", "__spec__") if name in vars(main)]
    hidden: dict[str, Any] = {name: vars(main).pop(name) for name in names}
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(hidden)


def _tables(definition: Mapping[str, Any], parameters: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return parameters by kind of plugin and name, as a suite has them.

    Raises:
        UsageError: No plugin of the run has that name.
    """
    names = {
        "dataset": [
            *(definition["datasets"] or default_datasets(definition["attackers"])),
            *filter(None, [definition.get("threat", {}).get("replacement")]),
        ],
        "defense": [*definition["defenses"], *map(listed_control, definition["controls"])],
        "attacker": list(definition["attackers"]),
        "adaptation": [link for each in (*definition["adaptations"], *definition["expects"]) for link in links(each)],
    }
    tables: dict[str, dict[str, Any]] = {}
    for name, values in parameters.items():
        kinds = [kind for kind, listed in names.items() if name in listed]
        if not kinds:
            available = [item for listed in names.values() for item in listed if item != NONE]
            raise UsageError(f"parameters: {unknown('plugin of this run', name, available)}")
        for kind in kinds:
            tables.setdefault(kind, {})[name] = dict(values)
    return tables


def _listed(names: str | Sequence[str]) -> list[str]:
    """Return one name or several as a list."""
    return [names] if isinstance(names, str) else list(names)
