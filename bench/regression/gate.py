"""A baseline and records -> a verdict a cell -> an exit code. Pure: nothing is run, read or written here.

    verdict      when                                                                                  exit
    missing      a cell or seed that is due has no record, or a control fails                          3
    broken       a trial failed, or its score is null                                                  3
    unversioned  a plugin's code changed, score or protected audio moved, and no `version` did         1
    regressed    it protects less by more than the tolerance, and not by chance                        1
    new          the baseline does not know the cell: accept it                                        1
    improved     it protects more by more than the tolerance, and not by chance: accept it             1
    suspicious   it protects less by more than the tolerance, and chance cannot be excluded            0, a warning
    moved        a control moved by more than the tolerance: reported, not judged                      0
    same         else                                                                                  0

The first that holds is the verdict; 3 wins over 1, and 1 over 0. Improvements and new cells fail so that the baseline
is kept up to date. A control fails where a validity check of the cell fails (its clean arm does not learn), where the
clean row is not exactly 0, and where a data set and attacker have no clean row.

**Scales.** A cell protects less if its learning denied falls by more than the tolerance or, where the suite has a
threat model, if its worth, with the granted items, rises by more than a factor (`Limits`).

**By chance.** A run and the baseline are paired by seed and held-out item: equal seeds draw equal data and equal random
numbers, so most of what varies between seeds and items cancels where code has not changed. Seeds and items are both
samples, and the mean difference is tested by Student's t with the error of both (`bench.results.crossed`). Each cell
gives two one-sided p, one that it protects less and one that it protects more; Holm over both of every cell that was
tested keeps the chance of any false "regressed" or "improved" in a whole run at `alpha`
(`benchmarks/gate_power.py` simulates it). Where the held-out items differ, or an old baseline holds none, seeds alone
are paired. A cell that did exactly the same work as the baseline in the same place, with the same result, is not
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
from bench.regression.baseline import (
    CLEAN,
    Baseline,
    CellMeasurement,
    Measurements,
    environment_of,
    measured,
    threats_of,
)
from bench.regression.comparison import Comparison, value_text
from bench.regression.scores import void_worth
from bench.results.cells import Cell, cell_of
from bench.results.names import NONE
from bench.results.record import Record
from bench.results.statistics import Interval, holm, mean
from bench.results.suite import Limits
from bench.results.threat import ThreatModel

__all__ = ["EXITS", "Report", "Verdict", "Word", "faults", "incomparable", "judge", "worth_text"]

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
    baseline_score: float = math.nan  # learning denied or worth, over the seeds that both have
    score: float = math.nan
    drop: float = math.nan  # the fall of learning denied, or the rise of log(worth + granted)
    p: float = math.nan  # adjusted, that it protects less (or more, if it does)
    seeds: int = 0
    items: int = 0  # held-out items that were paired; 0 where seeds alone were
    detectable_drop: float = math.nan  # the true drop that is detected with 80 % power
    decide: int | None = None  # of a suspicious cell: the seeds that would decide
    threat: ThreatModel | None = None  # where worth is compared
    intervals: tuple[Interval, ...] = ()  # of a worth: in the baseline, and now
    notes: tuple[str, ...] = ()
    moved: tuple[tuple[str, float, float], ...] = ()  # held-out item, quality before and now: those that moved most
    sets: tuple[tuple[str, str], ...] = ()  # (seed, key) of the protected set then and now, of the seed that moved most

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
        UsageError: the records were made on another kind of device than the baseline, or under another threat model.
    """
    if other := incomparable(baseline, records):
        raise UsageError(other)
    accepted = Measurements({cell.cell: cell for cell in baseline.cells}, baseline.held_out)
    current = measured(records)
    old, new = accepted.cells, current.cells
    trials = {(cell, seed) for cell, measurement in old.items() for seed in measurement.denied} | set(due)
    cell_faults = faults(records, trials)
    same_environment = baseline.environment == environment_of(records)
    pairs = {
        cell: Comparison(accepted.side(cell), current.side(cell), same_environment, baseline.threats.get(cell.dataset))
        for cell in old
        if cell in new and cell not in cell_faults
    }
    p_values = _adjusted({cell: pair.p_values() for cell, pair in pairs.items() if pair.tested})
    hypotheses = sum(p >= limits.alpha or math.isnan(p) for pair_p in p_values.values() for p in pair_p)
    verdicts = [
        Verdict(cell, word, sentence, _score_of(old.get(cell)), _score_of(new.get(cell)))
        for cell, (word, sentence) in cell_faults.items()
    ]
    for cell, pair in pairs.items():
        verdicts.append(_verdict(pair, limits, p_values.get(cell, _UNTESTED), max(hypotheses, 1)))
    for cell, measurement in new.items():
        if cell not in old and cell not in cell_faults:
            score = _score_of(measurement)
            shown = f"worth {score:,.0f}" if measurement.worth else f"{score:+.3f}"
            verdicts.append(
                Verdict(cell, "new", f"the baseline does not know it (now {shown}): accept it", score=score)
            )
    order = list(EXITS)
    verdicts.sort(key=lambda verdict: (order.index(verdict.word), verdict.cell))
    return Report(baseline.suite, tuple(verdicts), len(p_values))


def incomparable(baseline: Baseline, records: Sequence[Record]) -> str:
    """Return why records cannot be compared with a baseline: another kind of device measured them, with other scores,
    or another threat model asked for them, so that other items were published.

    Args:
        baseline: The accepted baseline.
        records: The records.

    Returns:
        The reason; "" where they can be compared.
    """
    measured_on = environment_of(record for record in records if record.status == "ok").get("accelerator")
    accepted_on = baseline.environment.get("accelerator", NONE)
    threats, accepted = threats_of(records), {cell.dataset for cell in baseline.cells}
    for name in sorted(accepted & {record.trial.dataset.label for record in records}):
        then, now = baseline.threats.get(name), threats.get(name)
        if then != now:
            return (
                f"the baseline of {name} was accepted {_threat_text(then)}, these records were made "
                f"{_threat_text(now)}: accept a baseline anew (--accept WHY)"
            )
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


def _verdict(pair: Comparison, limits: Limits, p: tuple[float, float], hypotheses: int) -> Verdict:
    """Judge a cell that both the baseline and the records have.

    Args:
        pair: The cell as accepted and as measured now.
        limits: What the suite calls a regression.
        p: Adjusted p values: that it protects less, that it protects more.
        hypotheses: The number of hypotheses of the whole run that are not rejected yet.
    """
    (baseline_score, score), seeds = pair.scores, len(pair.seeds)
    chance = p[0] if pair.drop > 0 else p[1]
    word, sentence = _decided(pair, limits, chance)
    decide = None
    if word == "suspicious":
        decide = pair.seeds_that_decide(hypotheses, limits.alpha)
        count = f"{decide} seeds" if decide else "a test over seeds" if seeds < 2 else "no number of seeds here"
        sentence = f"{sentence}; {count} would decide"
    return Verdict(
        cell=pair.new.cell,
        word=word,
        sentence=sentence,
        baseline_score=baseline_score,
        score=score,
        drop=pair.drop,
        p=chance,
        seeds=seeds,
        items=pair.losses.shape[1] if pair.by_items else 0,
        detectable_drop=pair.smallest_drop(hypotheses, limits.alpha) if pair.tested else math.nan,
        decide=decide,
        threat=pair.threat,
        intervals=tuple(side.worth.items for side in pair.worths) if pair.worths else (),
        notes=tuple(pair.notes),
        moved=tuple(pair.moved_items),
        sets=pair.sets,
    )


def _decided(pair: Comparison, limits: Limits, chance: float) -> tuple[Word, str]:
    """Return the verdict of a cell and its sentence, by the table at the head of this module.

    Args:
        pair: The cell as accepted and as measured now.
        limits: What the suite calls a regression.
        chance: The adjusted p of the direction in which the score moved.
    """
    drop, tolerance = pair.drop, math.log(limits.factor) if pair.worths else limits.tolerance
    scores = _scores_text(pair)
    movements = pair.set_movements if pair.drifts else pair.movements
    if pair.changed_plugins and not pair.versioned and movements:
        return "unversioned", (
            f"the code of {', '.join(pair.changed_plugins)} changed and {' and '.join(movements)}, but no version did: "
            f"raise `version` where what it computes was meant to change ({scores})"
        )
    if pair.new.control:
        return ("moved" if abs(drop) > tolerance else "same"), scores
    sample = f"{len(pair.seeds)} seeds" + (f" and {pair.losses.shape[1]} held-out items" if pair.by_items else "")
    change = f"{scores}: it protects {'less' if drop > 0 else 'more'}, by {_size_text(pair, limits)}"
    if abs(drop) > tolerance and chance < limits.alpha:
        certain = f"{change}, adjusted p {chance:.2g} over {sample}"
        return ("regressed", certain) if drop > 0 else ("improved", f"{certain}; accept it")
    if drop > tolerance:
        return "suspicious", f"{change}; {sample} cannot exclude chance"
    return "same", scores


def _scores_text(pair: Comparison) -> str:
    """What the cell scored and scores, in words."""
    before, now = pair.scores
    if not pair.worths:
        return f"learning denied {before:+.3f} -> {now:+.3f}"
    texts = [worth_text(side.worth.items) for side in pair.worths]
    if texts[0] == texts[1]:
        return f"worth {texts[0]} clean items"
    return f"worth {'rose' if now > before else 'fell'} from {texts[0]} to {texts[1]} clean items"


def worth_text(worth: Interval) -> str:
    """A worth with its interval."""
    bounds = "" if math.isnan(worth.low) else f" ({worth.low:,.0f} … {worth.high:,.0f})"
    return f"{worth.mean:,.0f}{bounds}"


def _size_text(pair: Comparison, limits: Limits) -> str:
    """How large the change is, beside the tolerance."""
    if not pair.worths:
        return f"{abs(pair.drop):.3f} (tolerance {limits.tolerance:g})"
    return f"a factor of {math.exp(abs(pair.drop)):.2f} with the granted items (tolerance {limits.factor:g})"


def _threat_text(threat: ThreatModel | None) -> str:
    """A threat model in words."""
    if threat is None:
        return "without a threat model"
    other = f", beside {threat.replacement}" if threat.replacement else ""
    sizes = ", ".join(map(str, threat.smaller))
    return f"with {threat.published} items published, {threat.granted} granted and a curve at {sizes}{other}"


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
    for void in void_worth(records):
        return (
            "missing",
            f"control failed: void, {void.name}: {void.value:.2g}, limit {void.limit:g} ({void.meaning})",
        )
    return None


def _fixed(record: Record) -> bool:
    """Return whether a record is of the clean control, whose score is 0 by definition."""
    return record.trial.control.is_clean and record.trial.adaptation is None


def _score_of(cell: CellMeasurement | None) -> float:
    """Return the score of a cell over all its seeds; NaN where there is no cell."""
    if cell is None:
        return math.nan
    return mean(cell.worth[:1]) if cell.worth else mean(cell.denied.values())
