"""Build records from the artefacts of a trial's stages, or from the error that ended it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bench.results.arms import (
    ARMS,
    CLEAN_SET,
    SCORED,
    TRAINED,
    Arm,
    curve_role,
    granted_role,
    is_clean_role,
    memorised_role,
)
from bench.results.names import trial_key
from bench.results.record import (
    CheckRecord,
    Number,
    PartRecord,
    Record,
    TrialRecord,
)
from bench.results.roles import map_parts
from bench.results.statistics import mean
from bench.trials.plan import Cell
from bench.trials.provenance import provenance
from bench.trials.store import Store
from bench.trials.trial import Part

__all__ = ["attacker_checks", "checks_again", "failure_of", "record_of", "with_clean_arms"]

_DEVICE_TASKS = (
    "protect",
    "adapt",
    "learn",
    "evaluate",
    "compare",
    "memorise",
)  # tasks of plugins: their last digits depend on the device


def record_of(cell: Cell, store: Store, command: str = "", beside: Record | None = None) -> Record:
    """Return the record of a cell whose stages are all in the store.

    Args:
        cell: The trial and the keys of its stages.
        store: The store that holds their artefacts.
        command: The command line, for the provenance.
        beside: A record of the same seed, whose clean arms and clean curve are those of a cell that has none.

    Returns:
        The record.
    """
    metas = {role: store.meta(key) for role, key in cell.keys.items()}

    def artefact(role: str, name: str, otherwise: Any) -> Any:
        value = store.json(cell.keys[role], name) if role in cell.keys else None
        return otherwise if value is None else value

    results = {str(arm): artefact(arm, "quality.json", None) for arm in ARMS if arm in cell.keys}
    reference = results[Arm.UNTRAINED]
    audible = artefact("audit", "audibility.json", {"ids": [], "per_clip": {}, "distance": {}})
    distance = {f"generated_{arm}": result["distance"] for arm, result in results.items() if "distance" in result}
    if audible["distance"]:
        distance["protected_set"] = audible["distance"]
    arms = {arm: result["quality"] for arm, result in results.items()}
    sizes = cell.trial.threat.smaller if cell.trial.threat and not beside else ()
    trained = [*(str(arm) for arm in TRAINED), *map(curve_role, sizes)]
    granted = {role: artefact(granted_role(role), "quality.json", {}).get("quality") for role in trained}
    memorised = {str(role): artefact(memorised_role(role), "memorised.json", {}) for role in (*SCORED, curve_role(0))}
    record = Record(
        key=cell.key,
        status="ok",
        trial=_trial_record(cell),
        metric=reference["metric"],
        arms=arms,
        curve={str(size): artefact(curve_role(size), "quality.json", {})["quality"] for size in sizes},
        granted={role: quality for role, quality in granted.items() if quality},
        ids=reference["ids"],
        groups=reference["groups"],
        labels=reference.get("labels", []),
        alignment={
            role: metas[role]["alignment"]
            for role in ("protected_set", "mixed_set")
            if "alignment" in metas.get(role, {})
        },
        attacker_checks=[CheckRecord.model_validate(check) for check in results.get(Arm.CLEAN, {}).get("gates", [])],
        epochs={str(arm): artefact(arm.learned, "epochs.json", []) for arm in TRAINED if arm.learned in cell.keys},
        audibility=audible["per_clip"],
        audibility_ids=audible.get("ids", []),
        distance=distance,
        music=_music(results, audible.get("music", {})),
        crafting_log=artefact("protected_set", "crafting.json", []),
        input_change=artefact("view", "view.json", {}).get("changed", []),
        memorisation={role: rated["likelihoods"] for role, rated in memorised.items() if rated.get("likelihoods")},
        stages=dict(cell.keys),
        cost={role: meta["cost"] for role, meta in metas.items() if not _cost_is_mixed(meta)},
        provenance={"command": command, **metas["protected"]["made"], "accelerator": _accelerators(metas.values())},
    )
    return with_clean_arms(record, beside) if beside else record


def with_clean_arms(record: Record, clean: Record) -> Record:
    """Return a record with the clean arms and the clean curve of another one of the same seed, in place of its own.

    Args:
        record: The record; what it has of clean arms is left out.
        clean: A record of the same test items, as a rule the clean control's.

    Returns:
        The record.
    """
    adapted = {str(Arm.CLEAN): str(Arm.CLEAN_ADAPTED)} if record.trial.adaptation else {}

    def joined(own: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
        """Entries by role: the clean ones of the other record, that of the clean arm for the adapted one as well."""
        taken = {role: value for role, value in other.items() if is_clean_role(role) or role == CLEAN_SET}
        taken = {role: value for role, value in taken.items() if not role.startswith(Arm.CLEAN_ADAPTED)}
        for arm, copy in adapted.items():
            for end in ("", "_learned", granted_role("")):
                if arm + end in taken:
                    taken[copy + end] = taken[arm + end]
        return taken | {role: value for role, value in own.items() if not is_clean_role(role)}

    stages = joined(record.stages, clean.stages)
    fields = ("arms", "granted", "epochs", "memorisation", "cost")
    update: dict[str, Any] = {name: joined(getattr(record, name), getattr(clean, name)) for name in fields}
    update |= {"stages": stages, "key": trial_key(stages), "curve": clean.curve}
    return record.model_copy(update={**update, "attacker_checks": clean.attacker_checks})


def failure_of(cell: Cell, error: Mapping[str, str], command: str = "") -> Record:
    """Return the record of a cell one of whose stages failed.

    Args:
        cell: The trial and the keys of its stages.
        error: Stage, type, message and the tail of the traceback.
        command: The command line, for the provenance.

    Returns:
        The record, without numbers.
    """
    return Record(
        key=cell.key,
        status="failed",
        error=dict(error),
        trial=_trial_record(cell),
        stages=dict(cell.keys),
        provenance={"command": command, **provenance(), "accelerator": None},
    )


def checks_again(part: Part, arms: Mapping[str, Mapping[str, list[Number]]]) -> list[CheckRecord]:
    """Return the attacker's own validity checks, computed again from the arms of a record.

    Args:
        part: The attacker.
        arms: Arm -> metric -> one value an item.

    Returns:
        The checks.
    """
    from bench import plugins

    attacker = plugins.from_parameters(part.kind, part.name, plugins.load(part.kind, part.name), part.params)
    return attacker_checks(attacker, arms[Arm.CLEAN], arms[Arm.UNTRAINED])


def attacker_checks(
    attacker: Any, clean: Mapping[str, list[Number]], untrained: Mapping[str, list[Number]]
) -> list[CheckRecord]:
    """Return the attacker's own validity checks; none where it declares none.

    Args:
        attacker: The plugin, an instance.
        clean: Metric -> one value an item, of the arm that is trained on clean data.
        untrained: The same of the untrained arm.

    Returns:
        The checks.
    """
    means = [{metric: mean(values) for metric, values in arm.items()} for arm in (clean, untrained)]
    return [CheckRecord.of(check) for check in attacker.validity(*means)]


def _accelerators(metas: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the names of the devices that the plugins' stages ran on; None for processors alone."""
    names = {meta["made"]["accelerator"] for meta in metas if meta["task"] in _DEVICE_TASKS}
    if names == {None}:
        return None
    return " and ".join(sorted(name or "processor" for name in names))


def _cost_is_mixed(meta: Mapping[str, Any]) -> bool:
    """Return whether a protect stage also measured audibility, as older versions did: its cost is not that of
    protection.
    """
    return meta["task"] == "protect" and "audibility.json" in meta["files"]


def _music(results: Mapping[str, Any], sets: Mapping[str, dict[str, Number]]) -> dict[str, dict[str, Number]]:
    """Return the metrics of rolls by set; the reference sets are the same for every arm."""
    arms = {arm: result["music"] for arm, result in results.items() if "music" in result}
    references: dict[str, dict[str, Number]] = next(iter(arms.values()), {})
    return {
        **{name: numbers for name, numbers in references.items() if name != "generated"},
        **{f"{name} set": numbers for name, numbers in sets.items()},
        **{f"generated, {arm}": metrics["generated"] for arm, metrics in arms.items()},
    }


def _trial_record(cell: Cell) -> TrialRecord:
    """Return the trial as records hold it."""
    trial = cell.trial
    parts = map_parts(trial, lambda role, part: _recorded(part))
    return TrialRecord(
        **parts,
        knowledge=trial.knowledge,
        seed=trial.seed,
        preset=trial.preset,
        control=trial.control,
        share=trial.share,
        threat=trial.threat,
        scope=trial.defense.traits.get("per", ""),
    )


def _recorded(part: Part) -> PartRecord:
    """Return a plugin as records hold it."""
    return PartRecord(
        name=part.name if not part.name.endswith(".py") else part.title,
        label=part.title,
        version=part.version,
        digest=part.digest,
        data=part.data,
        overrides=dict(part.overrides),
        params=dict(part.params),
        links=[_recorded(link) for link in part.links],
    )
