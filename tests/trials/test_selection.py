"""Successive halving: who goes on, with which part of the training, and what is read."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.results import reading
from bench.results.consistency import problems
from bench.results.record import Record
from bench.results.suite import Round
from bench.results.worths import row_worths
from bench.trials import track
from bench.trials.again import trial_of
from bench.trials.plan import Plan
from bench.trials.run import Executor, Work, execute, prepare, run_stages
from bench.trials.scheduler import Outcome
from bench.trials.selection import at_effort, best
from bench.trials.store import Store
from bench.trials.trial import Trial
from bench.trials.verify import compare, key_problems

Trials = Callable[..., tuple[Trial, ...]]
THREAT = {"published": 12, "granted": 6, "sizes": [3, 6]}
ROUNDS = [Round(effort=0.5, keep=2), Round(effort=1.0, keep=1)]
PLUGINS = {path.stem: path for path in (Path(__file__).parents[1] / "plugins").glob("*.py")}
ADAPTATIONS = ["none", "quieter", "halves"]


class Bench:
    """Runs tracks in a folder, and keeps the plans of their rounds."""

    def __init__(self, folder: Path, on: Executor = "local"):
        self._on: Executor = on
        self.store = Store(folder / "store")
        self.plans: list[Plan] = []
        self.done: list[str] = []  # titles of the stages that were not in the store
        self.lines: list[str] = []

    def __call__(
        self, trials: tuple[Trial, ...], seeds: tuple[int, ...] = (0, 1), clean: tuple[Record, ...] = ()
    ) -> dict[tuple[str, int], Record]:
        self.plans, self.done, self.lines = [], [], []
        records = track.run(trials, seeds, ROUNDS, self.store, self._perform, self.lines.append, "test", clean)
        return {(record.trial.row, record.trial.seed): record for record in records}

    def _perform(self, plan: Plan) -> Mapping[str, Outcome]:
        self.plans.append(plan)
        work = Work(plan, self.store, self.store.present(plan.stages))
        self.done += [stage.title for key, stage in plan.stages.items() if key not in work.present]
        return run_stages(work, lambda event: None, on=self._on, jobs=1 if self._on == "local" else 2)


def track_trials(small_trials: Trials, **more: object) -> tuple[Trial, ...]:
    given = {"defenses": ["clean", "hiss", "labels"], "adaptations": ADAPTATIONS, "seeds": [0], "threat": THREAT}
    return small_trials(**{**given, "knowledge": ["ensemble"], **more})


def test_the_best_go_on_and_what_failed_does_not() -> None:
    granted = {"a": 0.5, "b": math.nan, "c": 0.7, "d": 0.5}
    assert best(granted, 2) == ["c", "a"]
    assert best(granted, 9) == ["c", "a", "d"]
    assert best({"b": math.nan}, 1) == []


def test_of_every_attacker_some_go_on() -> None:
    granted = {"fast": 0.7, "fast + mp3": 0.8, "slow": 0.2, "slow + mp3": 0.1, "broken": math.nan}
    assert best(granted, 2) == ["fast + mp3", "fast"]
    assert best(granted, 2, each=1) == ["fast + mp3", "fast", "slow"]
    assert best(granted, 1, each=2) == ["fast + mp3", "fast", "slow", "slow + mp3"]


def test_a_part_of_the_effort_is_a_part_of_the_steps(small_trials: Trials) -> None:
    (trial,) = small_trials(defenses=["hiss"], seeds=[0])
    assert at_effort(trial, 0.25).attacker.params["steps"] == 8  # of 30, rounded up
    assert at_effort(trial, 1.0) is trial
    assert at_effort(trial, 1e-6).attacker.params["steps"] == 1
    closed = replace(trial, attacker=replace(trial.attacker, params={"lr": 0.1}))
    assert at_effort(closed, 0.25) is closed


def test_a_track_gives_each_row_and_seed_the_record_of_its_chosen_response(
    small_trials: Trials, tmp_path: Path
) -> None:
    bench = Bench(tmp_path)
    records = bench(track_trials(small_trials))
    assert set(records) == {(row, seed) for row in ("clean", "hiss", "labels") for seed in (0, 1)}
    for record in records.values():
        assert record.status == "ok", record.error
        assert not problems(record)
        assert record.schema_version == 5
        saved = record.save(tmp_path / "records")
        assert reading.load(saved) == record
    hiss = records["hiss", 0]
    assert set(hiss.attempts) == {"protected"}
    assert set(records["clean", 0].attempts) == {"protected", "clean_0", "clean_3", "clean_6"}
    rounds = [(each.effort, each.response) for each in hiss.attempts["protected"]]
    assert [name for effort, name in rounds if effort == 0.5] == ["linear", "linear + quieter", "linear + halves"]
    assert len([name for effort, name in rounds if effort == 1.0]) == 2
    assert len(records["hiss", 1].attempts["protected"]) == 1  # the only one that is left, at the other seed
    whole = {each.response: each.granted for each in hiss.attempts["protected"] if each.effort == 1.0}
    chosen = max(whole, key=lambda name: whole[name] or 0.0)
    adaptation = hiss.trial.adaptation_label
    assert chosen == ("linear" if adaptation == "none" else f"linear + {adaptation}")
    assert hiss.arms["clean"] == records["clean", 0].arms["clean"]
    assert hiss.curve == records["clean", 0].curve
    rows = {row.defense: row for row in row_worths(records.values())}
    assert rows["clean"].worth.items.mean == 12.0
    assert rows["labels"].worth.items.mean < 6.0  # a tone of the wrong class is all that is learned
    assert {row.attackers for row in rows.values()} == {("linear",)}


def test_no_model_is_evaluated_on_test_items_before_the_choice(small_trials: Trials, tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench(track_trials(small_trials))
    *rounds, last = bench.plans
    assert len(rounds) == 3
    for plan in rounds:
        evaluations = [stage for stage in plan.stages.values() if stage.task == "evaluate"]
        assert evaluations
        assert all("granted items" in stage.title or "of 12 clean items" in stage.title for stage in evaluations)
        assert not [stage for stage in plan.stages.values() if stage.title == "load tones test"]
    # A choice a row and seed, and one a size of the clean curve: each with the untrained model beside a row's.
    assert len([stage for stage in last.stages.values() if stage.task == "learn"]) <= (3 + 3) * 2


def test_other_labels_of_the_test_items_change_no_choice(small_trials: Trials, tmp_path: Path) -> None:
    source = (Path(__file__).parents[1] / "plugins" / "tones.py").read_text()
    swapped = tmp_path / "tones.py"
    swapped.write_text(source.replace("% 2\n", '% 2 if split != "test" else 1 - torch.arange(self.clips) % 2\n', 1))
    assert swapped.read_text() != source
    plain = Bench(tmp_path / "plain")(track_trials(small_trials))
    given = {"datasets": ["swapped"], "dataset": {"swapped": {"plugin": str(swapped)}}}
    other = Bench(tmp_path / "other")(track_trials(small_trials, **given))
    for key, record in plain.items():
        assert record.science()["attempts"] == other[key].science()["attempts"]
        assert record.trial.adaptation_label == other[key].trial.adaptation_label
        assert record.mean("protected") != other[key].mean("protected")


def test_the_second_run_does_nothing_and_says_the_same(small_trials: Trials, tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    trials = track_trials(small_trials)
    first = bench(trials)
    assert bench.done
    second = bench(trials)
    assert not bench.done
    assert {key: record.science() for key, record in first.items()} == {
        key: record.science() for key, record in second.items()
    }


@pytest.mark.ray
def test_a_cluster_chooses_the_same(small_trials: Trials, tmp_path: Path) -> None:
    trials = track_trials(small_trials, defenses=["clean", "hiss"])
    cluster = Bench(tmp_path / "cluster", on="ray")(trials, seeds=(0,))
    alone = Bench(tmp_path / "alone")(trials, seeds=(0,))
    assert {key: record.science() for key, record in cluster.items()} == {
        key: record.science() for key, record in alone.items()
    }


def test_a_new_row_takes_the_clean_curve_of_given_records(small_trials: Trials, tmp_path: Path) -> None:
    first = Bench(tmp_path / "first")(track_trials(small_trials))
    clean = tuple(record for (row, _), record in first.items() if row == "clean")
    other = Bench(tmp_path / "other")
    trials = track_trials(small_trials, defenses=["clean", "hiss"])
    second = other(trials, clean=clean)
    assert set(second) == {("hiss", 0), ("hiss", 1)}
    assert not [title for title in other.done if "clean items" in title]
    for key, record in second.items():
        assert not problems(record)
        assert record.science() == first[key].science()
    # A record of another attacker stands for nothing here.
    changed = track_trials(small_trials, defenses=["clean", "hiss"], attacker={"linear": {"steps": 20}})
    assert ("clean", 0) in Bench(tmp_path / "third")(changed, clean=clean)


def test_a_response_that_fails_is_out_and_a_row_without_any_has_a_failed_record(
    small_trials: Trials, tmp_path: Path
) -> None:
    breaks = str(Path(__file__).parents[1] / "plugins" / "breaks.py")
    records = Bench(tmp_path)(
        track_trials(small_trials, defenses=["clean", "breaks"], defense={"breaks": {"plugin": breaks}}), seeds=(0,)
    )
    assert records["clean", 0].status == "ok"
    failed = records["breaks", 0]
    assert failed.status == "failed"
    assert failed.error
    assert "protect" in failed.error["stage"]


def test_what_cannot_stand_in_a_track_is_refused(small_trials: Trials, tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(UsageError, match="no clean control is in the track"):
        bench(track_trials(small_trials, defenses=["hiss"]))
    with pytest.raises(UsageError, match=r"a track needs a threat model"):
        bench(small_trials(defenses=["clean"], seeds=[0]))


def test_a_record_of_a_track_is_verified_by_running_its_chosen_response(small_trials: Trials, tmp_path: Path) -> None:
    record = Bench(tmp_path)(track_trials(small_trials))["hiss", 0]
    trial = trial_of(record, PLUGINS)
    assert not key_problems(record, trial)
    (rerun,) = execute(prepare([trial], Store(tmp_path / "again")), tmp_path / "records", lambda event: None, jobs=1)
    assert compare(record, rerun).finding == "identical"
    worse = record.model_copy(update={"arms": {**record.arms, "protected": record.arms["untrained"]}})
    assert compare(worse, rerun).finding == "does not hold"
