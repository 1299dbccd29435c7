"""A baseline and records -> a verdict a cell -> an exit code. Pure: nothing is run, read or written here.

    verdict      when                                                                                  exit
    missing      a cell or seed that is due has no record, or a control fails                          3
    broken       a trial failed, or its score is null                                                  3
    unversioned  a plugin's code changed, score or protected audio moved, and no `version` did         1
    regressed    learning denied fell by more than the tolerance, and not by chance                    1
    new          the baseline does not know the cell: accept it                                        1
    improved     it rose by more than the tolerance, and not by chance: accept it                      1
    suspicious   it fell by more than the tolerance, and chance cannot be excluded                     0, a warning
    moved        a control moved by more than the tolerance: reported, not judged                      0
    same         else                                                                                  0

The first that holds is the verdict; 3 wins over 1, and 1 over 0. Improvements and new cells fail so that the baseline
is kept up to date. A control fails where a validity check of the cell fails (its clean arm does not learn), where the
clean row is not exactly 0, and where a data set and attacker have no clean row.

**By chance.** Seeds are paired. Each cell gives two one-sided p of Student's paired t, one that it fell and one that it
rose; Holm over both of every cell that was tested keeps the chance of any false "regressed" or "improved" in a whole
run at `alpha`. A cell that did exactly the same work as the baseline in the same place, with the same result, is not
tested: nothing could have moved. Nor are controls: noise that is as loud as a defense falls when the defense gets
quieter, and that is no regression.

**Moved** means by more than 1e-4: any seed's learning denied, or the protected set. The set is other where the hash of
its samples is, and, elsewhere than where the baseline was made, where also a mean of its audibility moved.

**Drift.** Floats differ between processors and versions of torch, so a number that moved while no plugin's code changed
is drift, whatever its cause: it is reported and left to the test. In another environment than the baseline's, the clean
arm is the reference: if it moved although the code of data set and attacker did not change, the environment moves
scores by itself, and a moved score says nothing about the defense's code; its audibility still does. If the attacker's
own code changed there is no such reference, and only the version decides. A digest that changed while nothing moved is
reported. Comments and docstrings do not change a digest (`bench.plugins.digest`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.errors import UsageError
from bench.exits import INCOMPLETE, OK, WORSE
from bench.regression.baseline import CLEAN, Baseline, CellMeasurement, environment_of, measured_cells
from bench.regression.comparison import Comparison, seeds_that_decide, smallest_drop, value_text
from bench.results.cells import Cell, cell_of
from bench.results.names import NONE
from bench.results.record import Record
from bench.results.statistics import holm, mean
from bench.results.suite import Limits

__all__ = ["EXITS", "Report", "Verdict", "Word", "faults", "judge", "other_device"]

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


_UNTESTED = (math.nan, math.nan)


@dataclass(frozen=True)
class Verdict:
    """The verdict on one cell. Numbers are NaN where there is none."""

    cell: Cell
    word: Word
    sentence: str  # why, for people
    baseline_score: float = math.nan  # learning denied, mean over the seeds that both have
    score: float = math.nan
    p: float = math.nan  # adjusted, that it fell (or rose, if it did)
    seeds: int = 0
    detectable_drop: float = math.nan  # the true drop that is detected with 80 % power
    decide: int | None = None  # of a suspicious cell: the seeds that would decide
    notes: tuple[str, ...] = ()
    items: tuple[tuple[str, float, float], ...] = ()  # held-out item, quality before and now: those that moved most
    sets: tuple[tuple[str, str], ...] = ()  # (seed, key) of the protected set then and now, of the seed that moved most

    @property
    def drop(self) -> float:
        """By how much learning denied fell."""
        return self.baseline_score - self.score

    @property
    def exit(self) -> int:
        """The exit code of the verdict."""
        return EXITS[self.word]


@dataclass(frozen=True)
class Report:
    """Every cell's verdict, the worst first."""

    suite: str
    verdicts: tuple[Verdict, ...]
    tested: int  # cells

    @property
    def exit(self) -> int:
        """The exit code of the gate: the largest of all verdicts."""
        return max((verdict.exit for verdict in self.verdicts), default=0)


def judge(
    baseline: Baseline,
    records: Sequence[Record],
    limits: Limits = Limits(),  # noqa: B008 - frozen
    due: Iterable[tuple[Cell, int]] = (),
) -> Report:
    """Compare records with a baseline.

    Args:
        baseline: what was accepted.
        records: what is measured now.
        limits: what the suite calls a regression.
        due: (cell, seed) of the suite's own trials, beside those of the baseline.

    Returns:
        A verdict for every cell that the baseline, the records or the suite name.

    Raises:
        UsageError: the records were made on another kind of device than the baseline.
    """
    if other := other_device(baseline, records):
        raise UsageError(other)
    old, new = {cell.cell: cell for cell in baseline.cells}, measured_cells(records)
    trials = {(cell, seed) for cell, measurement in old.items() for seed in measurement.denied} | set(due)
    cell_faults = faults(records, trials)
    same_environment = baseline.environment == environment_of(records)
    pairs = {
        cell: Comparison(old[cell], new[cell], same_environment)
        for cell in old
        if cell in new and cell not in cell_faults
    }
    p_values = _adjusted({cell: pair.p_values() for cell, pair in pairs.items() if pair.tested})
    hypotheses = sum(p >= limits.alpha or math.isnan(p) for pair_p in p_values.values() for p in pair_p)
    verdicts = [
        Verdict(cell, word, sentence, baseline_score=_mean_of(old.get(cell)), score=_mean_of(new.get(cell)))
        for cell, (word, sentence) in cell_faults.items()
    ]
    for cell, pair in pairs.items():
        names = baseline.ids.get(f"{cell.dataset} / {cell.attacker}", [])
        verdicts.append(_verdict(pair, limits, p_values.get(cell, _UNTESTED), max(hypotheses, 1), names))
    for cell, measurement in new.items():
        if cell not in old and cell not in cell_faults:
            score = _mean_of(measurement)
            verdicts.append(
                Verdict(cell, "new", f"the baseline does not know it (now {score:+.3f}): accept it", score=score)
            )
    order = list(EXITS)
    verdicts.sort(key=lambda verdict: (order.index(verdict.word), verdict.cell))
    return Report(baseline.suite, tuple(verdicts), len(p_values))


def other_device(baseline: Baseline, records: Iterable[Record]) -> str:
    """Return why records cannot be compared with a baseline: another kind of device measured them, with other scores.

    Args:
        baseline: The accepted baseline.
        records: The records.

    Returns:
        The reason; "" where they can be compared.
    """
    measured_on = environment_of(record for record in records if record.status == "ok").get("accelerator")
    accepted_on = baseline.environment.get("accelerator", NONE)
    if measured_on is None or measured_on == accepted_on:
        return ""
    accepted_name, measured_name = (name.replace(NONE, "processors") for name in (accepted_on, measured_on))
    return (
        f"the baseline was made on {accepted_name}, these records on {measured_name}, "
        f"and scores of different devices are not compared: run the gate on {accepted_name} (--device), "
        f"or accept a baseline made on {measured_name}"
    )


def faults(records: Sequence[Record], due: Iterable[tuple[Cell, int]] = ()) -> dict[Cell, tuple[Word, str]]:
    """Return the cells without a result to judge: a record is missing, a control or a trial failed.

    Args:
        records: The records.
        due: The (cell, seed) that must have a record.

    Returns:
        Cell -> verdict and reason.
    """
    by_cell: dict[Cell, list[Record]] = {}
    for record in records:
        by_cell.setdefault(cell_of(record), []).append(record)
    seeds_due: dict[Cell, set[int]] = {cell: set() for cell in by_cell}
    for cell, seed in due:
        seeds_due.setdefault(cell, set()).add(seed)
    fault_of = {cell: _fault(by_cell.get(cell, []), seeds) for cell, seeds in seeds_due.items()}
    cell_faults: dict[Cell, tuple[Word, str]] = {cell: fault for cell, fault in fault_of.items() if fault}
    with_control = {(cell.dataset, cell.attacker) for cell, rows in by_cell.items() if _fixed(rows[0])}
    for cell in by_cell:
        if (cell.dataset, cell.attacker) not in with_control:
            clean_cell = Cell(cell.dataset, CLEAN, NONE, cell.attacker, NONE)
            cell_faults.setdefault(
                clean_cell, ("missing", "the clean control is not there: name a clean defense in the suite")
            )
    return cell_faults


def _adjusted(p_values: Mapping[Cell, tuple[float, float]]) -> dict[Cell, tuple[float, float]]:
    """Adjust both p values of every cell by Holm over all of them."""
    adjusted_p = iter(holm([p for pair_p in p_values.values() for p in pair_p]))
    return {cell: (next(adjusted_p), next(adjusted_p)) for cell in p_values}


def _verdict(
    pair: Comparison, limits: Limits, p: tuple[float, float], hypotheses: int, names: Sequence[str]
) -> Verdict:
    """Judge a cell that both the baseline and the records have.

    Args:
        pair: The cell as accepted and as measured now.
        limits: What the suite calls a regression.
        p: Adjusted p values: that it fell, that it rose.
        hypotheses: The number of hypotheses of the whole run that are not rejected yet.
        names: The held-out items, in the order of their qualities.
    """
    baseline_score, score, seeds = pair.baseline_score, pair.score, len(pair.seeds)
    chance = p[0] if baseline_score > score else p[1]
    word, sentence = _decided(pair, limits, chance)
    decide = None
    if word == "suspicious":
        decide = seeds_that_decide(baseline_score - score, pair.spread, hypotheses, limits.alpha)
        count = f"{decide} seeds" if decide else "a test over seeds" if seeds < 2 else "no number of seeds here"
        sentence = f"{sentence}; {count} would decide"
    return Verdict(
        cell=pair.new.cell,
        word=word,
        sentence=sentence,
        baseline_score=baseline_score,
        score=score,
        p=chance,
        seeds=seeds,
        detectable_drop=smallest_drop(pair.spread, seeds, hypotheses, limits.alpha) if pair.tested else math.nan,
        decide=decide,
        notes=tuple(pair.notes),
        items=tuple(pair.moved_items(names)),
        sets=pair.sets,
    )


def _decided(pair: Comparison, limits: Limits, chance: float) -> tuple[Word, str]:
    """Return the verdict of a cell and its sentence, by the table at the head of this module.

    Args:
        pair: The cell as accepted and as measured now.
        limits: What the suite calls a regression.
        chance: The adjusted p of the direction in which the score moved.
    """
    drop = pair.baseline_score - pair.score
    scores = f"learning denied {pair.baseline_score:+.3f} -> {pair.score:+.3f}"
    certain = f"more than {limits.tolerance:g}, adjusted p {chance:.2g} over {len(pair.seeds)} seeds"
    movements = pair.set_movements if pair.drifts else pair.movements
    if pair.changed_plugins and not pair.versioned and movements:
        return "unversioned", (
            f"the code of {', '.join(pair.changed_plugins)} changed and {' and '.join(movements)}, but no version did: "
            f"raise `version` where what it computes was meant to change ({scores})"
        )
    if pair.new.control:
        return ("moved" if abs(drop) > limits.tolerance else "same"), scores
    if drop > limits.tolerance and chance < limits.alpha:
        return "regressed", f"{scores}: fell by {drop:.3f}, {certain}"
    if drop < -limits.tolerance and chance < limits.alpha:
        return "improved", f"{scores}: rose by {-drop:.3f}, {certain}; accept it"
    if drop > limits.tolerance:
        return "suspicious", f"{scores}: fell by {drop:.3f}, {len(pair.seeds)} seeds cannot exclude chance"
    return "same", scores


def _fault(records: Sequence[Record], seeds: set[int]) -> tuple[Word, str] | None:
    """Return why a cell has no result to judge; None where it has one."""
    missing_seeds = sorted(seeds - {record.trial.seed for record in records})
    if missing_seeds and not records:
        return "missing", "no record of it: the suite has no such cell any more, or it was not run"
    if missing_seeds:
        return "missing", f"no record of seed {', '.join(map(str, missing_seeds))}"
    for record in records:
        at = f"seed {record.trial.seed}"
        if record.void:
            check = record.void[0]
            value, limit = value_text(check.value), value_text(check.limit)
            return "missing", f"control failed, {at}: validity check '{check.name}' failed ({value}, limit {limit})"
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
    """Return whether a record is of the clean control, whose score is 0 by definition."""
    return record.trial.control.is_clean and record.trial.adaptation is None


def _mean_of(cell: CellMeasurement | None) -> float:
    """Learning denied over the seeds; NaN where there is no cell."""
    return mean(cell.denied.values()) if cell else math.nan
