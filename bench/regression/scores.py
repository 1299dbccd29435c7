"""What a cell scores, item by item, and by how much that differs between two runs.

Two scales: learning denied, and under a threat model the worth. Both differences are arrays over seeds and items whose
mean is tested (`bench.results.crossed`), and both are positive where a defense protects less than it did.

Learning denied is a ratio of means, linearised at its value: see `bench.results.score.denied_by_item`.

Worth N is read from the clean curve, at the protected arm's quality. A change of worth is tested where the baseline's
worth stands on the curve, in the units of quality: does the protected arm lie as far above the clean curve at that N as
it did? The mean of that is 0 if and only if the worth is what it was, for the curve rises; no slope divides, as in
the delta method, which fails where the curve is flat, and no seed needs a worth of its own, as a bootstrap over a few
seeds would. By how much the worth changed is then said on the curve's own axis, log(N + granted), which is finite at
N = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.regression.heldout import HeldOut, Qualities, held_out, packed, unpacked
from bench.results.arms import Arm
from bench.results.curve import CleanCurve
from bench.results.record import Record
from bench.results.score import denied_by_item
from bench.results.threat import ThreatModel
from bench.results.worth import Worth, fill_missing, worth
from bench.vocabulary import ValidityCheck

__all__ = ["CellItems", "CellWorth", "void_worth"]

_Table = NDArray[np.float64]  # [seed, item]


@dataclass(frozen=True, eq=False)
class CellItems:
    """The qualities of a cell's held-out items in some seeds.

    Attributes:
        held_out: the items, with the arms that other cells share.
        protected: [seed, item] qualities of the protected arm, NaN where one is missing.
        seeds: the seeds, in that order.
    """

    held_out: HeldOut
    protected: _Table
    seeds: tuple[int, ...]

    @classmethod
    def of(cls, held_out: HeldOut, qualities: dict[int, Qualities], seeds: Sequence[int]) -> CellItems:
        """Return the items of a cell whose protected arm has these qualities in its seeds."""
        return cls(held_out, np.stack([unpacked(qualities[seed]) for seed in seeds]), tuple(seeds))

    def denied(self) -> _Table:
        """Return what every item contributes to learning denied: [seed, item]."""
        clean, untrained = (self.held_out.quality(arm, self.seeds) for arm in (Arm.CLEAN, Arm.UNTRAINED))
        rows = zip(clean.tolist(), self.protected.tolist(), untrained.tolist(), strict=True)
        return np.stack([denied_by_item(*arms) for arms in rows])

    @property
    def missing(self) -> int:
        """How many (seed, item) pairs have no quality of the protected or the clean arm."""
        return int(np.isnan(self.protected + self.held_out.quality(Arm.CLEAN, self.seeds)).sum())


@dataclass(frozen=True, eq=False)
class CellWorth:
    """The worth of a cell, with what a comparison needs.

    Attributes:
        curve: the clean curve of the cell's attacker, under its adaptation.
        protected: [seed, item] qualities, with missing ones counted in the attacker's favour.
        worth: the worth, its interval and its validity checks.
    """

    curve: CleanCurve
    protected: _Table
    worth: Worth

    @classmethod
    def of(cls, items: CellItems, threat: ThreatModel) -> CellWorth:
        """Compute the worth of a cell.

        Args:
            items: its held-out items.
            threat: how much is published and granted.
        """
        sizes = {size: items.held_out.quality(str(size), items.seeds) for size in threat.smaller}
        whole = Arm.CLEAN_ADAPTED if Arm.CLEAN_ADAPTED in items.held_out.arms else Arm.CLEAN
        sizes[threat.published] = items.held_out.quality(whole, items.seeds)
        filled, protected, missing = fill_missing(sizes, items.protected)
        curve = CleanCurve(tuple(filled), np.stack(list(filled.values())), threat.granted)
        return cls(curve, protected, worth(curve, protected, items.held_out.groups, missing))

    def above(self, items: float) -> _Table:
        """Return how far the protected arm lies above the clean curve at a size: [seed, item], in units of quality."""
        return np.asarray(self.protected - self.curve.at([items])[0])

    def rise(self, before: float, now: float) -> float:
        """Return by how much a worth rose from one size to another: on the curve's axis, log(N + granted)."""
        first, second = self.curve.position([before, now])
        return float(second - first)


def void_worth(records: Sequence[Record]) -> tuple[ValidityCheck, ...]:
    """Return the validity checks of the worth that fail; none without a threat model.

    Args:
        records: those of a cell, one a seed, all with results.
    """
    threat = records[0].trial.threat
    if threat is None:
        return ()
    qualities = {record.trial.seed: packed(record.quality(Arm.PROTECTED)) for record in records}
    return CellWorth.of(CellItems.of(held_out(records), qualities, sorted(qualities)), threat).worth.void
