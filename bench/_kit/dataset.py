"""Checks of a data set: valid splits that share nothing, the same at every load, and a card."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable
from typing import Any

from bench._kit.case import (
    Case,
    Function,
    Skipped,
    energy,
    global_generators_elsewhere,
    global_generators_unmoved,
    same_bits,
    same_set,
    sound,
    valid,
)
from bench._kit.plugin import file_of
from bench.api import Clips, Data, Rolls
from bench.errors import BenchError

SPLITS = ("train", "validation", "test")
CARD = ("licence", "citation", "splits", "checksums")  # what a card must at least say


def splits_are_valid(case: Case) -> None:
    """Each split has items of one kind, in range, silent in the padding, and none of them is silence alone."""
    for split in SPLITS:
        data = _split(case, split)
        kind = Clips if case.domain == "audio" else Rolls
        assert isinstance(data, kind), f"{split} is {type(data).__name__}, expected {kind.__name__}"
        valid(data, split)
        silent = [data.ids[i] for i in (energy(sound(data)) == 0).nonzero().flatten().tolist()]
        assert not silent, f"{split}: '{silent[0]}' is silent"


def splits_share_no_group(case: Case) -> None:
    """No song, piece or speaker is in two splits, and no id either."""
    seen: dict[str, str] = {}
    for split in SPLITS:
        data = _split(case, split)
        for name in {*data.groups, *(f"id {name}" for name in data.ids)}:
            assert name not in seen, f"'{name}' is in {seen[name]} and in {split}"
        seen |= dict.fromkeys({*data.groups, *(f"id {name}" for name in data.ids)}, split)


def splits_are_alike(case: Case) -> None:
    """Same rate, channels, classes, tracks and resolution in all splits; training shows every class."""
    train = _split(case, "train")
    for split in SPLITS:
        data = _split(case, split)
        for name in ("rate", "classes", "programs", "steps_per_beat", "beats_per_bar", "lowest", "stem_names"):
            there, here = getattr(train, name, None), getattr(data, name, None)
            assert there == here, f"{name} is {here} in {split}, {there} in train"
        assert sound(data).shape[1] == sound(train).shape[1], f"{split} has other channels or tracks than train"
    if train.labels is not None:
        absent = set(range(len(train.classes))) - set(train.labels.tolist())
        assert not absent, f"train has no item of class '{train.classes[min(absent)]}'"


def loads_the_same_twice(case: Case) -> None:
    """load gives the same bits again, and leaves the global generators alone."""
    first = _split(case, "train")
    with global_generators_elsewhere(), global_generators_unmoved():
        again = _of_domain(case).load("train")
    same_set(first, again)
    same_bits(first, again, "load gave other bits the second time")


def refuses_an_unknown_split(case: Case) -> None:
    """load of a split that does not exist raises a `BenchError`, in one line."""
    _split(case, "train")
    try:
        _of_domain(case).load("no-such-split")
    except BenchError as error:
        lines = str(error).count("\n") + 1
    else:
        raise AssertionError("load('no-such-split') gave data, expected a DataError")
    assert lines == 1, f"the message has {lines} lines, expected one"


def has_a_card(case: Case) -> None:
    """NAME.toml beside the plugin states licence, citation, splits and checksums."""
    file = file_of(case.plugin)
    card = (file.parent if file.name == "__init__.py" else file).with_suffix(".toml")
    assert card.is_file(), f"no card '{card.name}' beside '{file.name}'"
    missing = [key for key in CARD if key not in tomllib.loads(card.read_text(encoding="utf-8"))]
    assert not missing, f"{card.name} lacks {', '.join(missing)}"


def _split(case: Case, split: str) -> Data:
    return case.once(split, lambda: _loaded(case, split))  # type: ignore[no-any-return]


def _of_domain(case: Case) -> Any:
    """The plugin set to the domain under test, where it has a field for it."""
    fields = {item.name for item in dataclasses.fields(case.plugin)}
    return dataclasses.replace(case.plugin, domain=case.domain) if "domain" in fields else case.plugin


def _loaded(case: Case, split: str) -> Data:
    try:
        return _of_domain(case).load(split)  # type: ignore[no-any-return]
    except BenchError as error:
        raise Skipped(f"it cannot be loaded here: {error}") from error


CHECKS = (
    splits_are_valid,
    splits_share_no_group,
    splits_are_alike,
    loads_the_same_twice,
    refuses_an_unknown_split,
    has_a_card,
)
ONLY_IF: dict[Function, Callable[[Case], bool]] = {}
