"""Expand a suite into trials, with every plugin resolved."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bench import plugins
from bench.errors import PluginError, UsageError
from bench.names import check_label
from bench.results.names import NONE
from bench.results.suite import RANDOM, Suite, listed_control
from bench.results.threat import DeclaredThreat
from bench.sources import plain_name
from bench.trials.exclusion import excluded, matches_all
from bench.trials.facts import check_parameters, facts
from bench.trials.resolving import resolve
from bench.trials.threats import threat_of
from bench.trials.trial import Part, Trial, chain
from bench.vocabulary import Kind

__all__ = ["Expansion", "expand"]

# What hooks of adaptations do with the granted items of a threat model.
_USES_OF_GRANTED = {
    "train_with_granted": "trains on granted items",
    "transform_with_pairs": "learns from granted items that it protects itself",
}
_KIND_OF_ROLE: dict[str, Kind] = {
    "dataset": "datasets",
    "defense": "defenses",
    "reference": "defenses",
    "attacker": "attackers",
    "adaptation": "adaptations",
}


@dataclass(frozen=True)
class Expansion:
    """The trials of a suite, and the combinations that were left out, with the reason of each."""

    trials: tuple[Trial, ...]
    left_out: tuple[str, ...]
    contaminated: tuple[str, ...] = ()  # cells whose attacker was pretrained on the data set, and why
    without_curve: tuple[str, ...] = ()  # data sets without a threat model, on which score 2 has no value


def expand(suite: Suite) -> Expansion:
    """Return every trial of a suite, seeds innermost.

    Combinations whose plugins take different domains are left out and listed.

    Args:
        suite: The suite.

    Returns:
        The trials, the combinations left out, and the contaminated cells.

    Raises:
        UsageError: Two cells share a record name, or a plugin fits none of the plugins that it is named with.
        PluginError: A plugin cannot be loaded.
    """
    resolver = _Resolver(suite)
    _check_declared(suite, resolver)
    trials: dict[str, Trial] = {}
    left_out: dict[str, None] = {}
    contaminated: dict[str, None] = {}
    tally = _Tally()
    rows: list[tuple[str, str | None]] = [(defense, None) for defense in suite.defenses]
    rows += [
        (control, defense)
        for defense in suite.defenses
        if not resolver.part("defenses", defense).control
        for control in suite.controls
    ]
    cells = itertools.product(_datasets(suite, resolver), rows, suite.knowledge, suite.shares, suite.adaptations)
    for (dataset, attacker), (defense, reference), knowledge, share, adaptation in cells:
        if not suite.tries(attacker, adaptation):
            continue
        if share != 1 and (reference or resolver.part("defenses", defense).control):
            continue  # controls are for the whole set
        names = {"dataset": dataset, "defense": defense, "attacker": attacker, "adaptation": adaptation}
        coordinates = {**names, "reference": reference or "", "knowledge": knowledge, "share": share}
        seeds = [seed for seed in suite.seeds if not excluded(suite, {**coordinates, "seed": seed})]
        if not seeds:
            continue
        cell = {**names, "defense": listed_control(defense) if reference else defense, "reference": reference or NONE}
        reason = resolver.mismatch(cell)
        tally.count(cell, reason)
        if reason:
            left_out[reason] = None
            continue
        if warning := resolver.contamination(names):
            contaminated[warning] = None
        for seed in seeds:
            trial = replace(resolver.trial(names, reference, knowledge, seed), share=share)
            if trials.setdefault(trial.name, trial) != trial:
                raise UsageError(
                    f"suite '{suite.name}': two cells have the record name {trial.name}.json, expected different ones: "
                    f"rename '{trial.row}' or '{trial.attacker.title}' in the suite"
                )
    for name in trials:
        check_label(name, f"suite '{suite.name}': a record")
    tally.check(resolver)
    without = [trial.dataset.title for trial in trials.values() if suite.score == 2 and not trial.threat]
    return Expansion(tuple(trials.values()), tuple(left_out), tuple(contaminated), tuple(dict.fromkeys(without)))


def _check_declared(suite: Suite, resolver: _Resolver) -> None:
    """Raise `UsageError` for a plugin whose domain or parameters do not fit, before any plugin is imported."""
    for kind in plugins.FOLDERS:
        for name in suite.named(kind):
            if name != NONE:
                check_parameters(kind, *suite.resolve(kind, name))
    tally = _Tally()
    cells = itertools.product(_datasets(suite, resolver), suite.defenses, suite.adaptations)
    for (dataset, attacker), defense, adaptation in cells:
        names = {"dataset": dataset, "defense": defense, "attacker": attacker, "adaptation": adaptation}
        left_out = any(rule.keys() <= names.keys() and matches_all(names, rule) for rule in suite.exclude)
        if suite.tries(attacker, adaptation) and not left_out:
            cell = {**names, "reference": NONE}
            tally.count(cell, resolver.mismatch(cell))
    tally.check(resolver)


class _Tally:
    """Records which plugins of a suite are in a trial, and why the others are in none."""

    def __init__(self) -> None:
        self._used: set[tuple[Kind, str]] = set()
        self._unused: dict[tuple[Kind, str], tuple[str, str]] = {}

    def count(self, cell: Mapping[str, str], reason: str) -> None:
        """Count the plugins of a cell as used, or note the reason why the cell was left out."""
        for role, name in cell.items():
            kind = _KIND_OF_ROLE[role]
            if reason and name != NONE:
                self._unused.setdefault((kind, name), (reason, cell["attacker"]))
            elif not reason:
                self._used.add((kind, name))

    def check(self, resolver: _Resolver) -> None:
        """Raise `UsageError` for a plugin that is in no trial, and name plugins that would fit."""
        for kind, name in self._unused:
            if (kind, name) not in self._used:
                reason, attacker = self._unused[kind, name]
                raise UsageError(f"{reason}{resolver.fitting(kind, name, attacker)}")


class _Resolver:
    """Resolves the names of one suite to parts; each plugin is loaded once."""

    def __init__(self, suite: Suite):
        self._suite = suite
        self._parts: dict[tuple[str, str, str], Part] = {}
        self._domains: dict[tuple[str, str], tuple[str, ...]] = {}
        self._labels: dict[str, dict[str, str]] = {}

    def trial(self, names: Mapping[str, str], reference: str | None, knowledge: str, seed: int) -> Trial:
        domain = self.domain(names["attacker"])
        attacker = self.part("attackers", names["attacker"])
        defense = self.defense(names["defense"], reference, domain)
        adapted = None if names["adaptation"] == NONE else self.part("adaptations", names["adaptation"])
        threat = threat_of(self._suite, names["dataset"], domain)
        for part in adapted.steps if adapted and not threat else ():
            for hook, use in _USES_OF_GRANTED.items():
                if hook in part.hooks:
                    raise UsageError(
                        f"adaptation '{part.title}' {use}, of which this run has none: give a [threat] with "
                        "`published` and `granted`"
                    )
        identity = defense.control.is_clean
        return Trial(
            dataset=self.part("datasets", names["dataset"], domain),
            defense=defense,
            attacker=attacker,
            seed=seed,
            knowledge=NONE if identity else knowledge,
            surrogates=() if identity else self.surrogates(names["attacker"], knowledge),
            expects=tuple(
                self.part("adaptations", name) for name in ([] if identity else self._suite.expected(names["defense"]))
            ),
            adaptation=adapted,
            reference=self.part("defenses", reference) if reference else None,
            preset=self._suite.preset,
            threat=threat.model if threat else None,
            replacement=self.replacement(threat, domain) if threat else None,
        )

    def replacement(self, threat: DeclaredThreat, domain: str) -> Part | None:
        """The data set of other material that the threat model gives the attacker, if it gives one."""
        name = threat.model.replacement
        if not name:
            return None
        if domain not in (able := self.domains("datasets", threat.plugin or name)):
            raise UsageError(f"replacement '{name}' is for {' and '.join(able)}, expected {domain}")
        if threat.plugin in ("", name):
            return self.part("datasets", name, domain)
        key = ("datasets", repr(threat), domain)
        if key not in self._parts:
            self._parts[key] = resolve("datasets", threat.plugin, threat.params, self._suite.preset, name, domain)
        return self._parts[key]

    def part(self, kind: Kind, name: str, domain: str = "") -> Part:
        part = self._parts.get((kind, name, domain))
        if part is None and len(links := self.links(kind, name)) > 1:
            part = self._parts[kind, name, domain] = _chain([self.part(kind, link) for link in links])
        elif part is None:
            plugin, params = self._suite.resolve(kind, name)
            label = self._label(kind, name)
            plain = plain_name(Path(plugin)) if plugin.endswith(".py") else plugin
            part = resolve(kind, plugin, params, self._suite.preset, "" if label == plain else label, domain)
            self._parts[kind, name, domain] = part
        return part

    def defense(self, name: str, reference: str | None, domain: str) -> Part:
        """Return the defense of a row; for the control "random" that which it is matched to, not optimised."""
        params = self.part("defenses", reference).unoptimised(domain) if name == RANDOM and reference else None
        if params is None or not reference:
            return self.part("defenses", listed_control(name) if reference else name)
        key = ("defenses", f"{name} ~ {reference}", domain)
        if key not in self._parts:
            plugin, given = self._suite.resolve("defenses", reference)
            self._parts[key] = resolve("defenses", plugin, {**given, **params}, self._suite.preset, RANDOM)
        return self._parts[key]

    def links(self, kind: Kind, name: str) -> list[str]:
        """Return the names that a chain of adaptations joins; of any other plugin its own."""
        return self._suite.links(name) if kind == "adaptations" else [name]

    def _label(self, kind: Kind, name: str) -> str:
        if kind not in self._labels:
            self._labels[kind] = self._suite.labels(kind)
        return self._labels[kind].get(name, name)

    def surrogates(self, attacker: str, knowledge: str) -> tuple[Part, ...]:
        if knowledge == "white-box":
            return (self.part("attackers", attacker),)
        if knowledge == NONE:
            return ()
        bag = [n for n in self._suite.bag or self._suite.attackers if self.domain(n) == self.domain(attacker)]
        outsiders = [name for name in bag if name != attacker] or self.default_bag(attacker)
        if knowledge == "ensemble" and self._suite.track and self._suite.bag:
            bag_names = bag  # whatever the attacker: a track publishes one set
        elif knowledge == "ensemble":  # in one order for all attackers, so that they share one protected set
            bag_names = bag if attacker in bag and len(bag) > 1 else [*outsiders, attacker]
        else:
            bag_names = outsiders
        if not bag_names:
            raise UsageError(
                f"black-box knowledge of '{attacker}' needs at least one other attacker as surrogate, found none: "
                f"name some in `bag` or `attackers`"
            )
        return tuple(self.part("attackers", name) for name in bag_names)

    def default_bag(self, attacker: str) -> list[str]:
        """Return the attacker's own choice of surrogates, used where the suite names none."""
        plugin, _ = self._suite.resolve("attackers", attacker)
        return list(facts("attackers", plugin).bag)

    def domain(self, attacker: str) -> str:
        """Return the domain that an attacker learns from; of several, the first."""
        return self.domains("attackers", attacker)[0]

    def domains(self, kind: Kind, name: str) -> tuple[str, ...]:
        if (kind, name) not in self._domains:
            plugin, _ = self._suite.resolve(kind, name)
            self._domains[kind, name] = facts(kind, plugin).domains
        return self._domains[kind, name]

    def default_dataset(self, attacker: str) -> str:
        plugin, _ = self._suite.resolve("attackers", attacker)
        name = facts("attackers", plugin).dataset
        if not name:
            fits = self.fitting("datasets", "", attacker).removeprefix("; ")
            raise UsageError(f"attacker '{attacker}' has no default data set: give --dataset NAME or FILE; {fits}")
        return name

    def mismatch(self, names: Mapping[str, str]) -> str:
        """Return why these plugins cannot be in one trial; empty if they can."""
        domain = self.domain(names["attacker"])
        for role in ("dataset", "defense", "reference", "adaptation"):
            kind = _KIND_OF_ROLE[role]
            for name in self.links(kind, names[role]):
                if name != NONE and domain not in (able := self.domains(kind, name)):
                    kind_name, fits = plugins.SINGULAR[kind], " and ".join(able)
                    return f"{kind_name} '{name}' is for {fits}, attacker '{names['attacker']}' takes {domain}"
        return ""

    def contamination(self, names: Mapping[str, str]) -> str:
        """Return a warning if the attacker was pretrained on the data set; else an empty string."""
        attacker, _ = self._suite.resolve("attackers", names["attacker"])
        dataset, _ = self._suite.resolve("datasets", names["dataset"])
        if dataset not in facts("attackers", attacker).seen:
            return ""
        return f"attacker '{names['attacker']}' was pretrained on data set '{names['dataset']}'"

    def fitting(self, kind: Kind, name: str, attacker: str) -> str:
        """List the plugins of a kind that fit an attacker; for an attacker, those that share a domain with it."""
        domains = set(self.domains(kind, name)) if kind == "attackers" else {self.domain(attacker)}
        fits = []
        for candidate in plugins.names(kind):
            with contextlib.suppress(PluginError):  # one that cannot be loaded fits nothing
                if candidate != name and domains & set(facts(kind, candidate).domains):
                    fits.append(candidate)
        return f"; {kind} for {' and '.join(sorted(domains))}: {', '.join(fits)}"


def _chain(links: list[Part]) -> Part:
    """Return a chain. Raise `UsageError` where two of its links train in their own way."""
    trainers = [link.title for link in links if {"train", "train_with_granted"} & set(link.hooks)]
    if len(trainers) > 1:
        raise UsageError(
            f"adaptation '{chain(links).title}': '{trainers[0]}' and '{trainers[1]}' both train in a way of their own, "
            "expected one such link at most"
        )
    return chain(links)


def _datasets(suite: Suite, resolver: _Resolver) -> list[tuple[str, str]]:
    """Pairs (dataset, attacker): every data set of the suite, or each attacker's own."""
    if suite.datasets:
        return list(itertools.product(suite.datasets, suite.attackers))
    return [(resolver.default_dataset(attacker), attacker) for attacker in suite.attackers]
