"""What models memorised of the published items: likelihood gap and exposure, with standard errors. Pure functions.

A record holds log-likelihoods of continuations after prompts (`bench.trials.memorising`) by the models of the protected
and of the clean set, and by a reference that saw neither. Each seed draws n published and n unpublished items, the same
for all of its models. The 2 n n values of a model are: of each item's own continuation, the published ones first; then,
item by item, of the n - 1 continuations of unpublished items that are its rivals.

Likelihoods are taken less those of the reference, which takes out how hard a continuation is (the calibration of Watson
et al. 2022, "On the Importance of Difficulty Calibration in Membership Inference Attacks", ICLR).

* gap: mean of published items' own continuations minus that of unpublished ones. Positive: they are known better.
* exposure (Carlini et al. 2019, "The Secret Sharer", USENIX Security): log2 n minus log2 of the rank of an item's own
  continuation among itself and its rivals. By chance its mean is that of uniform ranks, see `chance`; at most log2 n.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import stdev, variance
from typing import Literal

from bench.results.arms import Arm
from bench.results.record import Record
from bench.results.statistics import mean

__all__ = ["Estimate", "Memorisation", "chance", "items_of", "memorisation"]


Kind = Literal["published", "unpublished"]
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

    def exposure(arm: str, kind: Kind) -> Estimate:
        return _combined(measured, lambda record: _exposure(record, arm, kind))

    def gap(arm: str) -> Estimate:
        return _combined(measured, lambda record: _gap(record, arm))

    return Memorisation(
        clean_gap=gap(Arm.CLEAN),
        gap=gap(Arm.PROTECTED),
        clean_exposure=exposure(Arm.CLEAN, "published"),
        exposure=exposure(Arm.PROTECTED, "published"),
        unpublished_exposure=exposure(Arm.PROTECTED, "unpublished"),
        candidates=items_of(len(measured[0].memorisation[Arm.CLEAN])),
        seeds=len(measured),
    )


def chance(candidates: int) -> float:
    """Return the mean exposure where every rank among so many candidates is equally likely."""
    return sum(math.log2(candidates / rank) for rank in range(1, candidates + 1)) / candidates


def items_of(values: int) -> int:
    """Return the number n of items of each kind of which a model has so many values; 0 where there is none."""
    count = math.isqrt(values // 2)
    return count if values == 2 * count * count else 0


def _gains(record: Record, arm: str) -> list[float]:
    """Return the values of a model less those of the reference; NaN where either is missing."""
    reference = next(values for role, values in record.memorisation.items() if role not in _MODELS)
    pairs = zip(record.memorisation[arm], reference, strict=True)
    return [math.nan if value is None or other is None else value - other for value, other in pairs]


def _gap(record: Record, arm: str) -> tuple[float, float]:
    """Return the gap of one seed, and its variance over items."""
    gains, count = _gains(record, arm), items_of(len(record.memorisation[arm]))
    (published, first), (unpublished, second) = (_mean(gains[at : at + count]) for at in (0, count))
    return published - unpublished, first + second


def _exposure(record: Record, arm: str, kind: Kind) -> tuple[float, float]:
    """Return the mean exposure of one seed, and its variance over items. Ties count against an item's own."""
    gains, count = _gains(record, arm), items_of(len(record.memorisation[arm]))
    first = 0 if kind == "published" else count
    exposures = []
    for item in range(first, first + count):
        start = 2 * count + item * (count - 1)
        rank = 1 + sum(not rival < gains[item] for rival in gains[start : start + count - 1])
        exposures.append(math.nan if math.isnan(gains[item]) else math.log2(count / rank))
    return _mean(exposures)


def _mean(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of the numbers among some values, and its variance; NaN where there are too few."""
    present = [value for value in values if not math.isnan(value)]
    error = variance(present) / len(present) if len(present) > 1 else math.nan
    return mean(present), error


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
