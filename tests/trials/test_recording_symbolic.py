"""A symbolic trial's record: what the attacker reads, what the surrogate lost, what models generate."""

import json
from pathlib import Path

import pytest

from bench.api import Rolls
from bench.report import losses, markdown, music
from bench.results.board import Board
from bench.results.record import Record
from bench.results.suite import Suite, suite
from bench.trials.expand import expand
from bench.trials.plan import plan
from bench.trials.run import execute, prepare
from bench.trials.store import Store


@pytest.fixture(scope="module")
def asked() -> Suite:
    return suite(
        {
            "preset": "smoke",
            "seeds": [0],
            "datasets": ["band"],
            "dataset": {"band": {"rolls": 48, "validation_rolls": 16, "test_rolls": 16}},
            "defenses": ["clean", "constant_epsilon"],
            "defense": {"constant_epsilon": {"rounds": 2, "learner_steps": 2, "noise_steps": 1, "batch": 24}},
            "attackers": ["reading", "blind"],
            "attacker": {
                "reading": {"plugin": "pianoroll_gru", "steps": 30, "width": 16, "generated": 8},
                "blind": {"plugin": "pianoroll_gru", "steps": 30, "width": 16, "generated": 8, "velocity": False},
            },
            "published": [
                {"defense": "constant_epsilon", "attacker": "reading", "title": "paper", "music": {"EB[bass]": 0.01}}
            ],
        }
    )


@pytest.fixture(scope="module")
def records(asked: Suite, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Record]:
    folder = tmp_path_factory.mktemp("symbolic")
    made = execute(
        prepare(expand(asked).trials, Store(folder / "store")), folder / "records", lambda event: None, jobs=1
    )
    assert [record.error for record in made] == [None] * 4
    return {(record.trial.row, record.trial.attacker.label): record for record in made}


def test_the_untrained_arm_is_the_prior_of_the_clean_set(asked: Suite) -> None:
    for cell in plan(expand(asked).trials).cells:
        untrained = plan([cell.trial]).stages[cell.keys["untrained"]]
        assert untrained.parents["train"] == cell.keys["clean_set"]
        assert "train" not in plan([cell.trial]).stages[cell.keys["clean"]].parents


def test_a_record_says_what_share_of_the_input_changed(records: dict[tuple[str, str], Record]) -> None:
    assert set(records["clean", "reading"].input_change) == {0.0}
    assert set(records["constant_epsilon", "blind"].input_change) == {0.0}
    changed = records["constant_epsilon", "reading"].input_change
    assert len(changed) == 48
    assert all(share is not None and share > 0.5 for share in changed)


def test_a_velocity_blind_attacker_is_denied_nothing_at_all(records: dict[tuple[str, str], Record]) -> None:
    blind = records["constant_epsilon", "blind"]
    assert blind.arms["protected"] == blind.arms["clean"]
    assert blind.denied == 0.0
    assert records["constant_epsilon", "reading"].denied != 0.0


def test_losses_stand_side_by_side(records: dict[tuple[str, str], Record]) -> None:
    reading = records["constant_epsilon", "reading"]
    assert [set(line) for line in reading.crafting_log] == [{"step", "loss"}] * 2
    headings, body = losses.losses_table(list(records.values()))
    assert len(headings) == len(body[0])
    row = dict(zip(headings, next(line for line in body if line[3] == "reading"), strict=True))
    assert row["surrogate loss, last round"] == f"{reading.crafting_log[-1]['loss']:.3f}"
    assert row["training loss, protected"] == f"{reading.epochs['protected'][-1]['loss']:.3f}"
    assert row["held-out loss, clean"] == f"{-reading.mean('clean'):.3f}"
    assert [line[1] for line in body] == ["constant_epsilon"] * 2
    assert losses.losses_table([records["clean", "reading"]])[1] == []


def test_music_is_measured_beside_its_references(asked: Suite, records: dict[tuple[str, str], Record]) -> None:
    tables = {title: (heads, body) for title, heads, body in music.tables(list(records.values()), asked.published)}
    assert list(tables) == ["Music of reading on band", "Music of blind on band"]
    headings, body = tables["Music of reading on band"]
    for name in ("real", "random notes", "shuffled tracks", "training set", "generated, clean", "generated, untrained"):
        assert name in headings
    row = next(dict(zip(headings, line, strict=True)) for line in body if line[0] == "EB[bass]")
    assert row["paper"] == "0.010"
    assert row["constant_epsilon: training set"] == row["training set"]  # velocities alone changed
    row = next(dict(zip(headings, line, strict=True)) for line in body if line[0] == "UPC[bass]")
    assert float(row["random notes"]) > 2 * float(row["real"])
    assert "paper" not in tables["Music of blind on band"][0]


def test_the_page_of_a_symbolic_suite_has_them_all(asked: Suite, records: dict[tuple[str, str], Record]) -> None:
    read = tuple(record for (_, attacker), record in records.items() if attacker == "reading")
    text = markdown.page(Board(asked, read), "bench matrix x.toml")
    for heading in ("## Losses", "## Music of reading on band", "input changed", "velocity change"):
        assert heading in text
    assert "Epoch by epoch" not in text, "figures of music are no figures of epochs"


def test_rolls_in_the_store_are_what_a_midi_file_holds(tmp_path: Path) -> None:
    import torch

    from bench import plugins
    from bench.notes.velocities import beginnings
    from bench.trials.artefacts import load_data, save_data

    rolls = plugins.build("datasets", "band", {"rolls": 8}, "smoke").load("train")
    save_data(tmp_path, rolls)
    kept = load_data(tmp_path)
    assert isinstance(kept, Rolls)
    assert json.loads((tmp_path / "set.json").read_text())["domain"] == "midi"
    assert torch.equal(kept.onset, beginnings(rolls))
    assert torch.equal(kept.velocity > 0, rolls.velocity > 0)
    whole = kept.velocity * 127
    assert torch.allclose(whole, whole.round(), atol=1e-4)
    assert float((kept.velocity - rolls.velocity).abs().max()) <= 0.5 / 127 + 1e-6
    save_data(tmp_path, kept)
    again = load_data(tmp_path)
    assert isinstance(again, Rolls)
    assert torch.equal(again.velocity, kept.velocity)
