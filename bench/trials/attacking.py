"""Attack one row of a track by searched responses: propose, judge by granted items, evaluate the best at every seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench import plugins
from bench.errors import UsageError
from bench.results.names import NONE, response_name
from bench.results.record import Record
from bench.results.suite import Suite
from bench.trials import track
from bench.trials.expand import expand
from bench.trials.searching import Candidate, Space, search
from bench.trials.selection import Contest, Perform, Report, choose
from bench.trials.store import Store
from bench.trials.trial import Trial

__all__ = ["Found", "attack", "space_of"]

_FINALISTS = 3  # candidates that are trained at every seed
_ROLE = "protected"


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        records: of the responses that the granted items choose among the best candidates, one a seed.
        candidates: response -> the candidate, of the best ones.
        tried: how many candidates were tried, and did not fail.
    """

    records: tuple[Record, ...]
    candidates: Mapping[str, Candidate]
    tried: int


def space_of(suite: Suite, links: int, more: Sequence[str] = ()) -> Space:
    """Return what is searched against a row of a track: its attackers, and the adaptations of its battery.

    Args:
        suite: the track.
        links: how many adaptations a chain has at most.
        more: adaptations beside those of the battery, by name.

    Raises:
        UsageError: the attackers of the track share no scale, so that no search compares them.
    """
    names = [name for each in (*suite.adaptations, *more) for name in suite.links(each) if name != NONE]
    strengths: dict[str, tuple[str, float, float] | None] = {}
    for name in dict.fromkeys(names):
        plugin, params = suite.resolve("adaptations", name)
        if not params:  # a variant of the suite's has its strength already
            strengths[plugin] = plugins.load("adaptations", plugin).sweep
    tasks = {plugins.load("attackers", suite.resolve("attackers", name)[0]).task for name in suite.attackers}
    if len(suite.attackers) > 1 and tasks != {"classify"}:
        raise UsageError(
            f"the attackers {', '.join(suite.attackers)} share no scale, expected one: give --attacker NAME"
        )
    return Space(tuple(suite.attackers), strengths, links)


def attack(
    suite: Suite,
    defense: str,
    space: Space,
    budget: int,
    together: int,
    store: Store,
    perform: Perform,
    clean: Mapping[int, Record],
    report: Report = lambda line: None,
    command: str = "",
) -> Found:
    """Search for a response that undoes a defense.

    Args:
        suite: the track.
        defense: its name among the track's rows.
        space: what is searched.
        budget: how many candidates are tried.
        together: how many at a time.
        store: holds the stages that are done.
        perform: does the others of a plan.
        clean: seed -> the record of the clean control.
        report: called with lines on what was found.
        command: the command line, for the records.

    Returns:
        What was found; without records where every candidate failed.
    """
    trials: dict[str, Trial] = {}

    def judge(candidates: Sequence[Candidate]) -> list[float]:
        new = {_response(candidate): _trial(suite, defense, candidate) for candidate in candidates}
        trials.update(new)
        (choice,) = choose([Contest(defense, _ROLE, new)], [], suite.seeds[:1], store, perform)
        granted = {made.response: made.granted for made in choice.attempts}
        return [granted[_response(candidate)] for candidate in candidates]

    ranked = search(space, judge, budget, together, report)
    best = {_response(candidate): candidate for candidate, _ in ranked[:_FINALISTS]}
    if not best:
        return Found((), {}, 0)
    finalists = {name: trials[name] for name in best}
    (choice,) = choose([Contest(defense, _ROLE, finalists)], [], suite.seeds, store, perform, report)
    records = track.evaluate(finalists, choice, suite.seeds, store, perform, command, clean)
    return Found(tuple(records), best, len(ranked))


def _response(candidate: Candidate) -> str:
    return response_name(candidate.attacker, candidate.adaptation)


def _trial(suite: Suite, defense: str, candidate: Candidate) -> Trial:
    """The trial of a candidate at the first seed."""
    one = suite.model_copy(
        update={
            "defenses": [defense],
            "controls": [],
            "attackers": [candidate.attacker],
            "adaptations": [candidate.adaptation],
            "adaptation": {link.label: link.table for link in candidate.links},
            "responses": {},
            "exclude": [],
            "seeds": suite.seeds[:1],
        }
    )
    (trial,) = expand(one).trials
    return trial
