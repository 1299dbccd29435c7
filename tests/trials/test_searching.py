"""The search over chains and strengths: what it proposes, and what it finds."""

import math
from collections.abc import Sequence

import pytest

from bench.trials.searching import Candidate, Link, Space, search

pytest.importorskip("optuna")

SPACE = Space(
    attackers=("small", "large"),
    strengths={"trim": ("threshold", 0.02, 0.3), "mp3": ("kbps", 128, 16), "flip": None, "noise": ("db", -3.0, 20.0)},
    links=2,
)


def quality(candidate: Candidate) -> float:
    """Best for the large attacker with mp3 at 32 kbit/s alone."""
    score = float(candidate.attacker == "large")
    for link in candidate.links:
        score += 1 - abs(math.log2(link.value / 32)) / 2 if link.name == "mp3" else -0.5
    return score


def test_proposals_are_within_the_space_and_each_is_tried_once() -> None:
    asked: list[Candidate] = []

    def evaluate(candidates: Sequence[Candidate]) -> list[float]:
        asked.extend(candidates)
        return [quality(candidate) for candidate in candidates]

    found = search(SPACE, evaluate, budget=40, together=4)
    assert len(asked) == len(set(asked)) == len(found) <= 40
    assert [value for _, value in found] == sorted((value for _, value in found), reverse=True)
    for candidate in asked:
        assert candidate.attacker in SPACE.attackers
        names = [link.name for link in candidate.links]
        assert len(names) == len(set(names)) <= 2
        for link in candidate.links:
            strength = SPACE.strengths[link.name]
            if strength is None:
                assert (link.parameter, link.label, link.table) == ("", "flip", {"plugin": "flip"})
            else:
                low, high = sorted(strength[1:])
                assert low <= link.value <= high
                assert isinstance(link.value, int) == (link.name == "mp3")
                assert link.table == {"plugin": link.name, strength[0]: link.value}
    assert {link.name for candidate in asked for link in candidate.links} == set(SPACE.strengths)
    assert {len(candidate.links) for candidate in asked} == {0, 1, 2}


def test_the_same_seed_proposes_the_same_and_a_search_beats_chance() -> None:
    def evaluate(candidates: Sequence[Candidate]) -> list[float]:
        return [quality(candidate) for candidate in candidates]

    first, second = (search(SPACE, evaluate, budget=60, seed=3) for _ in range(2))
    assert first == second
    (best, value), *_ = first
    assert best.attacker == "large"
    assert [link.name for link in best.links] == ["mp3"]
    assert value > 1.5


def test_what_fails_is_told_and_left_out() -> None:
    def evaluate(candidates: Sequence[Candidate]) -> list[float]:
        return [math.nan if candidate.attacker == "large" else 0.5 for candidate in candidates]

    lines: list[str] = []
    found = search(SPACE, evaluate, budget=12, report=lines.append)
    assert found
    assert {candidate.attacker for candidate, _ in found} == {"small"}
    assert len(lines) == 1
    assert lines[0].startswith("0.5000 on the granted items: small + ")


def test_a_chain_is_called_as_a_suite_lists_it() -> None:
    chain = Candidate("small", (Link("trim", "threshold", 0.1234), Link("flip")))
    assert chain.adaptation == "trim-0.1234+flip"
    assert Candidate("small", ()).adaptation == "none"
