"""The expansion of a suite: every trial that it names, its plugins resolved."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench import plugins
from bench.errors import PluginError, UsageError
from bench.names import check_label
from bench.results.names import NONE
from bench.results.suite import Suite
from bench.sources import plain_name
from bench.trials.facts import facts, remembered
from bench.trials.trial import Part, Trial
from bench.vocabulary import Control, Kind, Needs, Requirement

__all__ = ["Expansion", "expand", "resolve"]

_KIND_OF_ROLE: dict[str, Kind] = {
    "dataset": "datasets",
    "defense": "defenses",
    "reference": "defenses",
    "attacker": "attackers",
    "adaptation": "adaptations",
}


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
    contaminated: tuple[str, ...] = ()  # cells whose attacker was pretrained on the data set, and why


def expand(suite: Suite) -> Expansion:
    """Every trial of a suite, seeds innermost; combinations of different domains are left out and named."""
    resolver = _Resolver(suite)
    trials: dict[str, Trial] = {}
    left_out: dict[str, None] = {}
    contaminated: dict[str, None] = {}
    tally = _Tally()
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
        coordinates = {**chosen, "reference": reference or "", "knowledge": knowledge, "share": share}
        seeds = [seed for seed in suite.seeds if not _excluded(suite, {**coordinates, "seed": seed})]
        if not seeds:
            continue
        cell = {**chosen, "reference": reference or NONE}
        why = resolver.mismatch(cell)
        tally.count(cell, why)
        if why:
            left_out[why] = None
            continue
        if warning := resolver.contamination(chosen):
            contaminated[warning] = None
        for seed in seeds:
            trial = replace(resolver.trial(chosen, reference, knowledge, seed), share=share)
            if trials.setdefault(trial.name, trial) != trial:
                raise UsageError(
                    f"two cells of suite '{suite.name}' would share the record {trial.name}.json, the second that of "
                    f"'{trial.row}' against '{trial.attacker.title}': rename one in the suite"
                )
    for name in trials:
        check_label(name, f"suite '{suite.name}': a record")
    tally.check(resolver)
    return Expansion(tuple(trials.values()), tuple(left_out), tuple(contaminated))


class _Tally:
    """Which plugins of a suite are in a trial, and why others are in none."""

    def __init__(self) -> None:
        self._used: set[tuple[Kind, str]] = set()
        self._lost: dict[tuple[Kind, str], tuple[str, str]] = {}

    def count(self, cell: Mapping[str, str], why: str) -> None:
        """Note a cell; `why` it cannot be, if so."""
        for role, name in cell.items():
            kind = _KIND_OF_ROLE[role]
            if why and name != NONE:
                self._lost.setdefault((kind, name), (why, cell["attacker"]))
            elif not why:
                self._used.add((kind, name))

    def check(self, resolver: _Resolver) -> None:
        """Raise `UsageError` for a plugin that fits nothing it was named with, and say what would fit."""
        for kind, name in self._lost:
            if (kind, name) not in self._used:
                why, attacker = self._lost[kind, name]
                raise UsageError(f"{why}{resolver.fitting(kind, name, attacker)}")


class _Resolver:
    """Names of one suite -> parts, each plugin loaded once."""

    def __init__(self, suite: Suite):
        self._suite = suite
        self._parts: dict[tuple[str, str, str], Part] = {}
        self._domains: dict[tuple[str, str], tuple[str, ...]] = {}
        self._labels: dict[str, dict[str, str]] = {}

    def trial(self, chosen: Mapping[str, str], reference: str | None, knowledge: str, seed: int) -> Trial:
        domain = self.domain(chosen["attacker"])
        attacker = self.part("attackers", chosen["attacker"])
        defense = self.part("defenses", chosen["defense"])
        adapted = None if chosen["adaptation"] == NONE else self.part("adaptations", chosen["adaptation"])
        identity = defense.control.is_clean
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
        part = self._parts.get((kind, name, domain))
        if part is None:
            plugin, given = self._suite.given(kind, name)
            label = self._label(kind, name)
            plain = plain_name(Path(plugin)) if plugin.endswith(".py") else plugin
            part = resolve(kind, plugin, given, self._suite.preset, "" if label == plain else label, domain)
            self._parts[kind, name, domain] = part
        return part

    def _label(self, kind: Kind, name: str) -> str:
        if kind not in self._labels:
            self._labels[kind] = self._suite.labels(kind)
        return self._labels[kind].get(name, name)

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
        return list(facts("attackers", plugin).bag)

    def domain(self, attacker: str) -> str:
        """What an attacker learns from. One that takes several takes the first."""
        return self.domains("attackers", attacker)[0]

    def domains(self, kind: Kind, name: str) -> tuple[str, ...]:
        if (kind, name) not in self._domains:
            plugin, _ = self._suite.given(kind, name)
            self._domains[kind, name] = facts(kind, plugin).domains
        return self._domains[kind, name]

    def default_dataset(self, attacker: str) -> str:
        plugin, _ = self._suite.given("attackers", attacker)
        name = facts("attackers", plugin).dataset
        if not name:
            fits = self.fitting("datasets", "", attacker).removeprefix("; ")
            raise UsageError(f"attacker '{attacker}' names no data set of its own: give --dataset NAME or FILE; {fits}")
        return name

    def mismatch(self, chosen: Mapping[str, str]) -> str:
        """Why these plugins cannot meet in one trial, or nothing."""
        domain = self.domain(chosen["attacker"])
        for role in ("dataset", "defense", "reference", "adaptation"):
            kind, name = _KIND_OF_ROLE[role], chosen[role]
            if name != NONE and domain not in (able := self.domains(kind, name)):
                what = plugins.SINGULAR[kind]
                return f"{what} '{name}' is for {' and '.join(able)}, attacker '{chosen['attacker']}' takes {domain}"
        return ""

    def contamination(self, chosen: Mapping[str, str]) -> str:
        """Why a cell says little: its attacker's weights have seen the data set; or nothing."""
        attacker, _ = self._suite.given("attackers", chosen["attacker"])
        dataset, _ = self._suite.given("datasets", chosen["dataset"])
        if dataset not in facts("attackers", attacker).seen:
            return ""
        return f"attacker '{chosen['attacker']}' was pretrained on data set '{chosen['dataset']}'"

    def fitting(self, kind: Kind, name: str, attacker: str) -> str:
        """Which plugins of a kind fit: with an attacker, or of attackers what one takes."""
        wanted = set(self.domains(kind, name)) if kind == "attackers" else {self.domain(attacker)}
        fits = []
        for other in plugins.names(kind):
            with contextlib.suppress(PluginError):  # one that cannot be loaded fits nothing
                if other != name and wanted & set(facts(kind, other).domains):
                    fits.append(other)
        return f"; {kind} for {' and '.join(sorted(wanted))}: {', '.join(fits)}"


def resolve(
    kind: Kind, name: str, given: Mapping[str, Any], preset: str = "small", label: str = "", domain: str = ""
) -> Part:
    """A plugin as a trial names it: every parameter, the digest of its source, what it needs.

    domain: set as the plugin's field `domain`, if it has one and the user did not give it.
    """
    name = plugins.locate(kind, name)
    chosen = dict(given)
    if domain and "domain" in facts(kind, name).fields:
        chosen.setdefault("domain", domain)
    files: list[Part] = []

    def answer() -> dict[str, Any] | None:
        part = _resolved(kind, name, chosen, preset)
        files.append(part)
        return asdict(part) if not part.data else None

    saved = remembered(kind, name, {"given": chosen, "preset": preset}, answer)
    part = _restored(saved) if saved else files[0] if files else _resolved(kind, name, chosen, preset)
    return replace(part, given=dict(given), label=label)


def _restored(saved: Mapping[str, Any]) -> Part:
    """A part from JSON."""
    return Part(
        **{
            **saved,
            "control": Control(saved["control"]),
            "hooks": tuple(saved["hooks"]),
            "needs": Needs(**saved["needs"]),
        }
    )


def _resolved(kind: Kind, name: str, chosen: Mapping[str, Any], preset: str) -> Part:
    """The plugin as it is here, imported."""
    plugin = plugins.build(kind, name, chosen, preset)
    if kind == "adaptations" and (lacking := set(plugin.requires) - _GIVEN):
        raise UsageError(
            f"adaptation '{name}' requires {', '.join(sorted(lacking))}, "
            f"which a trial does not give: expected at most {', '.join(sorted(_GIVEN))}"
        )
    trait = _TRAITS[kind]
    hooks = tuple(hook for hook in plugins.HOOKS.get(kind, ()) if plugin.implements(hook))
    return Part(
        kind=kind,
        name=name,
        params=_plain_parameters(kind, name, plugin),
        digest=plugins.digest(kind, name),
        data=str(plugin.fingerprint()),
        version=plugin.version,
        control=plugin.control if kind == "defenses" else Control.NONE,
        hooks=hooks,
        needs=plugin.resources(),
        traits={trait: str(value)} if (value := getattr(plugin, trait)) else {},
    )


_GIVEN: frozenset[Requirement] = frozenset({"labels"})  # what an adaptation can be given beside the items


def _plain_parameters(kind: Kind, name: str, plugin: Any) -> dict[str, Any]:
    """Every parameter as a record and a key hold it. Raises `PluginError` for what JSON cannot hold, such as NaN."""
    try:
        params: dict[str, Any] = json.loads(json.dumps(plugins.resolved(plugin), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise PluginError(f"{plugins.SINGULAR[kind]} '{name}': its parameters are no JSON: {error}") from error
    return params


def _datasets(suite: Suite, resolver: _Resolver) -> list[tuple[str, str]]:
    """Pairs (dataset, attacker): every data set of the suite, or each attacker's own."""
    if suite.datasets:
        return list(itertools.product(suite.datasets, suite.attackers))
    return [(resolver.default_dataset(attacker), attacker) for attacker in suite.attackers]


def _excluded(suite: Suite, cell: Mapping[str, Any]) -> bool:
    return any(all(_matches(cell[key], pattern) for key, pattern in rule.items()) for rule in suite.exclude)


def _matches(value: Any, pattern: Any) -> bool:
    return value in pattern if isinstance(pattern, list) else value == pattern
