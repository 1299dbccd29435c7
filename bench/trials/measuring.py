"""Measurements beside the attacker's quality: how audible a defense is, and what models generate.

None of these is the score. Numbers are returned as a record holds them, NaN as null.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator

from bench.api import Clips, Data, Rolls
from bench.results.record import numbers, numbers_by_name
from bench.vocabulary import PerDomain

__all__ = ["audibility", "generated"]

_MEASURED = 256  # most items of a protected set whose audibility is measured, evenly spread


def audibility(clean: Data, protected: Data, content: str, rng: Generator) -> dict[str, Any]:
    """Measure the audible difference between a protected set and the clean one, item by item and as sets.

    Args:
        clean: The items before protection.
        protected: The same items, protected.
        content: "speech" to measure PESQ and STOI as well.
        rng: For the measures that draw random numbers.

    Returns:
        The part `audibility` of a record.
    """
    index = torch.linspace(0, len(clean) - 1, min(_MEASURED, len(clean))).round().long()
    clean, protected = clean.select(index), protected.select(index)
    measured = _AUDIBILITY.of(clean)(clean, protected, content, rng)
    return {"ids": list(clean.ids), "per_clip": {}, "distance": {}, **measured}


def generated(test: Data, samples: Data, rng: Callable[[], Generator]) -> dict[str, Any]:
    """Measure what a model generated: audio by its distance from the test set, rolls by symbolic metrics.

    Args:
        test: The real test set.
        samples: The generated set.
        rng: Returns a new generator with the stage's seed at every call.

    Returns:
        The part of an evaluation that depends on the domain: "distance" for clips, "music" for rolls.
    """
    measured: dict[str, Any] = _GENERATED.of(samples)(test, samples, rng)
    return measured


def _audible_clips(clean: Clips, protected: Clips, content: str, rng: Generator) -> dict[str, Any]:
    from bench.metrics.audibility import audibility as measured

    values = measured(clean, protected)
    if content == "speech":
        from bench.metrics.speech import speech_quality

        values |= speech_quality(clean, protected)
    per_clip = {name: numbers(value.tolist()) for name, value in values.items()}
    return {"per_clip": per_clip, "distance": _distance(clean, protected, rng)}


def _audible_rolls(clean: Rolls, protected: Rolls, content: str, rng: Generator) -> dict[str, Any]:
    from bench.metrics.edits import edits
    from bench.metrics.symbolic import describe

    return {
        "per_clip": {name: numbers(value.tolist()) for name, value in edits(clean, protected).items()},
        "music": {"clean": numbers_by_name(describe(clean)), "protected": numbers_by_name(describe(protected))},
    }


def _generated_clips(test: Clips, samples: Clips, rng: Callable[[], Generator]) -> dict[str, Any]:
    return {"distance": _distance(test, samples, rng())}


def _generated_rolls(test: Rolls, samples: Rolls, rng: Callable[[], Generator]) -> dict[str, Any]:
    """Measure the generated rolls beside the real set, random notes, and tracks that do not belong together."""
    from bench.metrics.symbolic import random_notes, shuffled_tracks

    sets = {"real": test, "random notes": random_notes(test, rng()), "generated": samples}
    if len(test) >= len(test.programs):  # each track is taken from a different roll
        sets["shuffled tracks"] = shuffled_tracks(test, rng())
    return {"music": {name: numbers_by_name(_notes(test, name, rolls)) for name, rolls in sets.items()}}


def _notes(real: Rolls, name: str, rolls: Rolls) -> dict[str, float]:
    """Return the symbolic metrics of a set and, unless it is the real one, its distance from the real one."""
    from bench.metrics.distance import kad
    from bench.metrics.styles import style_purity
    from bench.metrics.symbolic import describe, features, overlapped_area

    measured = describe(rolls)
    if real.labels is not None:
        measured["style purity"] = style_purity(real, rolls)
    if name != "real" and min(len(rolls), len(real)) > 2:
        base, sampled = features(real), features(rolls)
        measured |= {"KAD": kad(base, sampled), "overlapped area": overlapped_area(base, sampled)}
    return measured


def _distance(real: Clips, compared: Clips, rng: Generator) -> dict[str, Any]:
    from bench.metrics.distance import distances

    return numbers_by_name(distances(real, compared, rng))


_AUDIBILITY: PerDomain[Callable[[Any, Any, str, Generator], dict[str, Any]]] = PerDomain(
    audio=_audible_clips, midi=_audible_rolls
)
_GENERATED: PerDomain[Callable[[Any, Any, Callable[[], Generator]], dict[str, Any]]] = PerDomain(
    audio=_generated_clips, midi=_generated_rolls
)
