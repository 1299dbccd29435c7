"""Trials under a threat model: what is drawn, what each arm is trained on, and what the record holds."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.api import Clips
from bench.errors import DataError, UsageError
from bench.results.consistency import clashes, problems
from bench.results.record import Record
from bench.results.suite import Suite
from bench.trials.again import trial_of
from bench.trials.artefacts import load_data
from bench.trials.expand import expand
from bench.trials.plan import plan
from bench.trials.run import execute, prepare
from bench.trials.store import Store
from bench.trials.trial import Trial
from bench.trials.verify import compare

Trials = Callable[..., tuple[Trial, ...]]
THREAT = {"published": 12, "granted": 6, "sizes": [3, 6]}
COUNTS = "range(2 * train.epoch_items)"


def run(trials: tuple[Trial, ...], folder: Path) -> list[Record]:
    return execute(prepare(trials, Store(folder / "store")), folder / "records", lambda event: None, jobs=1)


def ids(record: Record, folder: Path, role: str) -> tuple[str, ...]:
    """The items of the set in a role."""
    data = load_data(Store(folder / "store").open(record.stages[role]))
    assert isinstance(data, Clips)
    return data.ids


@pytest.fixture
def counting(tmp_path: Path) -> dict[str, dict[str, dict[str, str]]]:
    """The linear attacker with as many steps as items in an epoch, twice."""
    source = (Path(__file__).parents[1] / "plugins" / "linear.py").read_text()
    assert "range(self.steps)" in source
    path = tmp_path / "counts.py"
    path.write_text(source.replace("range(self.steps)", COUNTS))
    return {"attacker": {"linear": {"plugin": str(path)}}}


def test_every_arm_takes_as_many_steps_and_the_record_holds_the_curve(
    small_trials: Trials, tmp_path: Path, counting: dict[str, dict[str, dict[str, str]]]
) -> None:
    (record,) = run(small_trials(defenses=["hiss"], seeds=[0], threat=THREAT, **counting), tmp_path)
    assert record.status == "ok", record.error
    assert record.schema_version == 3
    assert {arm: len(epochs) for arm, epochs in record.epochs.items()} == {"protected": 30, "clean": 30}
    assert set(record.curve) == {"0", "3", "6"}
    assert all(len(metrics[record.metric]) == len(record.ids) for metrics in record.curve.values())
    assert set(record.granted) == {"protected", "clean", "clean_0", "clean_3", "clean_6"}
    assert all(len(metrics[record.metric]) == 3 for metrics in record.granted.values())
    store = Store(tmp_path / "store")
    steps = [len(store.json(record.stages[f"clean_{size}_learned"], "epochs.json") or []) for size in (0, 3, 6)]
    assert steps == [30, 30, 30]  # twice the 12 published and the 3 granted items that are for training


def test_published_and_granted_items_are_other_items_and_every_seed_draws_its_own(
    small_trials: Trials, tmp_path: Path
) -> None:
    records = run(small_trials(defenses=["hiss"], seeds=[0, 1], threat=THREAT), tmp_path)
    sets = [ids(record, tmp_path, "clean_set") for record in records]
    assert [len(items) for items in sets] == [12, 12]
    assert set(sets[0]) != set(sets[1])
    assert ids(records[0], tmp_path, "protected_set") == sets[0]
    assert records[0].ids == records[1].ids  # the test items are the same for every seed
    assert not set(records[0].ids) & set(sets[0])


def test_defenses_of_a_seed_share_the_clean_curve_of_every_response(small_trials: Trials) -> None:
    trials = small_trials(
        defenses=["clean", "hiss", "labels"], adaptations=["none", "halves"], seeds=[0], threat=THREAT
    )
    stages = plan(trials).stages.values()
    sizes = [stage for stage in stages if stage.task == "learn" and "of 12 clean items" in stage.title]
    assert len(sizes) == 5  # 0, 3 and 6 without an adaptation; 3 and 6 under it, for it changes no granted item
    draws = [stage for stage in stages if stage.task == "draw"]
    assert len(draws) == 5  # 12, 6 and 3 published items; the granted ones to choose by and to train on


def test_other_material_is_trained_on_in_every_arm(
    small_trials: Trials, tmp_path: Path, counting: dict[str, dict[str, dict[str, str]]]
) -> None:
    other = {"plugin": str(Path(__file__).parents[1] / "plugins" / "tones.py"), "clips": 40}
    threat = {**THREAT, "replacement": "others"}
    given = {**counting, "dataset": {"others": other}}
    trials = small_trials(defenses=["hiss"], seeds=[0], threat=threat, datasets=["tones"], **given)
    (record,) = run(trials, tmp_path)
    assert record.status == "ok", record.error
    assert record.trial.replacement is not None
    assert record.trial.replacement.label == "others"
    assert {arm: len(epochs) for arm, epochs in record.epochs.items()} == {"protected": 54, "clean": 54}


def test_every_arm_takes_as_many_steps_as_the_threat_model_says(
    small_trials: Trials, tmp_path: Path, counting: dict[str, dict[str, dict[str, str]]]
) -> None:
    threat = {**THREAT, "sizes": [6], "steps_as": 40}
    (record,) = run(small_trials(defenses=["hiss"], seeds=[0], threat=threat, **counting), tmp_path)
    assert record.status == "ok", record.error
    store = Store(tmp_path / "store")
    models = ("protected", "clean", "clean_0", "clean_6")
    steps = [len(store.json(record.stages[f"{model}_learned"], "epochs.json") or []) for model in models]
    assert steps == [2 * (40 + 3)] * 4  # the granted items for training come on top


def test_an_adaptation_may_be_given_the_granted_items_apart(small_trials: Trials, tmp_path: Path) -> None:
    (record,) = run(small_trials(defenses=["hiss"], seeds=[0], adaptations=["apart"], threat=THREAT), tmp_path)
    assert record.status == "ok", record.error
    first = record.epochs["protected"][0]
    assert (first["published"], first["granted"], first["validation items"]) == (12, 3, 3)
    with pytest.raises(UsageError, match="'apart' trains on granted items, of which this run has none"):
        small_trials(defenses=["hiss"], seeds=[0], adaptations=["apart"])


def test_a_record_whose_curve_or_granted_items_were_changed_is_found(small_trials: Trials, tmp_path: Path) -> None:
    honest, other = run(small_trials(defenses=["hiss", "labels"], seeds=[0], threat=THREAT), tmp_path)
    assert problems(honest) == []
    assert clashes([honest, other]) == []
    assert compare(honest, honest).finding == "identical"

    def edited(**fields: object) -> Record:
        return honest.model_copy(update=fields)

    values = honest.curve["3"][honest.metric]
    lower = {**honest.curve, "3": {**honest.curve["3"], honest.metric: [(value or 0.0) - 0.5 for value in values]}}
    assert problems(edited(curve=lower)) == []
    assert "curve.3 of stage" in clashes([other, edited(curve=lower)])[0]
    assert "curve.3: mean" in compare(edited(curve=lower), honest).reasons[0]
    assert problems(edited(curve={"3": honest.curve["3"]})) == ["curve: sizes 3; expected 0, 3, 6"]
    short = {**honest.granted, "clean": {metric: items[1:] for metric, items in honest.granted["clean"].items()}}
    assert f"granted.clean.{honest.metric}: 2 values for 3 items" in problems(edited(granted=short))


def test_a_trial_is_rebuilt_from_its_record(small_trials: Trials, tmp_path: Path) -> None:
    (trial,) = small_trials(defenses=["hiss"], seeds=[0], threat=THREAT)
    (record,) = run((trial,), tmp_path)
    plugins = Path(__file__).parents[1] / "plugins"
    files = {name: plugins / f"{name}.py" for name in ("tones", "hiss", "linear")}
    rebuilt = trial_of(record, files)
    assert rebuilt.threat == trial.threat
    assert plan([rebuilt]).cells[0].keys == plan([trial]).cells[0].keys


def test_a_set_that_is_too_small_fails_with_what_fits(small_trials: Trials, tmp_path: Path) -> None:
    trials = small_trials(defenses=["hiss"], seeds=[0], threat={"published": 500, "granted": 6})
    with pytest.raises(DataError, match="leave 18 to publish beside 6 granted, expected at least 500"):
        run(trials, tmp_path)


@pytest.mark.parametrize(
    ("threat", "message"),
    [
        ({"published": 12}, "granted"),
        ({"published": 12, "granted": 1}, "greater than or equal to 2"),
        ({"published": 12, "granted": 4, "sizes": [6, 12]}, "size 12 of the clean curve: expected less than the 12"),
        ({"published": 12, "granted": 4, "sizes": [6, 3]}, "expected increasing"),
        ({"published": 12, "granted": 4, "size": [3]}, "size"),
    ],
)
def test_a_threat_model_that_makes_no_sense_is_refused(
    small_suite: Callable[..., Suite], threat: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        expand(small_suite(threat=threat))
