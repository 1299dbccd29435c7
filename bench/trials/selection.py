"""The attacker of a track chooses a response (model and adaptation) for every training set, by its granted items alone.

Successive halving (Jamieson and Talwalkar 2016, AISTATS): in each round every response that is still considered is
trained at the first seed with a part of its epochs or steps, and those with the best quality on the granted items that
choose go on. The responses that are left are trained at every seed, and of each seed the best is chosen. No model is
evaluated on test items here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from bench.results.arms import granted_role
from bench.results.names import attacker_of
from bench.results.record import Number
from bench.results.statistics import mean
from bench.results.suite import Round
from bench.results.worths import SHARED_SCALES
from bench.trials.plan import Plan, plan_roles
from bench.trials.scheduler import Outcome
from bench.trials.store import Store
from bench.trials.trial import Part, Trial

__all__ = ["Attempt", "Choice", "Contest", "Entry", "Perform", "Report", "at_effort", "attempt", "best", "choose"]

_TIE = 1e-6  # weight of the second metric where the first is a rate over few items, which often ties
_ATTACK = ("adapt", "learn", "evaluate")  # tasks of the attacker
_BUDGETS = ("epochs", "steps")  # the parameters by which attackers count their training

Perform = Callable[[Plan], Mapping[str, Outcome]]  # does the missing stages of a plan
Report = Callable[[str], None]


@dataclass(frozen=True)
class Contest:
    """A training set for which a response is chosen: a protected set, or a size of the clean curve.

    Attributes:
        title: what messages call it.
        role: the arm of its trials that is trained on it.
        trials: response -> its trial at the first seed, in the order of the battery.
    """

    title: str
    role: str
    trials: Mapping[str, Trial]


class Attempt(NamedTuple):
    """One response trained on one training set.

    Attributes:
        response: model and adaptation.
        seed: of the draw and the training.
        effort: the part of its epochs or steps.
        granted: its quality on the granted items that choose, by which responses are compared; NaN where it failed.
        cpu_seconds: of its adaptation, training and evaluation on the granted items; what an earlier attempt on the
            same training set shares is counted there.
    """

    response: str
    seed: int
    effort: float
    granted: float
    cpu_seconds: float


@dataclass
class Choice:
    """What was tried on one training set, and what was chosen.

    Attributes:
        attempts: in the order in which they were made.
        chosen: seed -> response; a seed in which every response failed is left out.
        errors: response -> why it failed.
    """

    attempts: list[Attempt] = field(default_factory=list)
    chosen: dict[int, str] = field(default_factory=dict)
    errors: dict[str, Mapping[str, str]] = field(default_factory=dict)
    counted: set[str] = field(default_factory=set)  # keys of the stages whose cost is in an attempt

    def cost(self, plan: Plan, keys: Iterable[str], store: Store) -> float:
        """CPU seconds of the attacker's stages behind some keys that are in no attempt yet."""
        seconds, waiting = 0.0, list(keys)
        while waiting:
            key = waiting.pop()
            stage = plan.stages[key]
            if stage.task in _ATTACK and key not in self.counted:
                self.counted.add(key)
                seconds += float(store.meta(key)["cost"]["cpu_seconds"])
                waiting += stage.parents.values()
        return seconds

    def add(self, made: Attempt) -> None:
        """Add an attempt, unless it is there from an earlier round."""
        if made[:3] not in (one[:3] for one in self.attempts):
            self.attempts.append(made)


def best(granted: Mapping[str, float], keep: int, each: int = 0) -> list[str]:
    """Return the best responses, the best first; of equals the earlier.

    Args:
        granted: response -> its quality on the granted items; NaN for one that failed, which is left out.
        keep: how many of all.
        each: how many of every attacker at least.
    """
    known = [name for name, quality in granted.items() if not math.isnan(quality)]
    ranked = sorted(known, key=lambda name: -granted[name])
    of_attacker: dict[str, list[str]] = {}
    for name in ranked:
        of_attacker.setdefault(attacker_of(name), []).append(name)
    kept = {*ranked[:keep], *(name for names in of_attacker.values() for name in names[:each])}
    return [name for name in ranked if name in kept]


def at_effort(trial: Trial, effort: float, reduced: dict[tuple[int, float], Part] | None = None) -> Trial:
    """Return a trial whose attacker trains for a part of its epochs or steps, at least one.

    An attacker that declares neither, such as one with a closed solution, stays as it is.

    Args:
        trial: at full effort.
        effort: the part, more than 0 and up to 1.
        reduced: remembers attackers by identity and effort, so that equal ones are one object.
    """
    attacker, cache = trial.attacker, {} if reduced is None else reduced
    budget = next((name for name in _BUDGETS if isinstance(attacker.params.get(name), int)), "")
    if effort == 1 or not budget:
        return trial
    if (id(attacker), effort) not in cache:
        params = {**attacker.params, budget: max(1, math.ceil(effort * attacker.params[budget]))}
        cache[id(attacker), effort] = replace(attacker, params=params)
    return replace(trial, attacker=cache[id(attacker), effort])


def choose(
    contests: Sequence[Contest],
    rounds: Sequence[Round],
    seeds: Sequence[int],
    store: Store,
    perform: Perform,
    report: Report = lambda line: None,
) -> list[Choice]:
    """Choose a response for every training set and seed.

    Args:
        contests: the training sets.
        rounds: of successive halving; none to train every response at every seed.
        seeds: the first is that of the rounds.
        store: holds the stages that are done.
        perform: does the others of a plan; called once a round.
        report: called with lines on what goes on and what was chosen.

    Returns:
        One choice a contest.
    """
    choices = [Choice() for _ in contests]
    left = [list(contest.trials) for contest in contests]
    for number, each in enumerate(rounds, start=1):
        entries = [Entry(at, name, seeds[0], each.effort) for at, names in enumerate(left) for name in names]
        granted = attempt(entries, contests, choices, store, perform)
        for at, (contest, names) in enumerate(zip(contests, left, strict=True)):
            left[at] = best({name: granted[at, name, seeds[0]] for name in names}, each.keep, each.each)
            report(
                f"round {number}, {contest.title}: {len(left[at])} of {len(names)} responses go on: "
                f"{', '.join(left[at]) or 'none, all failed'}"
            )
    entries = [Entry(at, name, seed, 1.0) for at, names in enumerate(left) for name in names for seed in seeds]
    granted = attempt(entries, contests, choices, store, perform)
    for at, (contest, names, choice) in enumerate(zip(contests, left, choices, strict=True)):
        for seed in seeds:
            if first := best({name: granted[at, name, seed] for name in names}, 1):
                choice.chosen[seed] = first[0]
        report(f"{contest.title}: chosen {', '.join(dict.fromkeys(choice.chosen.values())) or 'none, all failed'}")
    return choices


@dataclass(frozen=True)
class Entry:
    """A training that is due.

    Attributes:
        contest: number of the contest.
        response: of the contest's trials.
        seed: of the draw and the training.
        effort: the part of the epochs or steps.
    """

    contest: int
    response: str
    seed: int
    effort: float


def attempt(
    entries: Sequence[Entry],
    contests: Sequence[Contest],
    choices: Sequence[Choice],
    store: Store,
    perform: Perform,
) -> dict[tuple[int, str, int], float]:
    """Train responses, and evaluate them on the granted items that choose.

    Args:
        entries: the trainings.
        contests: what they are numbered by.
        choices: one a contest, to which the attempts are added.
        store: holds the stages that are done.
        perform: does the others of a plan; called once.

    Returns:
        (contest, response, seed) -> quality; NaN where it failed.
    """
    reduced: dict[tuple[int, float], Part] = {}  # one object an attacker and effort: a plan tells parts by identity
    requests = []
    for entry in entries:
        contest = contests[entry.contest]
        trial = at_effort(contest.trials[entry.response], entry.effort, reduced)
        requests.append((replace(trial, seed=entry.seed), (granted_role(contest.role),)))
    planned = plan_roles(requests)
    outcomes = perform(planned)
    qualities = {}
    for entry, cell in zip(entries, planned.cells, strict=True):
        contest, choice = contests[entry.contest], choices[entry.contest]
        failed = outcomes.get(cell.keys[granted_role(contest.role)])
        quality, seconds = math.nan, 0.0
        if failed and failed.error:
            choice.errors.setdefault(entry.response, {"stage": planned.stages[failed.key].title, **failed.error})
        else:
            quality = _granted(store, cell.keys[granted_role(contest.role)])
            seconds = choice.cost(planned, cell.keys.values(), store)
        choice.add(Attempt(entry.response, entry.seed, entry.effort, quality, seconds))
        qualities[entry.contest, entry.response, entry.seed] = quality
    return qualities


def _granted(store: Store, key: str) -> float:
    """The quality on the granted items; where its metric is a rate, equal ones are told apart by the next metric."""
    result = store.json(key, "quality.json")
    metrics: dict[str, list[Number]] = result["quality"]
    first, *others = (mean(metrics[name]) for name in sorted(metrics, key=lambda name: name != result["metric"]))
    tie = others[0] if others and result["metric"] in SHARED_SCALES else 0.0
    return first + (0.0 if math.isnan(tie) else _TIE * tie)
