"""A cell of the baseline beside the same cell measured now: what changed, what moved, and what chance allows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.regression.baseline import CLEAN, CellMeasurement, PluginUse, Side
from bench.regression.paired import mean_loss, one_sided_p, seeds_that_decide, smallest_drop
from bench.regression.scores import CellWorth
from bench.results.crossed import CrossedMean
from bench.results.record import Number
from bench.results.threat import ThreatModel

__all__ = ["MOVED", "Comparison", "value_text"]

MOVED = 1e-4  # the least difference that counts, relative beyond 1
_SHOWN = 5  # held-out items of a failure


@dataclass(frozen=True)
class Comparison:
    """One cell, as accepted and as measured now, paired by seed and, where both have the same held-out items, by item.

    Attributes:
        before: the cell of the baseline.
        now: the cell as it is measured now.
        same_environment: both were made with the same packages on the same kind of processor.
        threat: the threat model, under which worth is compared; None for learning denied.
    """

    before: Side
    now: Side
    same_environment: bool
    threat: ThreatModel | None = None

    @property
    def old(self) -> CellMeasurement:
        """The measurement of the baseline."""
        return self.before.cell

    @property
    def new(self) -> CellMeasurement:
        """The measurement of this run."""
        return self.now.cell

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds that both have."""
        return sorted(set(self.old.denied) & set(self.new.denied))

    @cached_property
    def moves(self) -> NDArray[np.float64]:
        """By how much learning denied fell, by seed."""
        return np.asarray([self.old.denied[seed] - self.new.denied[seed] for seed in self.seeds], dtype=np.float64)

    @cached_property
    def by_items(self) -> bool:
        """Whether the same held-out items were measured on both sides, so that they are paired."""
        before, now = self.before.held_out, self.now.held_out
        return before is not None and now is not None and before.ids == now.ids

    @cached_property
    def worths(self) -> tuple[CellWorth, CellWorth] | None:
        """The worth in the baseline and now, over the seeds that both have; None where learning denied is compared."""
        if self.threat is None or self.before.held_out is None or self.now.held_out is None:
            return None
        first, second = (CellWorth.of(side.items(self.seeds), self.threat) for side in (self.before, self.now))
        return first, second

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """By how much less the defense protects, [seed, item]; [seed, 1] where items are not paired.

        In learning denied or, of a worth, in units of quality: see `bench.regression.scores`.
        """
        if self.worths:
            at = self.worths[0].worth.items.mean
            before, now = (side.above(at) for side in self.worths)
        elif self.by_items:
            before, now = (-side.items(self.seeds).denied() for side in (self.before, self.now))
        else:
            return self.moves[:, None]
        return now - before if self.by_items else now.mean(1, keepdims=True) - before.mean(1, keepdims=True)

    @cached_property
    def mean_loss(self) -> CrossedMean:
        """The mean of the losses with its error over seeds and items; over seeds alone where items are not paired."""
        groups = self.now.held_out.groups if self.by_items and self.now.held_out else []
        return mean_loss(self.losses, groups)

    @property
    def scores(self) -> tuple[float, float]:
        """The score of the baseline and that of this run, over the seeds that both have: learning denied, or worth."""
        if self.worths:
            return self.worths[0].worth.items.mean, self.worths[1].worth.items.mean
        first, second = (np.mean([side.denied[seed] for seed in self.seeds]) for side in (self.old, self.new))
        return float(first), float(second)

    @property
    def drop(self) -> float:
        """By how much less the defense protects: the fall of learning denied, or the rise of log(worth + granted)."""
        before, now = self.scores
        return self.worths[0].rise(before, now) if self.worths else before - now

    @property
    def spread(self) -> float:
        """The standard deviation over seeds of the mean losses. NaN for one seed."""
        return float(self.losses.mean(1).std(ddof=1)) if len(self.losses) > 1 else math.nan

    @property
    def worst_seed(self) -> int:
        """The seed whose score moved most."""
        return self.seeds[int(np.argmax(np.abs(self.moves)))]

    @cached_property
    def tested(self) -> bool:
        """Whether the cell is tested: not a control, and not exactly the same work with the same result."""
        identical = self.same_environment and self.old.work == self.new.work and not self.losses.any()
        return not identical and not self.new.control

    def p_values(self) -> tuple[float, float]:
        """Compute the one-sided p of the mean loss: that protection fell, and that it rose.

        Returns:
            Both; NaN for fewer than two seeds, 1 and 1 where nothing differs.
        """
        return one_sided_p(self.mean_loss)

    def smallest_drop(self, factor: int, alpha: float) -> float:
        """Compute the smallest true drop that is detected with 80 % power, on the scale of `drop`; see `smallest_drop`.

        Of a worth: from the baseline's to where the clean curve is better by the smallest difference in quality.

        Args:
            factor: Holm's factor.
            alpha: Family-wise error rate.
        """
        smallest = smallest_drop(self.mean_loss.error, self.mean_loss.freedom, factor, alpha)
        if not self.worths or math.isnan(smallest):
            return smallest
        before, curve = self.worths[0].worth, self.worths[0].curve
        quality = float(curve.at([before.items.mean]).mean()) + smallest
        if quality > float(curve.means[-1]):
            return math.inf
        return self.worths[0].rise(before.items.mean, curve.inverse(quality))

    def seeds_that_decide(self, factor: int, alpha: float) -> int | None:
        """Return the number of seeds at which a drop like this one would be significant; see `seeds_that_decide`.

        Args:
            factor: Holm's factor.
            alpha: Family-wise error rate.
        """
        loss = self.mean_loss
        over_items = math.sqrt(max(loss.error**2 - self.spread**2 / len(self.seeds), 0.0))
        return seeds_that_decide(loss.mean, self.spread, factor, alpha, over_items)

    @cached_property
    def changed_plugins(self) -> list[str]:
        """The plugins whose code differs, in words."""
        return [
            f"{role} '{new.name}' ({old.digest[:6]} -> {new.digest[:6]}, still version {new.version})"
            for role, old, new in self._plugins
            if old.digest != new.digest
        ]

    @property
    def versioned(self) -> bool:
        """Whether any plugin's version differs, or the plugin itself."""
        return any((old.version, old.name) != (new.version, new.name) for _, old, new in self._plugins)

    @cached_property
    def drifts(self) -> bool:
        """Whether the clean arm shows that this machine's packages and processor move scores by themselves."""
        steady = all(old.digest == new.digest for role, old, new in self._plugins if role in ("dataset", "attacker"))
        return not self.same_environment and steady and _differ(self.old.arms.get(CLEAN), self.new.arms.get(CLEAN))

    @cached_property
    def movements(self) -> list[str]:
        """What changed beyond `MOVED`, in words: the score, and the protected set."""
        largest = float(np.abs(self.moves).max(initial=0))
        score = [f"learning denied moved by up to {largest:.2g}"] if largest > MOVED else []
        return score + self.set_movements

    @cached_property
    def set_movements(self) -> list[str]:
        """What changed of the protected set, in words."""
        common_seeds = set(self.old.sounds) & set(self.new.sounds)
        differs = any(self.old.sounds[seed] != self.new.sounds[seed] for seed in common_seeds)
        audible = [name for name, old in self.old.audibility.items() if _differ(old, self.new.audibility.get(name))]
        if differs and (self.same_environment or audible):
            values = [
                f"{n} {self.old.audibility[n]:g} -> {value_text(self.new.audibility.get(n))}" for n in audible[:2]
            ]
            return ["the protected set differs" + (f" ({', '.join(values)})" if values else "")]
        return []

    @property
    def notes(self) -> list[str]:
        """What a reader should know whatever the verdict."""
        notes = []
        parameters = [role for role, old, new in self._plugins if old.params != new.params and old.digest == new.digest]
        if parameters:
            notes.append(f"other parameters than the baseline's: {', '.join(parameters)}")
        files = [role for role, old, new in self._plugins if old.data != new.data]
        if files:
            notes.append(f"reads other files than the baseline's: {', '.join(files)}")
        if self.old.metric != self.new.metric:
            notes.append(f"scored by {self.new.metric}, the baseline by {self.old.metric}")
        if set(self.old.plugins) != set(self.new.plugins):
            notes.append("other plugins take part than in the baseline")
        if self.changed_plugins and not self.movements:
            notes.append("code changed, nothing moved")
        if self.movements and not parameters and not files and (self.drifts or not self.changed_plugins):
            cause = "another processor or torch than the baseline's"
            if self.same_environment:
                cause = "the engine or chance in a plugin"
            notes.append(f"drift: {' and '.join(self.movements)} with no plugin's code changed ({cause})")
        return notes + self._item_notes()

    def _item_notes(self) -> list[str]:
        """What a reader should know of the held-out items: those that are missing, and why none are paired."""
        before, now = self.before.held_out, self.now.held_out
        if before is None or now is None:  # of a baseline without items the report says so once
            return [] if now else ["this run's seeds have different held-out items: compared by seeds alone"]
        notes = []
        if not self.by_items:
            gone, added = set(before.ids) - set(now.ids), set(now.ids) - set(before.ids)
            order = "" if gone or added else ", the order changed"
            notes.append(
                f"other held-out items than the baseline's ({len(gone)} of {len(before.ids)} gone, {len(added)} new"
                f"{order}): compared by seeds alone"
            )
        counts = [side.items(self.seeds).missing for side in (self.before, self.now)]
        if any(counts):
            notes.append(
                f"qualities of held-out items missing: {counts[0]} in the baseline, {counts[1]} now; "
                "counted in the attacker's favour"
            )
        return notes

    @cached_property
    def moved_items(self) -> list[tuple[str, float, float]]:
        """The held-out items whose quality changed most: name, mean over seeds in the baseline, and now."""
        if not self.by_items:
            return []
        assert self.now.held_out is not None
        sides = (side.items(self.seeds).protected.mean(0).tolist() for side in (self.before, self.now))
        rows = [
            (name, old, new)
            for name, old, new in zip(self.now.held_out.ids, *sides, strict=True)
            if old != new and not math.isnan(old + new)
        ]
        return sorted(rows, key=lambda row: -abs(row[2] - row[1]))[:_SHOWN]

    @property
    def sets(self) -> tuple[tuple[str, str], ...]:
        """(seed, key) of the protected set then and now, of the seed that moved most; none where one is unknown."""
        keys = [side.sets.get(self.worst_seed, "") for side in (self.old, self.new)]
        return tuple((f"seed {self.worst_seed}", key) for key in keys) if all(keys) else ()

    @cached_property
    def _plugins(self) -> list[tuple[str, PluginUse, PluginUse]]:
        """The plugins that both have: role, then as accepted and as measured now."""
        roles = [role for role in self.old.plugins if role in self.new.plugins]
        return [(role, self.old.plugins[role], self.new.plugins[role]) for role in roles]


def _differ(old: Number, new: Number) -> bool:
    """Return whether two numbers differ by more than `MOVED`, relative beyond 1."""
    if old is None or new is None:
        return old is not new
    return abs(old - new) > MOVED * max(1.0, abs(old))


def value_text(value: Number) -> str:
    """Format a number for a verdict; "none" for null."""
    return "none" if value is None else f"{value:g}"
