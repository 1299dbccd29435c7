"""The conformance kit on the sets it tries plugins on: full scale, unlabelled, cards, unknown splits, type hints."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator

from bench import plugins
from bench._kit import sets
from bench.api import Adaptation, Clips, Dataset, Defense, Knowledge
from bench.check import checks, outcome
from bench.errors import DataError, UsageError
from bench.vocabulary import PerDomain


def reason(kind: str, plugin: Any, name: str) -> str:
    """Why a check fails, or nothing."""
    return outcome(next(check for check in checks(kind, plugin) if check.name == name)).reason  # type: ignore[arg-type]


@pytest.mark.parametrize("domain", ["audio", "midi"])
@pytest.mark.parametrize("case", sets.CASES)
def test_every_example_set_is_usable(domain: str, case: str) -> None:
    data = sets.example(domain, case).check()
    loudest = float(data.signal.abs().max())
    assert (loudest == 1.0) == (case == "full scale")
    assert (data.labels is None) == (case == "unlabelled")


def test_an_unknown_domain_or_case_is_an_error_everywhere() -> None:
    for ask in (sets.example, sets.material):
        with pytest.raises(UsageError, match="unknown domain 'video'"):
            ask("video")
    with pytest.raises(UsageError, match="unknown example set 'loud'"):
        sets.example("audio", "loud")


def test_a_table_lacks_no_domain_and_has_no_other() -> None:
    with pytest.raises(TypeError, match="expected one for each of audio, midi"):
        PerDomain(audio=1)
    with pytest.raises(TypeError, match="expected one for each of audio, midi"):
        PerDomain(audio=1, midi=2, video=3)
    table = PerDomain(audio=1, midi=2)
    assert (table["midi"], table.of(sets.tones(1))) == (2, 1)


@dataclass(frozen=True)
class Louder(Defense[Clips]):
    """Adds noise without clipping; by class if `labelled`."""

    per = "clip"
    level: float = 0.01
    labelled: bool = False
    refuses: bool = False

    def protect(self, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
        if self.refuses and data.labels is None:
            raise DataError("the clips have no labels")
        keys = 1 + int(data.labels.max()) if self.labelled else len(data)  # type: ignore[union-attr]
        noise = self.level * torch.rand(max(keys, len(data)), *data.audio.shape[1:], generator=rng)[: len(data)]
        return data.with_audio(data.audio + noise * data.support)


def test_noise_that_leaves_full_scale_is_found() -> None:
    assert not reason("defenses", Louder(), "stays in range")
    assert "peaks at" in reason("defenses", Louder(), "takes full scale")


def test_a_defense_without_labels_works_or_refuses_in_one_line() -> None:
    assert "data.labels is None" in reason("defenses", Louder(labelled=True), "takes unlabelled")
    assert not reason("defenses", Louder(labelled=True, refuses=True), "takes unlabelled")


@dataclass(frozen=True)
class Bare(Adaptation[Clips]):
    def transform(self, data, rng):  # type: ignore[no-untyped-def]
        return data


def test_methods_without_type_hints_are_found() -> None:
    found = reason("adaptations", Bare(), "methods have type hints")
    assert "transform: no type hint for data, rng, its result" in found
    assert "rng: Generator" in found


@dataclass(frozen=True)
class Careless(Dataset[Clips]):
    def load(self, split: str) -> Clips:
        at = {"train": 0, "validation": 4, "test": 8}[split]
        return replace(sets.tones(12)).select(range(at, at + 4))


def test_an_unknown_split_must_be_refused_by_name() -> None:
    found = reason("datasets", Careless(), "refuses an unknown split")
    assert found.startswith("load('no-such-split') raised KeyError")
    assert "bench.errors.unknown('split', split, SPLITS)" in found


CARDED = '''"""Tones with a card."""
from dataclasses import dataclass
from bench._kit import sets
from bench.api import Clips, Dataset

@dataclass(frozen=True)
class Carded(Dataset[Clips]):
    presets = {"smoke": {"items": 4}}
    items: int = 8

    def load(self, split: str) -> Clips:
        at = {"train": 0, "validation": 8, "test": 16}[split]
        return sets.tones(24).select(range(at, at + self.items))
'''
CARD = """licence = "CC0"
citation = "none"
splits = "by key"
sizes = [
  { preset = "smoke", split = "train", items = 4, groups = 2, seconds = 5.1 },
  { preset = "small", split = "train", items = 99, groups = 2, seconds = 5.1 },
]
[checksums]
ids = "x"
"""


@pytest.mark.parametrize(
    ("old", "new", "check", "sentence"),
    [
        ("", "", "has a card", ""),
        ("", "", "its card counts what is there", ""),
        ('"CC0"', '"TODO: such as CC BY 4.0"', "has a card", "carded.toml: licence is not filled in, expected"),
        ('ids = "x"', 'ids = "todo"', "has a card", "carded.toml: checksums.ids is not filled in, expected"),
        ('citation = "none"\n', "", "has a card", "carded.toml lacks citation"),
        ("licence", "licence:", "has a card", "carded.toml is not valid TOML"),
        ("groups = 2", "groups = 3", "its card counts what is there", "has groups = 3, load gives 2"),
        ("seconds = 5.1", "seconds = 9", "its card counts what is there", "has seconds = 9, load gives"),
    ],
)  # fmt: skip
def test_a_card_is_held_against_the_data(tmp_path: Path, old: str, new: str, check: str, sentence: str) -> None:
    (tmp_path / "carded.py").write_text(CARDED)
    (tmp_path / "carded.toml").write_text(CARD.replace(old, new, 1))
    found = reason("datasets", plugins.build("datasets", str(tmp_path / "carded.py"), preset="smoke"), check)
    assert (sentence in found) if sentence else not found, found
