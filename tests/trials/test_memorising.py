"""What models memorised: how items are cut and ranked, the stage, and the record."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.api import Clips, Rolls
from bench.errors import PluginError
from bench.report.memorisation import memorisation_table
from bench.results import reading
from bench.results.consistency import clashes, problems
from bench.results.memorisation import memorisation
from bench.results.record import Record
from bench.trials.memorising import PIECES, halves, rated
from bench.trials.plan import plan
from bench.trials.run import execute, prepare
from bench.trials.store import Store
from bench.trials.trial import Trial
from bench.trials.verify import compare
from tests.attackers.examples import rolls

Trials = Callable[..., tuple[Trial, ...]]
RECALL = {
    "attackers": ["recall"],
    "attacker": {"recall": {"plugin": str(Path(__file__).parents[1] / "plugins/recall.py")}},
}
MEMORISED = {"protected_memorised", "clean_memorised", "untrained_memorised"}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips(items: int, first: int = 0, samples: int = 16, groups: int = 100) -> Clips:
    """Every sample of clip i is its number i, with a minus in its second half."""
    numbers = (first + torch.arange(items)).float()[:, None, None] / 100
    audio = (numbers * torch.where(torch.arange(samples) < samples // 2, 1.0, -1.0)).float()
    return Clips.of(audio, 8, [f"{first + i}" for i in range(items)], groups=[f"{i % groups}" for i in range(items)])


class Scores:
    """An attacker of whose pairs the likelihood is a function of the numbers of prompt and continuation."""

    def __init__(self, likelihood: Callable[[Tensor, Tensor], Tensor]):
        self.likelihood = likelihood

    def continuation(self, model: nn.Module, prompts: Clips, continuations: Clips, pairs: Tensor) -> Tensor:
        before = (100 * prompts.audio[pairs[:, 0], 0, 0]).round()
        after = (-100 * continuations.audio[pairs[:, 1], 0, 0]).round()
        return self.likelihood(before, after)


def values(likelihood: Callable[[Tensor, Tensor], Tensor], published: Clips | None = None) -> Tensor:
    return rated(Scores(likelihood), nn.Module(), published or clips(9), clips(9, first=50), rng())


def test_an_item_is_cut_at_its_middle_and_held_notes_are_struck_again() -> None:
    before, after = halves(clips(3), 4)
    assert before.ids == after.ids == ("0", "1", "2")
    assert before.lengths.tolist() == [4, 4, 4]
    assert torch.equal(before.signal, -after.signal)
    short = replace(clips(1), lengths=torch.tensor([8]))  # its middle is at 4
    assert torch.equal(halves(short, 4)[1].signal, short.audio[..., 4:8])

    data = rolls(2)
    held = replace(data, velocity=torch.full_like(data.velocity, 0.5), onset=torch.zeros_like(data.onset))
    size = int(data.lengths.min()) // 2
    part = halves(held, size)[1]
    assert isinstance(part, Rolls)
    assert part.onset[:, :, 0].all()
    assert not part.onset[:, :, 1:].any()
    assert part.velocity.shape[2] == size


def test_own_continuations_come_first_and_rivals_are_of_other_unpublished_items() -> None:
    own, rivals = values(lambda before, after: after).split([2 * PIECES, 2 * PIECES * (PIECES - 1)])
    assert (own[:PIECES] < 50).all()
    assert (own[PIECES:] >= 50).all()
    assert own.unique().numel() == 2 * PIECES
    for item, others in enumerate(rivals.view(2 * PIECES, PIECES - 1)):
        assert set(others.tolist()) == set(own[PIECES:].tolist()) - {float(own[PIECES + item % PIECES])}
    assert torch.equal(values(lambda before, after: before)[: 2 * PIECES], own)


def test_groups_take_turns_and_a_seed_draws_the_same_items_again() -> None:
    drawn = [values(lambda before, after: before).tolist() for _ in range(2)]
    assert drawn[0] == drawn[1]
    of_groups = values(lambda before, after: before, clips(12, groups=PIECES))[:PIECES] % PIECES
    assert sorted(of_groups.tolist()) == list(range(PIECES))


def test_items_that_are_too_short_or_too_few_are_left_out() -> None:
    some_short = replace(clips(9), lengths=torch.tensor([2] + [16] * 8))
    assert 0.0 not in values(lambda before, after: before, some_short).tolist()
    assert values(lambda before, after: before, clips(1)).numel() == 0


def test_an_attacker_that_returns_no_value_a_pair_is_told_so() -> None:
    with pytest.raises(PluginError, match="one value a pair"):
        values(lambda before, after: before[:1])


def run(trials: tuple[Trial, ...], folder: Path) -> list[Record]:
    return execute(prepare(trials, Store(folder / "store")), folder / "records", lambda event: None, jobs=1)


def test_a_record_says_what_was_memorised(small_trials: Trials, tmp_path: Path) -> None:
    trials = small_trials(**RECALL)
    records = run(trials, tmp_path)
    assert [record.error for record in records] == [None] * 4
    work = prepare(trials, Store(tmp_path / "store"))
    assert all(work.store.has(key) for key in work.plan.stages)  # nothing is measured twice
    assert {record.schema_version for record in records} == {4}
    assert {role for record in records for role in record.stages if role.endswith("_memorised")} == MEMORISED
    assert reading.load_all(tmp_path / "records") == sorted(records, key=lambda record: record.name)
    assert [line for record in records for line in problems(record)] == []
    assert clashes(records) == []
    assert compare(records[0], records[0]).finding == "identical"

    clean = memorisation([record for record in records if record.trial.control.is_clean])
    assert clean is not None
    assert clean.gap == clean.clean_gap
    assert clean.gap.mean > 3 * clean.gap.error > 0
    assert clean.exposure.mean == pytest.approx(clean.most_exposure) == pytest.approx(math.log2(PIECES), abs=1e-4)
    assert clean.unpublished_exposure.mean < clean.exposure.mean - 0.3
    heads, body = memorisation_table(records)
    assert [line[heads.index("defense")] for line in body] == ["clean", "hiss"]


def test_a_record_that_contradicts_itself_is_found(small_trials: Trials, tmp_path: Path) -> None:
    (record,) = run(small_trials(defenses=["clean"], seeds=[0], **RECALL), tmp_path)

    assert problems(record) == []
    shorter = record.model_copy(update={"memorisation": {**record.memorisation, "clean": [0.0]}})
    assert "memorisation.clean: 1 values, expected 2 n n for n items of each kind, for every model" in problems(shorter)
    other = record.model_copy(update={"memorisation": {"withheld": record.memorisation["clean"]}})
    assert problems(other) == ["stages: none for memorisation.withheld"]


def test_under_a_threat_model_the_reference_is_the_model_of_the_granted_items(
    small_trials: Trials, tmp_path: Path
) -> None:
    threat = {"published": 12, "granted": 6, "sizes": [3, 6]}
    (record,) = run(small_trials(defenses=["hiss"], seeds=[0], threat=threat, **RECALL), tmp_path)
    assert set(record.memorisation) == {"protected", "clean", "clean_0"}
    (cell,) = plan(small_trials(defenses=["hiss"], seeds=[0], threat=threat, **RECALL)).cells
    stages = plan([cell.trial]).stages
    assert stages[cell.keys["clean_0_memorised"]].parents == {
        "published": cell.keys["clean_set"],
        "unpublished": cell.keys["test_set"],
        "model": cell.keys["clean_0_learned"],
    }


def test_it_is_measured_of_whole_sets_and_of_attackers_that_continue(small_trials: Trials) -> None:
    def roles(**more: Any) -> set[str]:
        return {role for cell in plan(small_trials(**more)).cells for role in cell.keys if role.endswith("_memorised")}

    assert roles(**RECALL) == MEMORISED
    assert roles() == roles(shares=[0.5], defenses=["hiss"], **RECALL) == set()


def test_a_record_without_it_is_written_as_before(small_trials: Trials, tmp_path: Path) -> None:
    (record,) = run(small_trials(defenses=["clean"], seeds=[0]), tmp_path)
    assert record.schema_version == 2
    assert "memorisation" not in record.text()
