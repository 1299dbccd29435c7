"""Keys are frozen, equal stages collapse, and what decides a result decides its key."""

from dataclasses import replace
from typing import Any

import pytest

import bench.trials.plan as plan_module
import bench.trials.planned as planned_module
from bench.api import Needs
from bench.trials.plan import plan
from bench.trials.trial import Part, Trial
from bench.vocabulary import Control


def part(kind: str, name: str, **more: object) -> Part:
    return Part(kind=kind, name=name, params={"level": 0.5}, digest="0123456789abcdef", **more)  # type: ignore[arg-type]


def trial(**more: object) -> Trial:
    given = {
        "dataset": part("datasets", "songs"),
        "defense": part("defenses", "cloak"),
        "attacker": part("attackers", "learner"),
        "seed": 0,
        "surrogates": (part("attackers", "learner"),),
    }
    return Trial(**{**given, **more})  # type: ignore[arg-type]


# The keys of schema 1. They may never change: a store is found again by them. A change of what a stage computes raises
# SCHEMA and adds a line here.
FROZEN = {
    "clean_set": "9a3750a2675c7638815298cd676773b9",
    "test_set": "58a08efb2d05f57e6baccdd0da954822",
    "protected_set": "6aceacddfa5acb828fed1b7b85218702",
    # New: auditing was a part of protecting, whose cost it hid.
    "audit": "9796e72306685ca2a5498bbe61b56925",
    # Changed with what follows from them, here and under "clean_adapted": models of adapted sets have the published set
    # as a parent too, whose size decides how many steps they take. An adaptation may leave items out.
    "protected_learned": "2e462e3c57d8689a4acd630c7e0ed37a",
    "protected": "559ce7a364e8878bfa43a8d81d2a9a23",
    "clean_learned": "93e86bfadf4516f0ce39041501befb46",
    "clean": "8236a0c1a8eff010f74370d28786b316",
    "untrained": "fee2413872963aa620a0b1c5d309886a",
    "clean_adapted_learned": "003a063ebf6cd47e62471f4de02b1d9f",
    "clean_adapted": "911ad45ed3bcac9b48a062834584a4b3",
}


def test_the_keys_of_schema_1_are_frozen() -> None:
    (cell,) = plan([trial(adaptation=part("adaptations", "mp3", hooks=("transform",)))]).cells
    assert dict(cell.keys) == FROZEN


def test_equal_stages_collapse() -> None:
    first, second = trial(), trial(attacker=part("attackers", "other"))
    both = plan([first, second])
    assert both.cells[0].keys["protected_set"] == both.cells[1].keys["protected_set"]
    alone = len(plan([first]).stages) + len(plan([second]).stages)
    shared = {"load": 3, "protect": 1, "audit": 1}
    assert len(both.stages) == alone - sum(shared.values())


def test_the_clean_arm_is_shared_by_every_defense_and_is_the_clean_control() -> None:
    clean = trial(defense=part("defenses", "clean", control=Control.CLEAN), surrogates=())
    cells = plan([clean, trial()]).cells
    assert cells[0].keys["protected"] == cells[0].keys["clean"] == cells[1].keys["clean"]
    assert cells[0].keys["protected_set"] == cells[0].keys["clean_set"]


def test_a_set_is_audited_again_without_being_protected_again(monkeypatch: pytest.MonkeyPatch) -> None:
    (cell,) = plan([trial()]).cells
    monkeypatch.setattr(plan_module, "AUDIT", plan_module.AUDIT + 1)
    (again,) = plan([trial()]).cells
    assert {role for role in cell.keys if cell.keys[role] != again.keys[role]} == {"audit"}
    speech = replace(part("datasets", "songs"), traits={"content": "speech"})
    (spoken,) = plan([trial(dataset=speech)]).cells  # for which other things are measured
    assert {role for role in cell.keys if cell.keys[role] != spoken.keys[role]} == {"audit"}


def test_an_attackers_own_validity_checks_are_made_where_the_clean_arm_is_evaluated() -> None:
    careful = part("attackers", "learner", hooks=("validity",))
    clean = trial(attacker=careful, defense=part("defenses", "clean", control=Control.CLEAN), surrogates=())
    planned = plan([clean, trial(attacker=careful)])
    for cell in planned.cells:
        checked = [role for role, key in cell.keys.items() if "untrained" in planned.stages[key].parents]
        assert {"clean"} <= set(checked) <= {"clean", "protected"}
        assert {planned.stages[cell.keys[role]].parents["untrained"] for role in checked} == {cell.keys["untrained"]}
    assert planned.cells[0].keys["protected"] == planned.cells[0].keys["clean"] == planned.cells[1].keys["clean"]


def test_parents_come_before_children() -> None:
    seen: set[str] = set()
    adapted = trial(adaptation=part("adaptations", "mp3", hooks=("transform",)))
    for key, stage in plan([adapted, replace(adapted, seed=1)]).stages.items():
        assert set(stage.parents.values()) <= seen
        seen.add(key)


def test_what_decides_a_result_decides_the_key() -> None:
    (base,) = plan([trial()]).cells
    for changed in (
        trial(seed=1),
        trial(defense=replace(part("defenses", "cloak"), params={"level": 0.6})),
        trial(defense=replace(part("defenses", "cloak"), digest="fedcba9876543210")),
        trial(surrogates=()),
        trial(knowledge="none"),
        trial(dataset=replace(part("datasets", "songs"), params={})),
        trial(dataset=replace(part("datasets", "songs"), data="other files")),
        trial(expects=(part("adaptations", "mp3"),)),
        trial(reference=part("defenses", "cloak"), defense=part("defenses", "noise", control=Control.MATCHED)),
    ):
        (cell,) = plan([changed]).cells
        assert cell.keys["protected_set"] != base.keys["protected_set"], changed


def test_what_does_not_decide_a_result_does_not_decide_the_key() -> None:
    (base,) = plan([trial()]).cells
    (cell,) = plan(
        [trial(defense=replace(part("defenses", "cloak"), label="mine", needs=Needs(cpus=2), version=3))]
    ).cells
    assert cell.keys == base.keys


def test_only_a_hooked_adaptation_reaches_learning() -> None:
    transform = trial(adaptation=part("adaptations", "mp3", hooks=("transform",)))
    augment = trial(adaptation=part("adaptations", "shift", hooks=("augment",)))
    (first,), (second,) = plan([transform]).cells, plan([augment]).cells
    tasks = [stage.task for stage in plan([transform]).stages.values()]
    assert tasks.count("adapt") == 2  # the protected set and, as the attack's price, the clean one
    assert "adapt" not in [stage.task for stage in plan([augment]).stages.values()]
    assert first.keys["clean"] == second.keys["clean"] != second.keys["clean_adapted"]


def test_a_stage_needs_what_its_neediest_plugin_needs() -> None:
    greedy = trial(attacker=part("attackers", "learner", needs=Needs(cpus=4, accelerator_gb=8)))
    needs = {stage.task: stage.needs for stage in plan([greedy]).stages.values()}
    assert needs["learn"] == Needs(cpus=4, accelerator_gb=8)
    assert needs["load"] == needs["audit"] == Needs(accelerator_gb=0)


def test_a_stage_is_made_once_however_many_trials_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    real = planned_module.stage

    def counted(*given: Any) -> Any:
        made.append(given[0])
        return real(*given)

    monkeypatch.setattr(planned_module, "stage", counted)
    cloak, songs, learner = part("defenses", "cloak"), part("datasets", "songs"), part("attackers", "learner")
    adaptations = [None, *(part("adaptations", f"mp3-{index}", hooks=("transform",)) for index in range(20))]
    shared = {"defense": cloak, "dataset": songs, "attacker": learner, "surrogates": (learner,)}
    planned = plan(trial(adaptation=adapted, seed=seed, **shared) for adapted in adaptations for seed in range(5))
    assert len(planned.cells) == 105
    assert len(made) == len(planned.stages)
    assert made.count("load") == 3
    assert made.count("protect") == 5


def test_equal_parts_that_are_not_one_object_still_collapse() -> None:
    first, second = plan([trial(), trial()]).cells
    assert first.keys == second.keys
    assert len(plan([trial(), trial()]).stages) == len(plan([trial()]).stages)
