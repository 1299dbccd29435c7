"""The conformance kit gives pairs to an adaptation that learns from them, and checks what it makes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Generator

from bench.api import Adaptation, Clips
from bench.check import checks, outcome


@dataclass(frozen=True)
class _Learnt(Adaptation[Clips]):
    """Shifts the clips by a delay, as loud as its pairs are."""

    requires = ("pairs",)

    gain: float = 0.5
    delay: int = 0

    def transform_with_pairs(self, data: Clips, clean: Clips, protected: Clips, rng: Generator) -> Clips:
        assert clean.ids == protected.ids
        assert bool(clean.audio.any()) != torch.equal(clean.audio, protected.audio)  # only silence stays silent
        return data.with_audio(self.gain * data.audio.roll(self.delay, -1) * data.support)


def reasons(adaptation: _Learnt) -> dict[str, str]:
    """The checks that fail, and why."""
    ends = [outcome(check) for check in checks("adaptations", adaptation)]
    return {end.check.name: end.reason for end in ends if end.status == "failed"}


def test_a_transform_learnt_from_pairs_passes() -> None:
    assert reasons(_Learnt()) == {}


def test_what_breaks_the_rules_is_found_as_in_any_transform() -> None:
    assert "by 5 samples" in reasons(_Learnt(delay=5))["stays aligned"]
    assert "peaks at" in reasons(_Learnt(gain=3.0))["adapted clips are valid"]


def test_a_sweep_names_a_parameter_and_both_its_ends_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Learnt, "sweep", ("gain", 0.9, 0.1))
    assert reasons(_Learnt()) == {}
    monkeypatch.setattr(_Learnt, "sweep", ("gain", 0.9, 3.0))
    assert "peaks at" in reasons(_Learnt())["both ends of its sweep work"]
    monkeypatch.setattr(_Learnt, "sweep", ("volume", 0.9, 0.1))
    assert "sweep names 'volume', expected one of gain, delay" in reasons(_Learnt())["both ends of its sweep work"]
