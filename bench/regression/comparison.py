"""A cell of the baseline beside the same cell measured now: what changed, what moved, and what chance allows.

scipy.special is imported where it is used: its import takes about 0.2 s (see `bench.results.statistics`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.regression.baseline import CLEAN, CellMeasurement, PluginUse
from bench.results.record import Number

__all__ = ["MOVED", "Comparison", "seeds_that_decide", "smallest_drop", "value_text"]

MOVED = 1e-4  # the least difference that counts, relative beyond 1
_MOST_SEEDS = 1000  # beyond that nobody waits
_SHOWN = 5  # held-out items of a failure


@dataclass(frozen=True)
class Comparison:
    """One cell, as accepted and as measured now. Seeds are paired.

    Attributes:
        old: the cell of the baseline.
        new: the cell as it is measured now.
        same_environment: both were made with the same packages on the same kind of processor.
    """

    old: CellMeasurement
    new: CellMeasurement
    same_environment: bool

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds that both have."""
        return sorted(set(self.old.denied) & set(self.new.denied))

    @cached_property
    def drops(self) -> NDArray[np.float64]:
        """By how much learning denied fell, by seed."""
        return np.asarray([self.old.denied[seed] - self.new.denied[seed] for seed in self.seeds], dtype=np.float64)

    @property
    def baseline_score(self) -> float:
        """Learning denied of the baseline, over the seeds that both have."""
        return float(np.mean([self.old.denied[seed] for seed in self.seeds]))

    @property
    def score(self) -> float:
        """Learning denied as measured now, over the seeds that both have."""
        return float(np.mean([self.new.denied[seed] for seed in self.seeds]))

    @property
    def spread(self) -> float:
        """The standard deviation of the paired differences. NaN for one seed."""
        return float(self.drops.std(ddof=1)) if len(self.drops) > 1 else math.nan

    @property
    def worst_seed(self) -> int:
        """The seed whose score moved most."""
        return self.seeds[int(np.argmax(np.abs(self.drops)))]

    @cached_property
    def tested(self) -> bool:
        """Whether the cell is tested: not a control, and not exactly the same work with the same result."""
        identical = self.same_environment and self.old.work == self.new.work and not self.drops.any()
        return not identical and not self.new.control

    def p_values(self) -> tuple[float, float]:
        """Compute the one-sided p of Student's paired t test: that the score fell, and that it rose.

        Returns:
            Both; NaN for fewer than two seeds, 1 and 1 where nothing differs.
        """
        if len(self.drops) < 2:
            return math.nan, math.nan
        mean, sd = float(self.drops.mean()), self.spread
        if sd == 0:
            return (1.0 if mean <= 0 else 0.0), (1.0 if mean >= 0 else 0.0)
        from scipy.special import stdtr

        t = mean / (sd / math.sqrt(len(self.drops)))
        return float(stdtr(len(self.drops) - 1, -t)), float(stdtr(len(self.drops) - 1, t))

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
        largest = float(np.abs(self.drops).max(initial=0))
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
        return notes

    def moved_items(self, names: Sequence[str]) -> list[tuple[str, float, float]]:
        """Return the held-out items whose quality changed most.

        Args:
            names: The held-out items, in the order of the qualities.

        Returns:
            Name, quality in the baseline and quality measured now, of each.
        """
        rows = [
            (name, old, new)
            for name, old, new in zip(names, self.old.items, self.new.items, strict=False)
            if old is not None and new is not None and old != new
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


def seeds_that_decide(mean: float, sd: float, factor: int, alpha: float = 0.05) -> int | None:
    """Compute the smallest number of seeds at which a drop like this one would be significant.

    It is the smallest n with mean * sqrt(n) / sd >= t(1 - alpha / factor; n - 1). At that n the chance of significance
    is about one in two, since the drop would be drawn anew; 80 % need about (t + 0.84)^2 / t^2 as many.

    Args:
        mean: Mean of the paired differences.
        sd: Their standard deviation.
        factor: Holm's factor: the number of hypotheses not yet rejected, two a cell.
        alpha: Family-wise error rate.

    Returns:
        The number of seeds; None where 1000 would not do.
    """
    if mean <= 0 or not math.isfinite(sd):
        return None
    from scipy.special import stdtrit

    for n in range(2, _MOST_SEEDS + 1):
        if sd == 0 or mean * math.sqrt(n) / sd >= float(stdtrit(n - 1, 1 - alpha / factor)):
            return n
    return None


def smallest_drop(sd: float, seeds: int, factor: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """Compute the smallest true mean drop that the test detects with a given power, by the noncentral t distribution.

    The gate's tolerance is not part of it: a drop has to exceed that too.

    Args:
        sd: Standard deviation of the paired differences.
        seeds: Number of seeds.
        factor: Holm's factor: the number of hypotheses not yet rejected, two a cell.
        alpha: Family-wise error rate.
        power: Probability of detection.

    Returns:
        The drop; NaN for one seed.
    """
    if seeds < 2:
        return math.nan
    from scipy.special import nctdtrinc, stdtrit

    bound = float(stdtrit(seeds - 1, 1 - alpha / factor))
    return float(nctdtrinc(seeds - 1, 1 - power, bound)) * sd / math.sqrt(seeds)


def _differ(old: Number, new: Number) -> bool:
    """Return whether two numbers differ by more than `MOVED`, relative beyond 1."""
    if old is None or new is None:
        return old is not new
    return abs(old - new) > MOVED * max(1.0, abs(old))


def value_text(value: Number) -> str:
    """Format a number for a verdict; "none" for null."""
    return "none" if value is None else f"{value:g}"
