"""A record's trial is rebuilt as it was asked."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import plugins
from bench.errors import DataError
from bench.results import reading
from bench.results.record import PartRecord, Record, TrialRecord
from bench.results.suite import Suite
from bench.trials.again import trial_of
from bench.trials.expand import expand
from bench.trials.plan import plan
from bench.trials.resolving import resolve
from bench.trials.run import execute, prepare
from bench.trials.store import Store
from bench.trials.trial import Part, Trial

Trials = Callable[..., tuple[Trial, ...]]
PLUGINS = Path(__file__).resolve().parents[1] / "plugins"
FILES = {file.stem: file for file in PLUGINS.glob("*.py")}
COMMITTED = sorted((plugins.home() / "leaderboards" / "records").glob("*.jsonl.xz"))


def asked(part: Part | PartRecord) -> tuple[str, dict[str, Any], dict[str, Any], int]:
    """What the record and the rebuilt trial must agree on."""
    return (
        part.title if isinstance(part, Part) else part.label,
        dict(part.params),
        dict(part.overrides),
        part.version,
    )


def parts(trial: Trial | TrialRecord) -> list[Part | PartRecord]:
    single = (trial.dataset, trial.defense, trial.attacker, trial.adaptation, trial.reference)
    return [*(part for part in single if part), *trial.surrogates, *trial.expects]


def run(trials: tuple[Trial, ...], folder: Path) -> list[Record]:
    return execute(prepare(trials, Store(folder / "store")), folder / "records", lambda event: None, jobs=1)


@pytest.mark.parametrize("archive", COMMITTED, ids=lambda path: path.name)
def test_a_committed_record_of_every_suite_gives_its_trial_back(archive: Path) -> None:
    records = reading.load_archive(archive)
    protected = next(one for one in records if one.trial.control != "clean")
    for made in (records[0], protected):
        try:
            trial = trial_of(made)
        except DataError as error:
            if "BENCH_DATA" in str(error) or "espeak" in str(error):
                pytest.skip(str(error))
            if "unknown parameter of defense 'harmonycloak' 'divergence'" not in str(error):
                raise
            pytest.skip("its HarmonyCloak is the one whose losses were not relative")
        assert trial.name == made.name
        assert (trial.row, trial.defense.control) == (made.trial.row, made.trial.control)
        for part, recorded in zip(parts(trial), parts(made.trial), strict=True):
            assert isinstance(part, Part)
            # Parameters that a plugin gained since the record was made have their defaults.
            gained = {key: value for key, value in part.params.items() if key not in recorded.params}
            defaults = resolve(part.kind, part.name, {}, made.trial.preset).params
            assert gained == {key: defaults[key] for key in gained}
            assert part.version >= recorded.version
            kept = replace(part, params={key: part.params[key] for key in recorded.params}, version=recorded.version)
            assert asked(kept) == asked(recorded)


def test_the_rebuilt_trial_needs_no_other_work(small_trials: Trials, tmp_path: Path) -> None:
    trials = small_trials(
        defenses=["clean", "hiss"], controls=["noise"], adaptations=["none", "quieter"], shares=[1.0, 0.5], seeds=[0]
    )
    records = run(trials, tmp_path)
    assert len(records) == len(trials) == 8
    for trial, made in zip(trials, records, strict=True):
        again = trial_of(made, FILES)
        assert again.name == trial.name
        (cell,) = plan([again]).cells
        assert cell.key == made.key, trial.name


def test_a_label_is_kept_and_its_file_found_by_it(small_suite: Callable[..., Suite], tmp_path: Path) -> None:
    loud = {"loud": {"plugin": str(PLUGINS / "hiss.py"), "epsilon": 0.3}}
    suite = small_suite(seeds=[0]).model_copy(update={"defenses": ["loud"], "defense": loud})
    (made,) = run(expand(suite).trials, tmp_path)
    again = trial_of(made, {**FILES, "loud": PLUGINS / "hiss.py"})
    assert again.name == made.name
    assert again.defense.params == {"epsilon": 0.3}


def test_what_is_not_installed_is_named_in_one_line(small_trials: Trials, tmp_path: Path) -> None:
    (made,) = run(small_trials(defenses=["hiss"], seeds=[0]), tmp_path)
    with pytest.raises(DataError, match=r"^record 'tones--hiss--.*' cannot be run again here: unknown dataset 'tones'"):
        trial_of(made)
    parted = made.trial.defense.model_copy(update={"params": {"epsilom": 0.1}})
    other = made.model_copy(update={"trial": made.trial.model_copy(update={"defense": parted})})
    with pytest.raises(DataError, match=r"parameter of defense '.*' 'epsilom': did you mean 'epsilon'") as caught:
        trial_of(other, FILES)
    assert "\n" not in str(caught.value)
