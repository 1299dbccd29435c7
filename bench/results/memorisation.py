"""What models memorised of the published items: likelihood gap and exposure, with standard errors. Pure functions.

A record holds, for the models of the protected and of the clean set and for a reference that saw neither, one value an
item of each measure (`bench.trials.memorising`). Each seed draws its items, the same for all of its models.

* gap: mean log-likelihood of published items minus that of unpublished ones, each less that of the reference, which
  takes out how hard the items are. Positive: the published ones are known better.
* exposure: Carlini et al. 2019. By chance its mean is that of uniform ranks, see `chance`; at most it is log2 of the
  number of candidates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import stdev, variance

from bench.results.arms import Arm
from bench.results.record import Number, Record

__all__ = ["KINDS", "MEASURES", "Estimate", "Memorisation", "chance", "memorisation"]

KINDS = ("published", "unpublished")
MEASURES = ("likelihood", "exposure")
_MODELS = (Arm.PROTECTED, Arm.CLEAN)  # beside the reference


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: NaN where there is no number.
        error: the larger of its standard errors over seeds and over items; NaN where there is neither.
    """

    mean: float
    error: float


@dataclass(frozen=True)
class Memorisation:
    """What the models of a cell memorised.

    Attributes:
        clean_gap: of the model of the clean set, nats a token.
        gap: of the model of the protected set, nats a token.
        clean_exposure: of published items, by the model of the clean set, bits.
        exposure: of published items, by the model of the protected set, bits.
        unpublished_exposure: of unpublished items, by the model of the protected set, bits.
        candidates: continuations that each was ranked among.
        seeds: how many.
    """

    clean_gap: Estimate
    gap: Estimate
    clean_exposure: Estimate
    exposure: Estimate
    unpublished_exposure: Estimate
    candidates: int
    seeds: int

    @property
    def most_exposure(self) -> float:
        """The exposure of a continuation that is the most likely of all candidates, bits."""
        return math.log2(self.candidates)


def memorisation(records: Sequence[Record]) -> Memorisation | None:
    """Combine the seeds of a cell.

    Args:
        records: The records of a cell, one a seed.

    Returns:
        The measures; None where no record holds them.
    """
    measured = [record for record in records if len(record.memorisation) > len(_MODELS)]
    if not measured:
        return None

    def exposure(arm: str, kind: str) -> Estimate:
        return _combined(measured, lambda record: _exposure(record, arm, kind))

    def gap(arm: str) -> Estimate:
        return _combined(measured, lambda record: _gap(record, arm))

    first = next(iter(measured[0].memorisation.values()))
    return Memorisation(
        clean_gap=gap(Arm.CLEAN),
        gap=gap(Arm.PROTECTED),
        clean_exposure=exposure(Arm.CLEAN, "published"),
        exposure=exposure(Arm.PROTECTED, "published"),
        unpublished_exposure=exposure(Arm.PROTECTED, "unpublished"),
        candidates=len(first["unpublished_exposure"]),
        seeds=len(measured),
    )


def chance(candidates: int) -> float:
    """Return the mean exposure where every rank among so many candidates is equally likely."""
    return sum(math.log2(candidates / rank) for rank in range(1, candidates + 1)) / candidates


def _gap(record: Record, arm: str) -> tuple[float, float]:
    """Return the gap of one seed over that of the reference, and its variance over items."""
    reference = next(values for role, values in record.memorisation.items() if role not in _MODELS)
    gains = [
        _present(record.memorisation[arm][f"{kind}_likelihood"], reference[f"{kind}_likelihood"]) for kind in KINDS
    ]
    if not all(gains):
        return math.nan, math.nan
    published, unpublished = (sum(gain) / len(gain) for gain in gains)
    return published - unpublished, sum(variance(gain) / len(gain) if len(gain) > 1 else math.nan for gain in gains)


def _exposure(record: Record, arm: str, kind: str) -> tuple[float, float]:
    """Return the mean exposure of one seed, and its variance over items."""
    values = _present(record.memorisation[arm][f"{kind}_exposure"])
    if not values:
        return math.nan, math.nan
    return sum(values) / len(values), variance(values) / len(values) if len(values) > 1 else math.nan


def _present(values: Sequence[Number], reference: Sequence[Number] = ()) -> list[float]:
    """Return values less those of a reference, if there is one, where both are numbers."""
    pairs = zip(values, reference or [0.0] * len(values), strict=True)
    return [value - other for value, other in pairs if value is not None and other is not None]


def _combined(records: Sequence[Record], measure: Callable[[Record], tuple[float, float]]) -> Estimate:
    """Combine the values of seeds: (value, its variance over items) each."""
    pairs = [pair for pair in map(measure, records) if not math.isnan(pair[0])]
    if not pairs:
        return Estimate(math.nan, math.nan)
    values = [value for value, _ in pairs]
    errors = [math.sqrt(sum(spread for _, spread in pairs)) / len(pairs)]
    errors += [stdev(values) / math.sqrt(len(values))] if len(values) > 1 else []
    return Estimate(
        sum(values) / len(values), max((error for error in errors if not math.isnan(error)), default=math.nan)
    )
