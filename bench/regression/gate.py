"""A baseline and records -> a verdict a cell -> an exit code. Pure: nothing is run, read or written here.

    verdict      when                                                                                  exit
    missing      a cell or seed that is due has no record, or a control fails                          3
    broken       a trial failed, or its score is null                                                  3
    unversioned  a plugin's code changed, score or protected audio moved, and no `version` did         1
    regressed    learning denied fell by more than the tolerance, and not by chance                    1
    new          the baseline does not know the cell: accept it                                        1
    improved     it rose by more than the tolerance, and not by chance: accept it                      1
    suspicious   it fell by more than the tolerance, and chance cannot be excluded                     0, a warning
    moved        a control moved by more than the tolerance: told, not judged                          0
    same         else                                                                                  0

The first that holds is the verdict; 3 wins over 1, and 1 over 0. Improvements and new cells fail so that the baseline
cannot rot. A control fails where a gate of the cell is void (its clean arm does not learn), where the clean row is not
exactly 0, and where a data set and attacker have no clean row.

**By chance.** Seeds are paired. Each cell gives two one-sided p of Student's paired t, one that it fell and one that it
rose; Holm over both of every cell that was tested keeps the chance of any false "regressed" or "improved" in a whole
run at `alpha`. A cell that did exactly the same work as the baseline in the same place, with the same result, is not
tested: nothing could have moved. Nor are controls: noise that is as loud as a defense falls when the defense gets
quieter, and that is no regression.

**Moved** means by more than 1e-4: any seed's learning denied, or the protected set. The set is other where the hash of
its samples is, and, elsewhere than where the baseline was made, where also a mean of its audibility moved.

**Drift.** Floats differ between processors and versions of torch, so a number that moved while no plugin's code did is
drift, whatever moved it: it is told, and left to the test. Elsewhere than where the baseline was made the clean arm is
the witness: where it moved though neither the data set's nor the attacker's code did, the place moves scores by itself,
and a moved score says nothing about the code of the defense; its audibility still does. Where the attacker's own code
changed there is no witness, and the benefit of the doubt goes to the version. A digest that changed while nothing moved
is told. Comments and docstrings do not change a digest (`bench.plugins.digest`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import nctdtrinc, stdtr, stdtrit

from bench.exits import INCOMPLETE, OK, WORSE
from bench.regression.baseline import CLEAN, Baseline, Measured, Used, made_at, measured
from bench.results.cells import Cell, cell_of
from bench.results.statistics import holm
from bench.trials.matrix import NONE, Limits
from bench.trials.record import Number, Record

__all__ = ["EXITS", "Report", "Verdict", "faults", "judge", "seeds_that_decide", "smallest_drop"]

Word = Literal["missing", "broken", "unversioned", "regressed", "new", "improved", "suspicious", "moved", "same"]
EXITS: Mapping[Word, int] = {
    "missing": INCOMPLETE,
    "broken": INCOMPLETE,
    "unversioned": WORSE,
    "regressed": WORSE,
    "new": WORSE,
    "improved": WORSE,
    "suspicious": OK,
    "moved": OK,
    "same": OK,
}
MOVED = 1e-4
_MOST_SEEDS = 1000  # beyond that nobody waits
_SHOWN = 5  # held-out items of a failure


@dataclass(frozen=True)
class Verdict:
    """What became of one cell. Numbers are NaN where there is none to tell."""

    cell: Cell
    word: Word
    sentence: str  # why, for people
    before: float = math.nan  # learning denied, mean over the seeds that both have
    now: float = math.nan
    p: float = math.nan  # adjusted, that it fell (or rose, if it did)
    seeds: int = 0
    sees: float = math.nan  # the true drop that would be told from chance four times in five
    decide: int | None = None  # of a suspicious cell: the seeds that would decide
    notes: tuple[str, ...] = ()
    items: tuple[tuple[str, float, float], ...] = ()  # held-out item, quality before and now: those that moved most
    sets: tuple[tuple[str, str], ...] = ()  # (seed, key) of the protected set then and now, of the seed that moved most

    @property
    def drop(self) -> float:
        return self.before - self.now

    @property
    def exit(self) -> int:
        return EXITS[self.word]


@dataclass(frozen=True)
class Report:
    """Every cell's verdict, the worst first."""

    suite: str
    verdicts: tuple[Verdict, ...]
    tested: int  # cells

    @property
    def exit(self) -> int:
        return max((verdict.exit for verdict in self.verdicts), default=0)


def judge(
    baseline: Baseline,
    records: Sequence[Record],
    limits: Limits = Limits(),  # noqa: B008 - frozen
    due: Iterable[tuple[Cell, int]] = (),
) -> Report:
    """The verdicts on `records`. `due`: (cell, seed) of the suite's own trials, beside those of the baseline."""
    old, new = {cell.cell: cell for cell in baseline.cells}, measured(records)
    wanted = {(cell, seed) for cell, was in old.items() for seed in was.denied} | set(due)
    wrong = faults(records, wanted)
    here = baseline.place == made_at(records)
    pairs = {cell: _Pair(old[cell], new[cell], here) for cell in old if cell in new and cell not in wrong}
    tested = [cell for cell, pair in pairs.items() if pair.tested]
    adjusted = holm([p for cell in tested for p in pairs[cell].p])
    factor = len(adjusted) - sum(p < limits.alpha for p in adjusted)
    p_of = {cell: (adjusted[2 * at], adjusted[2 * at + 1]) for at, cell in enumerate(tested)}
    verdicts = [Verdict(cell, *fault, before=_mean_of(old.get(cell)), now=_mean_of(new.get(cell))) for cell, fault in wrong.items()]  # fmt: skip  # noqa: E501
    for cell, pair in pairs.items():
        names = baseline.ids.get(f"{cell.dataset} / {cell.attacker}", [])
        verdicts.append(pair.verdict(limits, p_of.get(cell, (math.nan, math.nan)), max(factor, 1), names))
    verdicts += [
        Verdict(cell, "new", f"the baseline does not know it (now {_mean_of(was):+.3f}): accept it", now=_mean_of(was))
        for cell, was in new.items()
        if cell not in old and cell not in wrong
    ]
    order = list(EXITS)
    return Report(baseline.suite, tuple(sorted(verdicts, key=lambda v: (order.index(v.word), v.cell))), len(tested))


def faults(records: Sequence[Record], due: Iterable[tuple[Cell, int]] = ()) -> dict[Cell, tuple[Word, str]]:
    """Cells without a result to judge, and why: what is due has no record, a control failed, a trial did."""
    found: dict[Cell, list[Record]] = {}
    for record in records:
        found.setdefault(cell_of(record), []).append(record)
    wanted: dict[Cell, set[int]] = {cell: set() for cell in found}
    for cell, seed in due:
        wanted.setdefault(cell, set()).add(seed)
    told = {cell: _fault(found.get(cell, []), seeds) for cell, seeds in wanted.items()}
    made: dict[Cell, tuple[Word, str]] = {cell: fault for cell, fault in told.items() if fault}
    controlled = {(cell.dataset, cell.attacker) for cell, rows in found.items() if _fixed(rows[0])}
    for cell in found:
        if (cell.dataset, cell.attacker) not in controlled:
            lacking = Cell(cell.dataset, CLEAN, NONE, cell.attacker, NONE)
            made.setdefault(lacking, ("missing", "the clean control is not there: name a clean defense in the suite"))
    return made


def seeds_that_decide(mean: float, sd: float, factor: int, alpha: float = 0.05) -> int | None:
    """The smallest n at which a mean drop and standard deviation of the paired differences like these are significant:

        mean * sqrt(n) / sd >= t(1 - alpha / factor; n - 1)

    `factor` is Holm's: how many hypotheses are not yet rejected, two a cell. At that n the chance of seeing it is about
    one in two, since the drop would be drawn anew; 80 % want about (t + 0.84)^2 / t^2 as many. None beyond 1000.
    """
    if mean <= 0 or not math.isfinite(sd):
        return None
    for n in range(2, _MOST_SEEDS + 1):
        if sd == 0 or mean * math.sqrt(n) / sd >= float(stdtrit(n - 1, 1 - alpha / factor)):
            return n
    return None


def smallest_drop(sd: float, seeds: int, factor: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """The true mean drop that is found significant with probability `power`, by the noncentral t. NaN for one seed.

    sd: of the paired differences. The tolerance is not in it: a drop must be larger than that too.
    """
    if seeds < 2:
        return math.nan
    bound = float(stdtrit(seeds - 1, 1 - alpha / factor))
    return float(nctdtrinc(seeds - 1, 1 - power, bound)) * sd / math.sqrt(seeds)


@dataclass(frozen=True)
class _Pair:
    """A cell as it was and as it is."""

    old: Measured
    new: Measured
    here: bool  # both were made in the same place

    @property
    def seeds(self) -> list[int]:
        return sorted(set(self.old.denied) & set(self.new.denied))

    @property
    def drops(self) -> np.ndarray:
        return np.asarray([self.old.denied[seed] - self.new.denied[seed] for seed in self.seeds], dtype=np.float64)

    @property
    def tested(self) -> bool:
        untouched = self.here and self.old.work == self.new.work and not self.drops.any()
        return not untouched and not self.new.control

    @property
    def p(self) -> tuple[float, float]:
        """One-sided: that it fell, that it rose. NaN for fewer than two seeds; 1 and 1 where nothing differs."""
        drops = self.drops
        if len(drops) < 2:
            return math.nan, math.nan
        mean, sd = float(drops.mean()), float(drops.std(ddof=1))
        if sd == 0:
            return (1.0 if mean <= 0 else 0.0), (1.0 if mean >= 0 else 0.0)
        t = mean / (sd / math.sqrt(len(drops)))
        return float(stdtr(len(drops) - 1, -t)), float(stdtr(len(drops) - 1, t))

    def verdict(self, limits: Limits, p: tuple[float, float], factor: int, names: Sequence[str]) -> Verdict:
        drops, seeds = self.drops, self.seeds
        before, now = (float(np.mean([side.denied[seed] for seed in seeds])) for side in (self.old, self.new))
        drop, sd = before - now, float(drops.std(ddof=1)) if len(drops) > 1 else math.nan
        from_to = f"learning denied {before:+.3f} -> {now:+.3f}"
        decide = None
        word: Word = "same"
        chance = p[0] if drop > 0 else p[1]
        certain = f"more than {limits.tolerance:g}, adjusted p {chance:.2g} over {len(seeds)} seeds"
        sentence = from_to
        moved = self.heard if self.drifts else self.moved
        if self.changed and not self.versioned and moved:
            word = "unversioned"
            sentence = (
                f"the code of {', '.join(self.changed)} changed and {' and '.join(moved)}, but no version did: "
                f"raise `version` where what it computes was meant to change ({from_to})"
            )
        elif self.new.control:
            word = "moved" if abs(drop) > limits.tolerance else "same"
        elif drop > limits.tolerance and chance < limits.alpha:
            word, sentence = "regressed", f"{from_to}: fell by {drop:.3f}, {certain}"
        elif drop < -limits.tolerance and chance < limits.alpha:
            word, sentence = "improved", f"{from_to}: rose by {-drop:.3f}, {certain}; accept it"
        elif drop > limits.tolerance:
            word, decide = "suspicious", seeds_that_decide(drop, sd, factor, limits.alpha)
            more = f"{decide} seeds" if decide else "a test over seeds" if len(seeds) < 2 else "no number of seeds here"
            sentence = f"{from_to}: fell by {drop:.3f}, {len(seeds)} seeds cannot exclude chance; {more} would decide"
        worst = seeds[int(np.argmax(np.abs(drops)))]
        sets = (self.old.sets.get(worst, ""), self.new.sets.get(worst, ""))
        return Verdict(
            cell=self.new.cell,
            word=word,
            sentence=sentence,
            before=before,
            now=now,
            p=chance,
            seeds=len(seeds),
            sees=smallest_drop(sd, len(seeds), factor, limits.alpha) if self.tested else math.nan,
            decide=decide,
            notes=tuple(self.notes),
            items=tuple(self.items(names)),
            sets=tuple((f"seed {worst}", key) for key in sets) if all(sets) else (),
        )

    @property
    def changed(self) -> list[str]:
        """The plugins whose code is other, in words."""
        return [
            f"{role} '{now.name}' ({was.digest[:6]} -> {now.digest[:6]}, still version {now.version})"
            for role, was, now in self._both
            if was.digest != now.digest
        ]

    @property
    def versioned(self) -> bool:
        """Whether any plugin's version is other, or the plugin itself."""
        return any((was.version, was.name) != (now.version, now.name) for _, was, now in self._both)

    @property
    def drifts(self) -> bool:
        """Whether the clean arm shows that this place moves scores by itself."""
        steady = all(was.digest == now.digest for role, was, now in self._both if role in ("dataset", "attacker"))
        return not self.here and steady and _differ(self.old.arms.get(CLEAN), self.new.arms.get(CLEAN))

    @property
    def moved(self) -> list[str]:
        """What moved, in words."""
        most = float(np.abs(self.drops).max(initial=0))
        said = [f"learning denied moved by up to {most:.2g}"] if most > MOVED else []
        return said + self.heard

    @property
    def heard(self) -> list[str]:
        """What moved of the protected set, in words."""
        shared = set(self.old.sounds) & set(self.new.sounds)
        other = any(self.old.sounds[seed] != self.new.sounds[seed] for seed in shared)
        heard = [name for name, was in self.old.audibility.items() if _differ(was, self.new.audibility.get(name))]
        if other and (self.here or heard):
            values = [f"{n} {self.old.audibility[n]:g} -> {_said(self.new.audibility.get(n))}" for n in heard[:2]]
            return ["the protected set is other" + (f" ({', '.join(values)})" if values else "")]
        return []

    @property
    def notes(self) -> list[str]:
        """What a reader should know whatever the verdict."""
        said = []
        asked = [role for role, was, now in self._both if was.params != now.params and was.digest == now.digest]
        if asked:
            said.append(f"other parameters than the baseline's: {', '.join(asked)}")
        files = [role for role, was, now in self._both if was.data != now.data]
        if files:
            said.append(f"reads other files than the baseline's: {', '.join(files)}")
        if self.old.metric != self.new.metric:
            said.append(f"scored by {self.new.metric}, the baseline by {self.old.metric}")
        if set(self.old.plugins) != set(self.new.plugins):
            said.append("other plugins take part than in the baseline")
        if self.changed and not self.moved:
            said.append("code changed, nothing moved")
        if self.moved and not asked and not files and (self.drifts or not self.changed):
            where = (
                "the engine or chance in a plugin" if self.here else "another processor or torch than the baseline's"
            )
            said.append(f"drift: {' and '.join(self.moved)} with no plugin's code changed ({where})")
        return said

    def items(self, names: Sequence[str]) -> list[tuple[str, float, float]]:
        """The held-out items whose quality changed most."""
        rows = [
            (name, was, now)
            for name, was, now in zip(names, self.old.items, self.new.items, strict=False)
            if was is not None and now is not None and was != now
        ]
        return sorted(rows, key=lambda row: -abs(row[2] - row[1]))[:_SHOWN]

    @property
    def _both(self) -> list[tuple[str, Used, Used]]:
        roles = [role for role in self.old.plugins if role in self.new.plugins]
        return [(role, self.old.plugins[role], self.new.plugins[role]) for role in roles]


def _fault(records: Sequence[Record], seeds: set[int]) -> tuple[Word, str] | None:
    absent = sorted(seeds - {record.trial.seed for record in records})
    if absent and not records:
        return "missing", "no record of it: the suite has no such cell any more, or it was not run"
    if absent:
        return "missing", f"no record of seed {', '.join(map(str, absent))}"
    for record in records:
        at = f"seed {record.trial.seed}"
        if record.void:
            gate = record.void[0]
            value, limit = _said(gate.value), _said(gate.limit)
            return "missing", f"control failed, {at}: gate '{gate.name}' is void ({value}, limit {limit})"
        if _fixed(record) and record.status == "ok" and record.denied:
            return "missing", f"control failed, {at}: the clean row is {record.denied:+.3f}, must be 0"
    for record in records:
        at = f"seed {record.trial.seed}"
        if record.status != "ok":
            error = record.error or {}
            return (
                "broken",
                f"{at} failed: {error.get('stage', '')}: {error.get('type', '')}: {error.get('message', '')}",
            )
        if record.denied is None:
            return "broken", f"{at} has no score: {record.notes.get('denied', 'null')}"
    return None


def _fixed(record: Record) -> bool:
    return record.trial.control == CLEAN and record.trial.adaptation is None


def _mean_of(cell: Measured | None) -> float:
    return sum(cell.denied.values()) / len(cell.denied) if cell and cell.denied else math.nan


def _differ(was: Number, now: Number) -> bool:
    if was is None or now is None:
        return was is not now
    return abs(was - now) > MOVED * max(1.0, abs(was))


def _said(value: Number) -> str:
    return "none" if value is None else f"{value:g}"
