"""What is measured of sets beside the attacker's own quality: how audible a defense is, and what models generate.

Nothing here is the score. Numbers come as a record holds them, NaN as null.
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

_HEARD = 256  # clips of a protected set, evenly spread, whose audibility is measured


def audibility(clean: Data, protected: Data, content: str, rng: Generator) -> dict[str, Any]:
    """Measure what a listener would notice of a protected set, item by item and as a set.

    Args:
        clean: the items before protection.
        protected: the same items, protected.
        content: "speech" to measure PESQ and STOI as well.
        rng: for the measures that draw.

    Returns:
        The part `audibility` of a record.
    """
    index = torch.linspace(0, len(clean) - 1, min(_HEARD, len(clean))).round().long()
    clean, protected = clean.select(index), protected.select(index)
    measured = _AUDIBILITY.of(clean)(clean, protected, content, rng)
    return {"ids": list(clean.ids), "per_clip": {}, "distance": {}, **measured}


def generated(test: Data, samples: Data, rng: Callable[[], Generator]) -> dict[str, Any]:
    """Measure what a model generated: sound by its distance from the held-out set, notes by symbolic metrics.

    Args:
        test: the real held-out set.
        samples: what was generated.
        rng: gives the stage's random numbers, from their beginning.
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
    """Beside the metrics of the real set, of random notes, and of tracks that do not belong together."""
    from bench.metrics.symbolic import random_notes, shuffled_tracks

    sets = {"real": test, "random notes": random_notes(test, rng()), "generated": samples}
    if len(test) >= len(test.programs):  # else there are not enough rolls to take each track from another
        sets["shuffled tracks"] = shuffled_tracks(test, rng())
    return {"music": {name: numbers_by_name(_notes(test, name, rolls)) for name, rolls in sets.items()}}


def _notes(real: Rolls, name: str, rolls: Rolls) -> dict[str, float]:
    from bench.metrics.distance import kad
    from bench.metrics.styles import style_purity
    from bench.metrics.symbolic import describe, features, overlapped_area

    measured = describe(rolls)
    if real.labels is not None:
        measured["style purity"] = style_purity(real, rolls)
    if name != "real" and min(len(rolls), len(real)) > 2:
        base, seen = features(real), features(rolls)
        measured |= {"KAD": kad(base, seen), "overlapped area": overlapped_area(base, seen)}
    return measured


def _distance(real: Clips, other: Clips, rng: Generator) -> dict[str, Any]:
    from bench.metrics.distance import distances

    return numbers_by_name(distances(real, other, rng))


_AUDIBILITY: PerDomain[Callable[[Any, Any, str, Generator], dict[str, Any]]] = PerDomain(
    audio=_audible_clips, midi=_audible_rolls
)
_GENERATED: PerDomain[Callable[[Any, Any, Callable[[], Generator]], dict[str, Any]]] = PerDomain(
    audio=_generated_clips, midi=_generated_rolls
)
