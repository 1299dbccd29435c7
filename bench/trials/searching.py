"""Search for a response that beats a track's battery: chains of adaptations and their strengths, by the granted items.

The optimiser (Optuna's tree-structured Parzen estimator, Bergstra et al. 2011, NeurIPS) proposes an attacker, a chain
of adaptations and their strengths, and is told the quality that this response reaches on the granted items at the first
seed. No test item is read.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import PluginError
from bench.extras import command
from bench.sources import plain_name

__all__ = ["Candidate", "Link", "Space", "require", "search"]

Evaluate = Callable[[Sequence["Candidate"]], Sequence[float]]  # quality on the granted items; NaN where it failed


@dataclass(frozen=True)
class Link:
    """An adaptation of a chain, with the value of its strength parameter; "" where it has none."""

    name: str
    parameter: str = ""
    value: float | int = 0

    @property
    def label(self) -> str:
        """What tables call it, such as "add_noise-12.5"."""
        name = plain_name(Path(self.name)) if self.name.endswith(".py") else self.name
        return f"{name}-{self.value:.4g}" if self.parameter else name

    @property
    def table(self) -> dict[str, Any]:
        """Its table in a suite."""
        return {"plugin": self.name, self.parameter: self.value} if self.parameter else {"plugin": self.name}


@dataclass(frozen=True)
class Candidate:
    """A response: an attacker and a chain of adaptations."""

    attacker: str
    links: tuple[Link, ...]

    @property
    def adaptation(self) -> str:
        """The chain as a suite lists it; "none" without a link."""
        return "+".join(link.label for link in self.links) or "none"


@dataclass(frozen=True)
class Space:
    """What is searched.

    Attributes:
        attackers: by name.
        strengths: adaptation -> its strength parameter with the weakest and the strongest value; None for one that has
            no strength. Whole numbers at both ends stand for a whole-numbered parameter.
        links: how many adaptations a chain has at most.
    """

    attackers: tuple[str, ...]
    strengths: Mapping[str, tuple[str, float, float] | None]
    links: int = 2


def require() -> None:
    """Raise `PluginError` where Optuna is not installed."""
    if importlib.util.find_spec("optuna") is None:
        raise PluginError(f"`bench attack` needs the package optuna: {command('search')}")


def search(
    space: Space,
    evaluate: Evaluate,
    budget: int,
    together: int = 1,
    report: Callable[[str], None] = lambda line: None,
    seed: int = 0,
) -> list[tuple[Candidate, float]]:
    """Search the space.

    Args:
        space: what is searched.
        evaluate: gives the qualities of some candidates, which are tried side by side.
        budget: how many candidates are tried.
        together: how many at a time.
        report: called with a line on each that is better than all before.
        seed: of the optimiser.

    Returns:
        The candidates that did not fail, with their qualities, the best first; none twice.

    Raises:
        PluginError: Optuna is not installed.
    """
    require()
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():  # both are experimental in Optuna 5, and what conditional spaces need
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=together > 1)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    qualities: dict[Candidate, float] = {}
    tried = 0
    while tried < budget:
        trials = [study.ask() for _ in range(min(together, budget - tried))]
        asked = [_candidate(trial, space) for trial in trials]
        new = list(dict.fromkeys(candidate for candidate in asked if candidate not in qualities))
        best = max(_known(qualities), default=-math.inf)
        qualities |= dict(zip(new, evaluate(new), strict=True)) if new else {}
        for trial, candidate in zip(trials, asked, strict=True):
            quality = qualities[candidate]
            if math.isnan(quality):
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                continue
            study.tell(trial, quality)
            if quality > best:
                best = quality
                report(f"{quality:.4f} on the granted items: {candidate.attacker} + {candidate.adaptation}")
        tried += len(trials)
    known = [(candidate, quality) for candidate, quality in qualities.items() if not math.isnan(quality)]
    return sorted(known, key=lambda pair: -pair[1])


def _known(qualities: Mapping[Candidate, float]) -> list[float]:
    return [quality for quality in qualities.values() if not math.isnan(quality)]


def _candidate(trial: Any, space: Space) -> Candidate:
    """Let an Optuna trial propose a candidate."""
    attacker = trial.suggest_categorical("attacker", list(space.attackers))
    links: dict[str, Link] = {}
    for place in range(space.links):
        name = trial.suggest_categorical(f"link {place}", ["none", *space.strengths])
        if name == "none" or name in links:
            continue
        strength = space.strengths[name]
        links[name] = Link(name) if strength is None else Link(name, strength[0], _value(trial, place, name, strength))
    return Candidate(attacker, tuple(links.values()))


def _value(trial: Any, place: int, name: str, strength: tuple[str, float, float]) -> float | int:
    """Let a trial propose a strength, evenly in its logarithm where it spans a factor of 8."""
    parameter, *ends = strength
    low, high = sorted(ends)
    called = f"{name}.{parameter} {place}"
    if isinstance(low, int) and isinstance(high, int):
        value: int = trial.suggest_int(called, low, high, log=low > 0 and high >= 8 * low)
        return value
    return float(f"{trial.suggest_float(called, low, high, log=low > 0 and high >= 8 * low):.4g}")
