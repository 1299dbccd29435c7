"""Chains of adaptations: planned link by link, trained with all augmentations, and held whole by records."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, nn

from bench.api import Adaptation, Clips
from bench.commands.run import Selection, suite_of
from bench.errors import BenchError, DataError
from bench.report import markdown
from bench.report.exporters import facts
from bench.report.inspection import inspected
from bench.report.site import build, check_site
from bench.report.tables import write_tables
from bench.results import lookup, packing, sources
from bench.results.board import Board
from bench.results.consistency import problems
from bench.results.reading import load, load_archive
from bench.results.record import Record, TrialRecord
from bench.results.roles import parts_of
from bench.results.suite import Suite, suite
from bench.trials import verify
from bench.trials.again import trial_of
from bench.trials.artefacts import load_data
from bench.trials.chains import Chain, paired, trainer
from bench.trials.expand import expand
from bench.trials.plan import Cell, Plan, plan
from bench.trials.remote import perform_remote, serialised
from bench.trials.run import execute, prepare
from bench.trials.store import Store
from bench.trials.trial import Trial
from tests.factories import PLUGINS, part, trial

Suites = Callable[..., Suite]
Trials = Callable[..., tuple[Trial, ...]]
FILES = {file.stem: file for file in PLUGINS.glob("*.py")}
CHAIN = "halves+softly"
THREAT = {"published": 12, "granted": 6, "sizes": [3, 6]}


def chained(make: Suites, *adaptations: str, **more: Any) -> Suite:
    """A suite whose adaptations are links of `halves`, `quieter`, `apart` and `softly`, a variant of `quieter`."""
    files = {name: {"plugin": str(FILES[name])} for name in ("halves", "quieter", "apart")}
    variant = {"softly": {"plugin": str(FILES["quieter"]), "gain": 0.25}}
    made = make(defenses=["hiss"], seeds=[0], **more)
    used = {link for name in (*adaptations, *more.get("expects", [])) for link in name.split("+")}
    tables = {name: table for name, table in {**files, **variant}.items() if name in used}
    return suite({**made.model_dump(exclude_unset=True), "adaptations": adaptations, "adaptation": tables})


def adapted(planned: Plan, cell: Cell, model: str) -> list[str]:
    """The keys of the stages that adapt what a model is trained on, the first link's first."""
    keys = []
    key = planned.stages[cell.keys[model]].parents["train"]
    while planned.stages[key].task == "adapt":
        keys.append(key)
        key = planned.stages[key].parents["train"]
    return keys[::-1]


def run(trials: tuple[Trial, ...], folder: Path) -> list[Record]:
    return execute(prepare(trials, Store(folder / "store")), folder / "records", lambda event: None, jobs=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chains")


@pytest.fixture
def made(small_suite: Suites, folder: Path) -> tuple[Suite, tuple[Record, ...]]:
    """A suite with a chain, which the defender expects too, and its records, run once."""
    asked = chained(small_suite, "none", CHAIN, expects=[CHAIN], name="chains")
    return asked, tuple(run(expand(asked).trials, folder))


def test_links_are_done_in_order_and_chains_share_their_beginning(small_suite: Suites) -> None:
    trials = expand(chained(small_suite, "halves", "halves+softly", "halves+softly+halves", "softly+halves")).trials
    planned = plan(trials)
    single, two, three, turned = (adapted(planned, cell, "protected_learned") for cell in planned.cells)
    assert [len(keys) for keys in (single, two, three, turned)] == [1, 2, 3, 2]
    assert three[:2] == two
    assert two[:1] == single
    assert planned.stages[two[1]].parents["train"] == two[0]
    assert not set(turned) & set(two)
    assert [each.adaptation.title for each in trials if each.adaptation] == [
        "halves", "halves+softly", "halves+softly+halves", "softly+halves",
    ]  # fmt: skip


def test_what_only_preprocessing_links_do_is_done_to_held_out_items(small_suite: Suites, tmp_path: Path) -> None:
    source = FILES["linear"].read_text().replace("(Attacker[Clips]):\n", '(Attacker[Clips]):\n    task = "classify"\n')
    (tmp_path / "classifier.py").write_text(source)
    attacker = {"linear": {"plugin": str(tmp_path / "classifier.py")}}
    (trial,) = expand(chained(small_suite, "softly+halves", attacker=attacker, threat=THREAT)).trials
    planned = plan([trial])
    (cell,) = planned.cells
    test = planned.stages[planned.stages[cell.keys["protected"]].parents["test"]]
    assert [part.title for part in test.parts["adaptation"]] == ["halves"]
    assert test.parents["train"] == cell.keys["test_set"]
    last = planned.stages[adapted(planned, cell, "protected_learned")[-1]]
    assert test.options == last.options  # the random numbers of the link in training
    for role in ("validation", "granted"):
        held = planned.stages[planned.stages[cell.keys["protected_learned"]].parents[role]]
        assert [part.title for part in held.parts["adaptation"]] == ["halves"]
        assert planned.stages[held.parents["train"]].task == "draw"


def test_links_draw_other_random_numbers(small_suite: Suites, tmp_path: Path) -> None:
    """The same noise twice would be one noise of twice the level."""
    file = tmp_path / "adds.py"
    file.write_text(
        FILES["hiss"].read_text()
        .replace("Defense, Knowledge", "Adaptation").replace("(Defense[", "(Adaptation[")
        .replace("def protect(self, data: Clips, knowledge: Knowledge, rng", "def transform(self, data: Clips, rng")
    )  # fmt: skip
    made = small_suite(defenses=["clean"], seeds=[0], adaptations=["adds+adds"], adaptation={})
    (trial,) = expand(made.model_copy(update={"adaptation": {"adds": {"plugin": str(file)}}})).trials
    planned = plan([trial])
    run((trial,), tmp_path)
    store = Store(tmp_path / "store")
    (cell,) = planned.cells
    keys = [cell.keys["clean_set"], *adapted(planned, cell, "protected_learned")]
    sets = [load_data(store.open(key)) for key in keys]
    first, second = (after.signal - before.signal for before, after in itertools.pairwise(sets))
    assert float(first.std()) > 0.05
    correlation = torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]
    assert abs(float(correlation)) < 0.1


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("quieter+apart", r"'quieter\+apart': 'quieter' and 'apart' both train in a way of their own, expected one"),
        ("quieter+softly", "expected one such link at most"),
        ("halves+", r"adaptation 'halves\+': expected names joined by \+, such as trim\+mp3"),
        ("none+halves", r"adaptation 'none\+halves': expected names joined"),
        ("halves+apart", "'apart' trains on granted items, of which this run has none"),
        ("halves+quiter", "unknown adaptation 'quiter': did you mean"),
    ],
)
def test_a_chain_that_makes_no_sense_is_one_line(small_suite: Suites, names: str, said: str) -> None:
    with pytest.raises(BenchError, match=said) as error:
        expand(chained(small_suite, names))
    assert "\n" not in str(error.value)


@dataclass(frozen=True)
class _Adds(Adaptation[Clips]):
    """Multiplies by two and adds a value, so that the order shows."""

    value: float = 0.0

    def augment(self, batch: Clips, rng: Generator) -> Clips:
        return batch.with_audio(2 * batch.audio + self.value)


@dataclass(frozen=True)
class _Trains(_Adds):
    def train(self, attacker: Any, train: Clips, validation: Clips, rng: Generator, *, log: Any) -> nn.Module:
        model: nn.Module = attacker.learn(train, validation, rng, augment=lambda b, r, m: self.augment(b, r), log=log)
        return model


@dataclass(frozen=True)
class _Listener:
    """An attacker that gives what it is trained on as its model."""

    size: int = 3

    def learn(self, train: Clips, validation: Clips, rng: Generator, *, augment: Any = None, log: Any = None) -> Any:
        return augment(train, rng, nn.Identity()) if augment else train


@pytest.mark.parametrize("trains", [None, 0, 1, 2])
def test_augmentations_follow_one_another_whoever_trains(trains: int | None) -> None:
    links = [_Trains(value) if at == trains else _Adds(value) for at, value in enumerate((0.1, 0.02, 0.003))]
    attacker: Any = _Listener()
    link, told = trainer(links, attacker)
    assert link is links[trains or 0]
    assert isinstance(told, _Listener)
    assert (told.size, type(told).__name__) == (3, "_Listener")
    clips, rng = Clips.of(torch.full((1, 1, 4), 0.01), 8000), Generator()
    trained: Any = link.train(told, clips, clips, rng, log=lambda epoch: None)
    assert torch.allclose(trained.audio, torch.full((1, 1, 4), 2 * (2 * (2 * 0.01 + 0.1) + 0.02) + 0.003))
    assert trainer([], attacker) == (None, attacker)
    assert trainer(links[:1], attacker) == (links[0], attacker)


def test_a_chain_that_is_expected_transforms_in_order() -> None:
    clips = Clips.of(torch.full((1, 1, 4), 0.01), 8000)
    chain = Chain(links=(_Adds(0.1), _Adds(0.02)))
    assert torch.allclose(chain.augment(clips, Generator()).signal, torch.full((1, 1, 4), 0.26))
    assert torch.equal(chain.transform(clips, Generator()).signal, clips.audio)


def test_pairs_are_what_both_sides_have_left() -> None:
    clips = Clips.of(torch.rand(4, 1, 8), 8000)
    clean, protected = paired(clips.select([3, 0, 1]), clips.select([1, 2, 3]), "adapt")
    assert clean.ids == protected.ids == ("00003", "00001")
    shorter = Clips.of(torch.rand(4, 1, 7), 8000)
    for other in (shorter, Clips.of(torch.rand(1, 1, 8), 8000, ["else"])):
        with pytest.raises(DataError, match=r"^adapt: [04] pairs, .* put this adaptation first in its chain$"):
            paired(clips, other, "adapt")


def test_a_link_may_train_on_granted_items_apart(small_suite: Suites, tmp_path: Path) -> None:
    (record,) = run(expand(chained(small_suite, "halves+apart", threat=THREAT)).trials, tmp_path)
    assert record.status == "ok", record.error
    first = record.epochs["protected"][0]
    assert (first["published"], first["granted"], first["validation items"]) == (12, 3, 3)


def test_a_record_holds_every_link_under_one_name(made: tuple[Suite, tuple[Record, ...]], folder: Path) -> None:
    plain, record = made[1]
    assert record.status == "ok", record.error
    assert record.name == "tones--hiss--white-box--linear--halves+softly--s0"
    assert (plain.schema_version, record.schema_version) == (5, 5)  # both have a defender that expects the chain
    assert record.trial.adaptation is not None
    assert [link.label for link in record.trial.adaptation.links] == ["halves", "softly"]
    assert record.trial.adaptation.links[1].overrides == {"gain": 0.25}
    roles = [(role.name, part.label) for role, part in parts_of(record.trial)]
    assert roles[-3:] == [("adaptation", "halves"), ("adaptation_2", "softly"), ("attacker", "linear")]
    assert [label for name, label in roles if name == "expects"] == ["halves", "softly"]
    text = json.loads((folder / "records" / f"{record.name}.json").read_text())
    assert all("links" not in text["trial"][role] for role in ("dataset", "defense", "attacker"))
    assert load(folder / "records" / f"{record.name}.json") == record


def test_a_record_without_a_chain_has_the_schema_that_it_had() -> None:
    def record(**adaptation: Any) -> Record:
        asked = trial("hiss", adaptation="mp3").model_copy(update=adaptation)
        return Record(key="0", status="failed", trial=TrialRecord.model_validate(asked.model_dump()))

    assert record().schema_version == 2
    assert "links" not in record().text()
    chain = part("mp3+trim").model_copy(update={"links": [part("mp3"), part("trim")]})
    assert record(adaptation=chain).schema_version == 5
    assert record(expects=[chain]).schema_version == 5
    with pytest.raises(ValueError, match=r"the chain 'mp3\+opus' has other links, expected the label 'mp3\+trim'"):
        record(adaptation=chain.model_copy(update={"label": "mp3+opus"}))
    with pytest.raises(ValueError, match="a plugin that is no adaptation has links"):
        record(attacker=chain)
    deep = part("mp3+trim+mp3").model_copy(update={"links": [chain, part("mp3")]})
    with pytest.raises(ValueError, match="has a chain as a link"):
        record(adaptation=deep)


def test_a_record_is_verified_link_by_link(made: tuple[Suite, tuple[Record, ...]]) -> None:
    record = made[1][1]
    here = {**FILES, "softly": FILES["quieter"]}
    again = trial_of(record, here)
    assert plan([again]).cells[0].key == record.key
    assert problems(record) == verify.trial_problems(record, again) == verify.key_problems(record, again) == []
    assert verify.differences(record, again) == []
    data = json.loads(record.text())
    data["trial"]["adaptation"]["links"][1]["params"]["gain"] = 0.75
    forged = Record.model_validate(data)
    other = trial_of(forged, here)
    assert any(line.startswith("stage protected_learned") for line in verify.key_problems(forged, other))
    data = json.loads(record.text())
    data["trial"]["adaptation"]["links"][1]["digest"] = "0" * 16
    (line,) = verify.differences(Record.model_validate(data), again)
    assert line.startswith("adaptation 2 'softly': source ")


def test_packing_gives_the_records_back(made: tuple[Suite, tuple[Record, ...]], folder: Path, tmp_path: Path) -> None:
    packed = packing.pack(sources.find(folder / "records"), tmp_path / "records.jsonl.xz", tmp_path / "records.json")
    assert load_archive(packed.archive) == sorted(made[1], key=lambda record: record.name)
    source = sources.find(packed.archive)
    assert packing.summary_problems(source, made[1]) == []
    assert packing.unpack(source, tmp_path / "files") == 2
    summary = json.loads(packed.summary.read_text())
    (cell,) = [cell for cell in summary["cells"] if cell["cell"]["adaptation"] == CHAIN]
    assert {"adaptation", "adaptation 2"} <= set(cell["plugins"])


def test_tables_pages_and_trackers_show_the_chain(
    made: tuple[Suite, tuple[Record, ...]], folder: Path, tmp_path: Path
) -> None:
    board = Board(made[0], made[1])
    assert f"linear + {CHAIN}" in markdown.page(board, "bench matrix")
    write_tables(tmp_path, [board])
    with (tmp_path / "trials.csv").open() as file:
        assert [line["adaptation"] for line in csv.DictReader(file)] == ["none", CHAIN]
    match = lookup.find(made[1][1].cell_name, [sources.find(folder / "records")])
    text = inspected(match.source, match.records, lambda key: "")
    assert CHAIN in text
    assert "adaptation 2" in text
    site = tmp_path / "site"
    assert build([board], site, [Store(folder / "store")]) == []
    check_site(site)
    assert list(site.rglob(f"*{CHAIN}*.html"))
    settings = facts.of(made[1][1], "made").settings
    assert settings["adaptation"] == CHAIN
    assert (settings["adaptation_2"], settings["adaptation_2.gain"]) == ("softly", 0.25)


def test_a_chain_of_files_takes_parameters_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PLUGINS)
    selection = Selection(
        defense=["hiss.py"], attacker=["linear.py"], dataset=["tones.py"], control=["none"], seeds=1,
        adapt=["halves.py+quieter.py"], set_=["quieter.gain=0.3"],
    )  # fmt: skip
    trials = expand(suite_of(selection)).trials
    chain = next(each.adaptation for each in trials if each.adaptation)
    assert (chain.title, chain.links[1].params) == ("halves+quieter", {"gain": 0.3})


def test_a_chain_travels_to_another_machine_with_its_files(
    made: tuple[Suite, tuple[Record, ...]], folder: Path
) -> None:
    stages = plan(expand(made[0]).trials).stages.values()
    (protect,) = [stage for stage in stages if stage.task == "protect"]
    task = serialised(protect)
    assert len(task.sources) == 4  # the defense, its surrogate and both links that the defender expects
    outcome = perform_remote(task, str(folder / "store"))
    assert outcome.error is None
