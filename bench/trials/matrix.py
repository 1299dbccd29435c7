"""The expansion of a suite: every trial that it names, its plugins resolved."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from bench import plugins
from bench.errors import UsageError
from bench.results.names import NONE
from bench.results.suite import Suite
from bench.trials.trial import Part, Trial
from bench.vocabulary import Control, Kind

__all__ = ["Expansion", "expand", "resolve"]


# What the plan and the tables read of a plugin's declarations, see `Part.traits`.
_TRAITS: dict[Kind, str] = {
    "defenses": "per",
    "attackers": "task",
    "adaptations": "preprocess",
    "datasets": "content",
}


@dataclass(frozen=True)
class Expansion:
    """A suite's trials, and the combinations that cannot be: why."""

    trials: tuple[Trial, ...]
    left_out: tuple[str, ...]


def expand(suite: Suite) -> Expansion:
    """Every trial of a suite, seeds innermost; combinations of different domains are left out and named."""
    resolver = _Resolver(suite)
    trials: dict[str, Trial] = {}
    left_out: dict[str, None] = {}
    rows: list[tuple[str, str | None]] = [(defense, None) for defense in suite.defenses]
    rows += [
        (control, defense)
        for defense in suite.defenses
        if not resolver.control("defenses", defense)
        for control in suite.controls
    ]
    cells = itertools.product(_datasets(suite, resolver), rows, suite.knowledge, suite.shares, suite.adaptations)
    for (dataset, attacker), (defense, reference), knowledge, share, adaptation in cells:
        if share != 1 and resolver.control("defenses", defense):
            continue  # controls are for the whole set
        chosen = {"dataset": dataset, "defense": defense, "attacker": attacker, "adaptation": adaptation}
        place = {**chosen, "reference": reference or "", "knowledge": knowledge, "share": share}
        seeds = [seed for seed in suite.seeds if not _excluded(suite, {**place, "seed": seed})]
        why = resolver.mismatch(chosen) if seeds else ""
        if why:
            left_out[why] = None
            continue
        for seed in seeds:
            trial = replace(resolver.trial(chosen, reference, knowledge, seed), share=share)
            trials.setdefault(trial.name, trial)
    return Expansion(tuple(trials.values()), tuple(left_out))


class _Resolver:
    """Names of one suite -> parts, each plugin loaded once."""

    def __init__(self, suite: Suite):
        self._suite = suite
        self._parts: dict[tuple[str, str, str], Part] = {}
        self._domains: dict[tuple[str, str], tuple[str, ...]] = {}

    def trial(self, chosen: Mapping[str, str], reference: str | None, knowledge: str, seed: int) -> Trial:
        domain = self.domain(chosen["attacker"])
        attacker = self.part("attackers", chosen["attacker"])
        defense = self.part("defenses", chosen["defense"])
        adapted = None if chosen["adaptation"] == NONE else self.part("adaptations", chosen["adaptation"])
        identity = defense.control == "clean"
        return Trial(
            dataset=self.part("datasets", chosen["dataset"], domain),
            defense=defense,
            attacker=attacker,
            seed=seed,
            knowledge=NONE if identity else knowledge,
            surrogates=() if identity else self.surrogates(chosen["attacker"], knowledge),
            expects=tuple(
                self.part("adaptations", name) for name in ([] if identity else self._suite.expected(chosen["defense"]))
            ),
            adaptation=adapted,
            reference=self.part("defenses", reference) if reference else None,
            preset=self._suite.preset,
        )

    def part(self, kind: Kind, name: str, domain: str = "") -> Part:
        known = self._parts.get((kind, name, domain))
        if known is None:
            plugin, given = self._suite.given(kind, name)
            known = resolve(
                kind, plugin, given, self._suite.preset, label="" if name == plugin else name, domain=domain
            )
            self._parts[kind, name, domain] = known
        return known

    def control(self, kind: Kind, name: str) -> str:
        return self.part(kind, name).control

    def surrogates(self, attacker: str, knowledge: str) -> tuple[Part, ...]:
        if knowledge == "white-box":
            return (self.part("attackers", attacker),)
        if knowledge == NONE:
            return ()
        bag = [n for n in self._suite.bag or self._suite.attackers if self.domain(n) == self.domain(attacker)]
        strangers = [name for name in bag if name != attacker] or self.default_bag(attacker)
        if knowledge == "ensemble":  # in one order for all attackers, so that they share one protected set
            chosen = bag if attacker in bag and len(bag) > 1 else [*strangers, attacker]
        else:
            chosen = strangers
        if not chosen:
            raise UsageError(f"black-box against '{attacker}' needs other attackers: name them in `bag` or `attackers`")
        return tuple(self.part("attackers", name) for name in chosen)

    def default_bag(self, attacker: str) -> list[str]:
        """Whom a defender crafts against who does not know this attacker, where the suite names no other."""
        plugin, _ = self._suite.given("attackers", attacker)
        return list(plugins.load("attackers", plugin).bag)

    def domain(self, attacker: str) -> str:
        """What an attacker learns from. One that takes several takes the first."""
        return self.domains("attackers", attacker)[0]

    def domains(self, kind: Kind, name: str) -> tuple[str, ...]:
        if (kind, name) not in self._domains:
            plugin, _ = self._suite.given(kind, name)
            self._domains[kind, name] = plugins.load(kind, plugin).domains
        return self._domains[kind, name]

    def default_dataset(self, attacker: str) -> str:
        plugin, _ = self._suite.given("attackers", attacker)
        name: str = plugins.load("attackers", plugin).dataset
        if not name:
            raise UsageError(f"attacker '{attacker}' names no data set of its own: give --dataset NAME")
        return name

    def mismatch(self, chosen: Mapping[str, str]) -> str:
        """Why these plugins cannot meet in one trial, or nothing."""
        domain = self.domain(chosen["attacker"])
        for kind in ("datasets", "defenses", "adaptations"):
            name = chosen[plugins.SINGULAR[kind]]
            if name != NONE and domain not in (able := self.domains(kind, name)):
                what = plugins.SINGULAR[kind]
                return f"{what} '{name}' is for {' and '.join(able)}, attacker '{chosen['attacker']}' takes {domain}"
        return ""


def resolve(
    kind: Kind, name: str, given: Mapping[str, Any], preset: str = "small", label: str = "", domain: str = ""
) -> Part:
    """A plugin as a trial names it: every parameter, the digest of its source, what it needs.

    domain: set as the plugin's field `domain`, if it has one and the user did not give it.
    """
    name = plugins.locate(kind, name)
    cls = plugins.load(kind, name)
    chosen = dict(given)
    if domain and "domain" in {field.name for field in fields(cls)}:
        chosen.setdefault("domain", domain)
    plugin = plugins.build(kind, name, chosen, preset)
    trait = _TRAITS[kind]
    hooks = tuple(hook for hook in plugins.HOOKS.get(kind, ()) if plugin.implements(hook))
    return Part(
        kind=kind,
        name=name,
        params=json.loads(json.dumps(plugins.resolved(plugin))),
        digest=plugins.digest(kind, name),
        data=str(plugin.fingerprint()),
        given=dict(given),
        version=plugin.version,
        label=label,
        control=plugin.control if kind == "defenses" else Control.NONE,
        hooks=hooks,
        needs=plugin.resources(),
        traits={trait: str(value)} if (value := getattr(plugin, trait)) else {},
    )


def _datasets(suite: Suite, resolver: _Resolver) -> list[tuple[str, str]]:
    """Pairs (dataset, attacker): every data set of the suite, or each attacker's own."""
    if suite.datasets:
        return list(itertools.product(suite.datasets, suite.attackers))
    return [(resolver.default_dataset(attacker), attacker) for attacker in suite.attackers]


def _excluded(suite: Suite, cell: Mapping[str, Any]) -> bool:
    return any(all(_matches(cell[key], asked) for key, asked in rule.items()) for rule in suite.exclude)


def _matches(value: Any, asked: Any) -> bool:
    return value in asked if isinstance(asked, list) else value == asked
