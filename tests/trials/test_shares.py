"""A share of a set, one class alone, and noise that must stay with its clip."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.api import Clips
from bench.errors import DataError, UsageError
from bench.results import table
from bench.results.record import Record
from bench.trials.artefacts import load_data, save_data
from bench.trials.plan import plan
from bench.trials.run import execute, prepare
from bench.trials.stages import perform
from bench.trials.store import Store
from bench.trials.trial import Trial

Trials = Callable[..., tuple[Trial, ...]]


def run(trials: tuple[Trial, ...], folder: Path) -> list[Record]:
    return execute(prepare(trials, Store(folder / "store")), folder / "records", lambda event: None, jobs=1)


def sets(record: Record, folder: Path, *roles: str) -> list[torch.Tensor]:
    """The audio of the sets in these roles."""
    store = Store(folder / "store")
    loaded = [load_data(store.open(record.stages[role])) for role in roles]
    return [data.audio for data in loaded if isinstance(data, Clips)]


def test_a_share_protects_so_many_of_each_class_and_leaves_the_rest(small_trials: Trials, tmp_path: Path) -> None:
    (record,) = run(small_trials(defenses=["hiss"], seeds=[0], shares=[0.5]), tmp_path)
    assert record.status == "ok", record.error
    assert record.trial.row == "hiss on 50%"
    clean, protected, mixed = sets(record, tmp_path, "clean_set", "protected_set", "mixed_set")
    same = (mixed == clean).flatten(1).all(1)
    assert torch.equal(mixed[~same], protected[~same])
    labels = torch.arange(24) % 2
    assert Counter(labels[same].tolist()) == {0: 6, 1: 6}
    assert set(record.arms) == {"protected", "clean", "untrained", "remainder"}
    assert len(record.epochs["remainder"]) == 30
    assert record.alignment["mixed_set"] != record.alignment["protected_set"]


def test_what_is_trained_on_a_part_takes_as_many_steps(small_trials: Trials, tmp_path: Path) -> None:
    """For an attacker that counts epochs: the unprotected rest, and a set from which an adaptation left items out."""
    counts, drops = tmp_path / "counts.py", tmp_path / "drops.py"
    folder = Path(__file__).parents[1] / "plugins"
    source = (folder / "linear.py").read_text()
    assert "range(self.steps)" in source
    counts.write_text(source.replace("range(self.steps)", "range(2 * train.epoch_items)"))
    drops.write_text(
        (folder / "halves.py").read_text().replace("data.with_audio(data.audio * 0.5)", "data.select(range(8))")
    )
    given = {"attacker": {"linear": {"plugin": str(counts)}}, "adaptation": {"halves": {"plugin": str(drops)}}}
    (record,) = run(small_trials(defenses=["hiss"], seeds=[0], shares=[0.5], adaptations=["halves"], **given), tmp_path)
    assert record.status == "ok", record.error
    assert {arm: len(epochs) for arm, epochs in record.epochs.items()} == {
        "protected": 48, "clean": 48, "clean_adapted": 48, "remainder": 48
    }  # fmt: skip


def test_the_same_clips_are_drawn_for_every_defense_and_others_for_another_seed(
    small_trials: Trials, tmp_path: Path
) -> None:
    records = run(small_trials(defenses=["hiss", "labels"], seeds=[0, 1], shares=[0.25]), tmp_path)
    drawn = {}
    for record in records:
        clean, mixed = sets(record, tmp_path, "clean_set", "mixed_set")
        drawn[record.trial.row, record.trial.seed] = (mixed != clean).flatten(1).any(1).tolist()
        assert sum(drawn[record.trial.row, record.trial.seed]) == 6
    assert drawn["hiss on 25%", 0] == drawn["labels on 25%", 0] != drawn["hiss on 25%", 1]


def test_one_class_alone_is_scored_on_its_own_items(small_trials: Trials, tmp_path: Path) -> None:
    (record,) = run(small_trials(defenses=["labels"], seeds=[0], shares=["low"]), tmp_path)
    assert record.status == "ok", record.error
    assert record.trial.row == "labels on 'low'"
    clean, mixed = sets(record, tmp_path, "clean_set", "mixed_set")
    changed = (mixed != clean).flatten(1).any(1)
    assert changed.tolist() == [i % 2 == 0 for i in range(24)]
    scored = [record.labels[at] for at in record.scored]
    assert set(scored) == {"low"}
    assert len(scored) == 12
    values = record.arms["protected"]["log likelihood"]
    assert record.mean("protected") == pytest.approx(sum(values[at] or 0.0 for at in record.scored) / 12)
    assert "remainder" not in record.arms


def test_a_share_that_makes_no_sense_is_refused(small_trials: Trials, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"share 1\.5, expected more than 0 and up to 1"):
        small_trials(shares=[1.5])
    with pytest.raises(DataError, match="class to protect alone 'lo': did you mean 'low'"):
        run(small_trials(defenses=["hiss"], seeds=[0], shares=["lo"]), tmp_path)
    records = run(small_trials(defenses=["clean", "hiss"], seeds=[0], shares=[1.0, 0.99]), tmp_path / "most")
    (empty,) = [record.error for record in records if record.status == "failed"]
    assert empty is not None
    assert "no item is left unprotected" in empty["message"]


def test_controls_are_for_the_whole_set_and_shares_are_ranked_apart(small_trials: Trials, tmp_path: Path) -> None:
    trials = small_trials(defenses=["clean", "hiss", "labels"], shares=[1.0, 0.5])
    rows = {trial.row for trial in trials}
    assert rows == {"clean", "hiss", "labels", "hiss on 50%", "labels on 50%"}
    shown = table.rows(run(trials, tmp_path))
    ranked = {row.defense: row.rank for row in shown if not row.control}
    assert {ranked["hiss on 50%"], ranked["labels on 50%"]} <= {(1, 1), (2, 2), (1, 2)}
    assert [row.share for row in shown if not row.control] == [1.0, 1.0, 0.5, 0.5]
    assert any("remainder" in cell.means for row in shown for cell in row.cells)


def test_shuffling_between_protect_and_learn_changes_no_hash_and_a_swap_is_caught(
    small_trials: Trials, tmp_path: Path
) -> None:
    """The training set on disk, in another order, is learnt from; with two recordings exchanged it is refused."""
    (trial,) = small_trials(defenses=["hiss"], seeds=[0])
    work = plan([trial])
    store = Store(tmp_path / "store")
    key = work.cells[0].keys["protected_set"]
    learned = next(stage for stage in work.stages.values() if key in stage.parents.values() and stage.task == "learn")
    for stage in work.stages.values():
        if stage.task in {"load", "protect"}:
            assert perform(stage, store.url).error is None
    data = load_data(store.open(key))
    assert isinstance(data, Clips)
    shuffled = data.select(torch.randperm(len(data), generator=torch.Generator().manual_seed(1)))
    swapped = replace(data, audio=data.audio.roll(1, 0))
    messages = []
    for number, published in (("1", shuffled), ("2", swapped)):
        with store.write(number * 32) as (folder, meta):
            save_data(folder, published)
            meta["alignment"] = store.meta(key)["alignment"]
        again = replace(learned, key=number * 31 + "0", parents={**learned.parents, "train": number * 32})
        messages.append((perform(again, store.url).error or {}).get("message", ""))
    assert messages[0] == ""
    assert "the training set is misaligned: its alignment hash" in messages[1]


def test_a_defense_that_shuffles_its_clips_is_caught(small_trials: Trials, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="more like another clip's recording than like their own \\(first: 'train-"):
        run(small_trials(defenses=["swaps"], seeds=[0]), tmp_path)


def test_padding_may_be_filled_by_who_says_so(small_trials: Trials, tmp_path: Path) -> None:
    short = tmp_path / "short.py"
    source = (Path(__file__).parents[1] / "plugins" / "tones.py").read_text()
    cut = "lengths=torch.full((self.clips,), 1500), "
    source = source.replace("audio, self.rate, ids,", f"audio * (torch.arange(2000) < 1500), self.rate, ids, {cut}")
    short.write_text(source)
    given = {"dataset": {"tones": {"plugin": str(short)}}, "defenses": ["fills"], "seeds": [0]}
    (record,) = run(small_trials(**given), tmp_path)
    assert record.status == "ok", record.error
    (protected,) = sets(record, tmp_path, "protected_set")
    assert protected[..., 1500:].abs().max() > 0
    assert all(value is not None for value in record.audibility["snr_db"])
    with pytest.raises(DataError, match="the lengths changed, expected those of the clean set"):
        run(small_trials(**given, defense={"fills": {"padding": False}}), tmp_path)


def test_preprocessing_changes_what_a_classifier_is_tested_on(small_trials: Trials, tmp_path: Path) -> None:
    classifier = tmp_path / "judge.py"
    source = (Path(__file__).parents[1] / "plugins" / "linear.py").read_text()
    classifier.write_text(source.replace("    steps: int = 30", '    task = "classify"\n    steps: int = 30'))
    given = {"defenses": ["hiss"], "seeds": [0], "adaptations": ["halves"]}
    for plugin, expected in ((classifier, 4), (Path(__file__).parents[1] / "plugins" / "linear.py", 2)):
        trials = small_trials(**given, attacker={"linear": {"plugin": str(plugin)}})
        stages = plan(trials).stages.values()
        assert [stage.task for stage in stages].count("adapt") == expected  # protected, clean; validation, test
        (record,) = run(trials, tmp_path / plugin.stem)
        assert record.status == "ok", record.error
        (test, untouched) = (
            plan(trials).stages[record.stages[role]].parents["test"] for role in ("protected", "untrained")
        )
        assert (test != untouched) == (expected == 4)
