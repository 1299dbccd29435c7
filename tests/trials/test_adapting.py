"""Adaptations that learn from pairs: the attacker protects its granted items itself, with another seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.api import Clips
from bench.errors import UsageError
from bench.results.record import Record
from bench.results.threat import ThreatModel
from bench.trials.again import trial_of
from bench.trials.artefacts import load_data
from bench.trials.expand import expand
from bench.trials.plan import Plan, Stage, plan
from bench.trials.run import execute, prepare
from bench.trials.store import Store
from bench.trials.trial import Trial
from tests.factories import PLUGINS

FILES = {file.stem: file for file in PLUGINS.glob("*.py")}
THREAT: dict[str, Any] = {"published": 12, "granted": 6, "sizes": [3, 6]}
Suites = Callable[..., Any]


def asked(make: Suites, *adaptations: str, granting: bool = True, **more: Any) -> tuple[Trial, ...]:
    """Trials, as a rule under a threat model, against `undoes` and links before and after it."""
    tables = {name: {"plugin": str(FILES[name])} for name in ("undoes", "halves", "quieter")}
    used = {link for name in adaptations for link in name.split("+")}
    made = make(**{"defenses": ["hiss"], "seeds": [0], **more})
    changed = {
        "threat": ThreatModel(**THREAT) if granting else None,
        "adaptations": list(adaptations),
        "adaptation": {name: tables[name] for name in tables if name in used},
    }
    return expand(made.model_copy(update=changed)).trials


def adapt(planned: Plan, model: str, cell: int = 0) -> Stage:
    """The stage that made what a model is trained on."""
    learned = planned.stages[planned.cells[cell].keys[model]]
    return planned.stages[learned.parents["train"]]


def run(trials: tuple[Trial, ...], folder: Path) -> list[Record]:
    return execute(prepare(trials, Store(folder / "store")), folder / "records", lambda event: None, jobs=1)


def test_granted_items_are_protected_by_other_random_numbers(small_suite: Suites, tmp_path: Path) -> None:
    trials = asked(small_suite, "undoes")
    (record,) = run(trials, tmp_path)
    assert record.status == "ok", record.error
    store, planned = Store(tmp_path / "store"), plan(trials)

    def clips(key: str) -> Clips:
        data = load_data(store.open(key))
        assert isinstance(data, Clips)
        return data

    stage = adapt(planned, "protected_learned")
    clean, pairs = clips(stage.parents["clean"]), clips(stage.parents["pairs"])
    assert clean.ids == pairs.ids
    assert len(clean) == 3
    assert clean.labels is not None
    published, original = clips(record.stages["protected_set"]), clips(record.stages["clean_set"])
    assert not set(clean.ids) & set(published.ids)
    noise, theirs = pairs.audio - clean.audio, (published.audio - original.audio)[:3]
    assert 0.09 < float(noise.abs().max()) < 0.11
    both = torch.stack([noise.flatten(), theirs.flatten()])
    assert abs(float(torch.corrcoef(both)[0, 1])) < 0.1
    expected = (published.audio - noise.mean(0)).clamp(-1, 1)
    assert torch.allclose(clips(stage.key).audio, expected, atol=2**-14)
    again = trial_of(record, FILES)
    assert plan([again]).cells[0].key == record.key


def test_pairs_of_clean_items_are_clean_and_shared_by_all_defenses(small_suite: Suites) -> None:
    planned = plan(asked(small_suite, "undoes", defenses=["clean", "hiss", "labels"]))
    clean, hiss, labels = planned.cells
    for cell in (clean, hiss, labels):
        assert cell.keys["clean_adapted"] == clean.keys["protected"]
        assert cell.keys["clean_3"] == clean.keys["clean_3"]
    for model in ("clean_adapted_learned", "clean_3_learned"):
        stage = adapt(planned, model, cell=1)
        assert stage.parents["clean"] == stage.parents["pairs"]
    own = [adapt(planned, "protected_learned", cell) for cell in (1, 2)]
    assert len({stage.parents["clean"] for stage in own}) == 1
    assert len({stage.parents["pairs"] for stage in own}) == 2


def test_pairs_are_protected_as_the_trial_protects(small_suite: Suites) -> None:
    trials = asked(small_suite, "undoes", controls=["noise"])
    planned = plan(trials)
    for at, trial in enumerate(trials):
        stage = adapt(planned, "protected_learned", at)
        pairs, published = (
            planned.stages[key] for key in (stage.parents["pairs"], planned.cells[at].keys["protected_set"])
        )
        assert pairs.parts == published.parts
        assert pairs.options == {**published.options, "stream": "pairs"}
        assert set(pairs.parents) == set(published.parents)
        if trial.reference:
            assert planned.stages[pairs.parents["reference"]].options["stream"] == "pairs"
    blind = replace(trials[0], knowledge="none", surrogates=())
    stages = plan([blind]).stages.values()
    assert {stage.options["knowledge"] for stage in stages if stage.task == "protect"} == {"none"}


def test_links_before_change_the_pairs_too(small_suite: Suites, tmp_path: Path) -> None:
    trials = asked(small_suite, "halves+undoes", "undoes+halves")
    planned = plan(trials)
    stage = adapt(planned, "protected_learned")
    before = [planned.stages[stage.parents[role]] for role in ("train", "clean", "pairs")]
    assert [each.task for each in before] == ["adapt"] * 3
    first = planned.stages[adapt(planned, "protected_learned", 1).parents["train"]]
    assert planned.stages[first.parents["clean"]].task == "draw"
    assert planned.stages[first.parents["pairs"]].task == "protect"
    assert [record.status for record in run(trials, tmp_path)] == ["ok", "ok"]


def test_without_granted_items_there_are_no_pairs(small_suite: Suites) -> None:
    said = "'undoes' learns from granted items that it protects itself, of which this run has none"
    with pytest.raises(UsageError, match=said) as error:
        asked(small_suite, "undoes", granting=False)
    assert "\n" not in str(error.value)
