"""Checks of a data set: valid splits without common groups, reproducible loading, and a card."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Generator

from bench import plugins
from bench._kit.case import (
    Case,
    Function,
    Skipped,
    energy,
    global_generators_elsewhere,
    global_generators_unmoved,
    same_bits,
    same_set,
    valid,
)
from bench._kit.plugin import file_of
from bench.api import Data
from bench.api.sets import SETS
from bench.errors import BenchError
from bench.results.threat import declared_threat
from bench.trials.draws import draw
from bench.vocabulary import PRESETS

SPLITS = ("train", "validation", "test")
PLACEHOLDER = "TODO"  # written by `bench new` where the author must fill in
CARD = ("licence", "citation", "splits", "checksums")  # required keys of a card


def splits_are_valid(case: Case) -> None:
    """Each split has items of one kind, in range, silent in the padding, and no item is silent throughout."""
    for split in SPLITS:
        data = _split(case, split)
        kind = SETS[case.domain]
        assert isinstance(data, kind), f"{split} is {type(data).__name__}, expected {kind.__name__}"
        valid(data, split)
        silent = [data.ids[i] for i in (energy(data.signal) == 0).nonzero().flatten().tolist()]
        assert not silent, f"{split}: item '{silent[0]}' is silent, expected sound"


def splits_share_no_group(case: Case) -> None:
    """No song, piece or speaker is in two splits, and no id either."""
    split_of: dict[str, str] = {}
    for split in SPLITS:
        data = _split(case, split)
        for name in {*data.groups, *(f"id {name}" for name in data.ids)}:
            assert name not in split_of, f"'{name}' is in {split_of[name]} and in {split}, expected it in one split"
        split_of |= dict.fromkeys({*data.groups, *(f"id {name}" for name in data.ids)}, split)


def splits_are_alike(case: Case) -> None:
    """All splits have the same rate, channels, classes, tracks and resolution; the training set has items of every
    class.
    """
    train = _split(case, "train")
    for split in SPLITS:
        data = _split(case, split)
        for name in ("rate", "classes", "programs", "steps_per_beat", "beats_per_bar", "lowest", "stem_names"):
            expected, value = getattr(train, name, None), getattr(data, name, None)
            assert expected == value, f"{name} is {value} in {split}, expected {expected} as in train"
        assert data.signal.shape[1] == train.signal.shape[1], f"{split} has other channels or tracks than train"
    if train.labels is not None:
        absent = set(range(len(train.classes))) - set(train.labels.tolist())
        assert not absent, f"train has no item of class '{train.classes[min(absent)]}'"


def loads_the_same_twice(case: Case) -> None:
    """load gives the same bits again, and does not use the global generators."""
    first = _split(case, "train")
    with global_generators_elsewhere(), global_generators_unmoved():
        second = _of_domain(case).load("train")
    same_set(first, second)
    same_bits(first, second, "load gave other bits the second time")


def refuses_an_unknown_split(case: Case) -> None:
    """load raises a `DataError` of one line that names the split if it does not exist."""
    _split(case, "train")
    advice = "expected a DataError, such as bench.errors.unknown('split', split, SPLITS) makes"
    try:
        _of_domain(case).load("no-such-split")
    except BenchError as error:
        message = str(error)
    except Exception as error:
        raise AssertionError(f"load('no-such-split') raised {type(error).__name__}: {error}; {advice}") from error
    else:
        raise AssertionError(f"load('no-such-split') gave data, {advice}")
    assert "\n" not in message, f"the message has {message.count(chr(10)) + 1} lines, expected one"
    assert "no-such-split" in message, f"the message does not name the split: {message}"


def has_a_card(case: Case) -> None:
    """NAME.toml beside the plugin states licence, citation, splits and checksums, without placeholders."""
    name, card = _card(case)
    missing = [key for key in CARD if key not in card]
    assert not missing, f"{name} lacks {', '.join(missing)}"
    blank = [key for key, value in _texts(card) if not value.strip() or value.strip().upper().startswith(PLACEHOLDER)]
    assert not blank, (
        f"{name}: {', '.join(blank)} {'is' if len(blank) == 1 else 'are'} not filled in, "
        f"expected values in place of {PLACEHOLDER}"
    )


def its_card_counts_what_is_there(case: Case) -> None:
    """The sizes that the card states for this preset and domain are those of the splits: items, groups and seconds."""
    if not _card_file(case).is_file():
        raise Skipped("it has no card")
    name, card = _card(case)
    for size in card.get("sizes", []):
        if not _is_of(case, size):
            continue
        data = _split(case, size["split"])
        counts = {"items": len(data), "groups": len(set(data.groups)), "seconds": round(data.seconds, 1)}
        for key, count in counts.items():
            tolerance = 0.1 if key == "seconds" else 0
            assert abs(size[key] - count) <= tolerance, (
                f"{name}: {size['split']} of preset {size['preset']} has {key} = {size[key]}, load gives {count}"
            )


def its_threat_models_fit(case: Case) -> None:
    """The threat model that it declares is one, and the training set has as many items as it publishes and grants."""
    cls, name = type(case.plugin), type(case.plugin).__name__
    found = {preset: declared_threat(name, cls.threat, cls.domains, case.domain, preset) for preset in PRESETS}
    if not any(found.values()):
        raise Skipped("it declares no threat model: a run on it has no clean curve unless --published and --granted")
    for preset, threat in found.items():
        if threat and _is_configured(case, preset):
            draw(_split(case, "train"), threat.model.published, threat.model.granted, Generator().manual_seed(0))


def _card(case: Case) -> tuple[str, dict[str, Any]]:
    """Return the card's file name and its content."""
    card = _card_file(case)
    assert card.is_file(), f"no card '{card.name}' beside '{file_of(case.plugin).name}'"
    try:
        return card.name, tomllib.loads(card.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise AssertionError(f"{card.name} is not valid TOML: {error}") from error


def _card_file(case: Case) -> Path:
    """Return the path of the card of a plugin's file or folder."""
    file = file_of(case.plugin)
    return (file.parent if file.name == "__init__.py" else file).with_suffix(".toml")


def _texts(card: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (key, text) of every text in a card."""
    for key, value in card.items():
        if isinstance(value, str):
            yield prefix + key, value
        elif isinstance(value, Mapping):
            yield from _texts(value, f"{prefix}{key}.")


def _is_of(case: Case, size: Mapping[str, Any]) -> bool:
    """Return whether an entry of a card's sizes is for the plugin as it is configured, in the domain under test."""
    return (
        _is_configured(case, size["preset"])
        and size.get("domain", case.domain) == case.domain
        and size["split"] in SPLITS
    )


def _is_configured(case: Case, preset: str) -> bool:
    """Return whether the plugin has the parameters of a preset."""
    name, cls = type(case.plugin).__name__, type(case.plugin)
    values = plugins.parameters("datasets", name, cls, preset=preset)
    listed = plugins.from_parameters("datasets", name, cls, values)
    return dataclasses.asdict(listed) | {"domain": ""} == dataclasses.asdict(case.plugin) | {"domain": ""}


def _split(case: Case, split: str) -> Data:
    return case.cached(split, lambda: _loaded(case, split))  # type: ignore[no-any-return]


def _of_domain(case: Case) -> Any:
    """Return the plugin set to the domain under test, where it has a field for it."""
    fields = {item.name for item in dataclasses.fields(case.plugin)}
    return dataclasses.replace(case.plugin, domain=case.domain) if "domain" in fields else case.plugin


def _loaded(case: Case, split: str) -> Data:
    try:
        return _of_domain(case).load(split)  # type: ignore[no-any-return]
    except BenchError as error:
        raise Skipped(f"its data cannot be loaded here: {error}") from error


CHECKS = (
    splits_are_valid,
    splits_share_no_group,
    splits_are_alike,
    loads_the_same_twice,
    refuses_an_unknown_split,
    has_a_card,
    its_card_counts_what_is_there,
    its_threat_models_fit,
)
ONLY_IF: dict[Function, Callable[[Case], bool]] = {}
