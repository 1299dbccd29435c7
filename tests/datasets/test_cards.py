"""Every data set has a card, and the card tells the truth: what it counts is what `load` gives."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from bench import plugins
from bench.errors import BenchError
from bench.trials.trial import SPLITS

NAMES = sorted(plugins.names("datasets"))
KEYS = {"title", "version", "homepage", "licence", "citation", "splits", "checksums"}


def card(name: str) -> dict[str, Any]:
    path = plugins.find("datasets", name).path
    assert path is not None
    path = path.parent if path.name == "__init__.py" else path  # the card of a folder lies beside it
    return tomllib.loads(path.with_suffix(".toml").read_text(encoding="utf-8"))


def sizes(*, quick: bool) -> list[tuple[str, dict[str, Any]]]:
    """(name, size) of all cards but those that the conformance kit counts: the three splits of the preset smoke.

    Quick are those that take less than a few seconds.
    """
    every = [(name, size) for name in NAMES for size in card(name).get("sizes", [])]
    every = [(name, size) for name, size in every if size["preset"] != "smoke" or size["split"] not in SPLITS]
    return [pair for pair in every if quick == (pair[1]["preset"] != "full" and pair[1]["split"] != "pretrain")]


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_what_must_be_known(name: str) -> None:
    found = card(name)
    assert not KEYS - found.keys()
    assert found["version"] == getattr(plugins.load("datasets", name), "version", 1)
    for key in KEYS - {"version", "checksums"}:
        assert len(found[key]) > 10
    # Data that can be had here is counted; data that a user brings cannot be.
    assert ("sizes" in found) == (name not in {"folder", "huggingface", "lakh", "speech_commands"})


def counted(name: str, size: dict[str, Any]) -> None:
    given = {"domain": size["domain"]} if "domain" in size else {}
    dataset = plugins.build("datasets", name, given, size["preset"])
    try:
        data = dataset.load(size["split"])
    except BenchError as error:
        if "download" in str(error) or "pip install" in str(error):
            pytest.skip(str(error))
        raise
    data.check()
    assert len(data) == size["items"]
    assert len(set(data.groups)) == size["groups"]
    assert data.seconds == pytest.approx(size["seconds"], abs=0.06)


@pytest.fixture
def _real_data(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points the loaders at the real data, for the data sets that are not made here."""
    if request.node.callspec.params["name"] in {"spoken_digits", "pop909"}:
        monkeypatch.setenv("BENCH_DATA", str(request.getfixturevalue("bench_data")))


@pytest.mark.usefixtures("_real_data")
@pytest.mark.parametrize(("name", "size"), sizes(quick=True))
def test_the_counts_are_true(name: str, size: dict[str, Any]) -> None:
    counted(name, size)


@pytest.mark.slow
@pytest.mark.usefixtures("_real_data")
@pytest.mark.parametrize(("name", "size"), sizes(quick=False))
def test_the_counts_of_large_sets_are_true(name: str, size: dict[str, Any]) -> None:
    counted(name, size)
