"""A suite: the TOML file that names a matrix of trials, and its expansion.

    name = "main"
    preset = "small"                        # smoke, small, full
    seeds = [0, 1, 2]
    datasets = ["chorales"]
    defenses = ["clean", "harmonycloak", "loud"]
    controls = ["noise"]                    # matched controls, run beside every defense
    attackers = ["musicgen"]
    adaptations = ["none", "mp3"]
    knowledge = ["white-box"]
    shares = [1.0, 0.5, "three"]            # of the training clips; a class's name: that class alone

    [defense.loud]                          # a variant under a name of its own; other keys are parameters
    plugin = "harmonycloak"
    bound = "paper"
    expects = ["mp3"]                       # the adaptations that this defender prepares for, in place of the suite's

    [[exclude]]                             # cells to leave out: every key must match, a list by any of its values;
                                            # a matched control is found by its `reference` too
    defense = "loud"
    adaptation = ["mp3", "resample"]

    [[published]]                           # a figure of a paper, shown beside ours: peak, mean or last of its epochs
    defense = "loud"
    mean = 0.14

    [budget]                                # rows outside it are shown and not ranked
    snr_db = 20.0

    [gate]                                  # what `bench gate` calls a regression
    tolerance = 0.02

Keys may be called after the other kinds alike: [dataset.NAME], [attacker.NAME], [adaptation.NAME]. An unknown key is an
error that names the nearest one.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import pydantic

from bench import plugins
from bench.api import Adaptation, Attacker, Dataset, Defense, Plugin
from bench.errors import PluginError, UsageError, unknown
from bench.names import check_label, check_suite_name, suite_name_from
from bench.results.measures import AUDIBILITY, CEILINGS
from bench.sources import plain_name
from bench.trials.labels import labels
from bench.trials.trial import Part, Trial
from bench.vocabulary import PRESETS, Control, Kind

KNOWLEDGE = ("white-box", "ensemble", "black-box", "none")
NONE = "none"  # the adaptation that is no adaptation
MEASURES = sorted({*(measure.name for measure in AUDIBILITY), *CEILINGS})  # what a budget can limit
_KIND_OF_ROLE: dict[str, Kind] = {
    "dataset": "datasets",
    "defense": "defenses",
    "reference": "defenses",
    "attacker": "attackers",
    "adaptation": "adaptations",
}
Parameters = dict[str, dict[str, Any]]


class Published(pydantic.BaseModel):
    """Figures of a paper: the quality that it reports at the best epoch, as the mean over epochs, or after the last;
    or metrics of the music that a model generates, by the names that `bench.metrics.symbolic.describe` gives.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    defense: str
    attacker: str = ""  # any
    adaptation: str = NONE
    peak: float = math.nan
    mean: float = math.nan
    last: float = math.nan
    knowledge: str = ""  # any
    title: str = ""  # of its column among metrics of music
    music: dict[str, float] = {}


class Limits(pydantic.BaseModel):
    """What `bench gate` calls a regression: learning denied fell by more than the tolerance, and not by chance."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    tolerance: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 0.02
    alpha: Annotated[float, pydantic.Field(gt=0, lt=1)] = 0.05  # the most runs without a change that may look like one


class Suite(pydantic.BaseModel):
    """A matrix of trials by name. Every list is a dimension."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    name: str = "run"
    about: str = ""
    preset: str = "small"
    seeds: list[int] = [0, 1, 2]
    datasets: list[str] = []  # empty: each attacker's own default
    defenses: list[str] = ["clean"]
    controls: list[str] = []
    attackers: list[str] = []
    adaptations: list[str] = [NONE]
    knowledge: list[str] = ["white-box"]
    shares: list[float | str] = [1.0]
    expects: list[str] = []  # adaptations that the defender prepares for
    bag: list[str] = []  # the surrogates of "ensemble" and, without the trial's attacker, of "black-box"; empty: all
    dataset: Parameters = {}
    defense: Parameters = {}
    attacker: Parameters = {}
    adaptation: Parameters = {}
    exclude: list[dict[str, str | int | float | list[str | int | float]]] = []
    budget: dict[str, Annotated[float, pydantic.Field(allow_inf_nan=False)]] = {}
    gate: Limits = Limits()
    published: list[Published] = []
    notes: str = ""  # what was found, in Markdown, for the suite's page
    _folder: Path | None = pydantic.PrivateAttr(None)  # of its file: where its relative paths start

    def given(self, kind: Kind, name: str) -> tuple[str, dict[str, Any]]:
        """The plugin behind a name of the suite, of a user's file its path, and the parameters that the suite gives."""
        tables: Parameters = getattr(self, plugins.SINGULAR[kind])
        params = dict(tables.get(name, {}))
        if kind == "defenses":
            params.pop("expects", None)
        return plugins.locate(kind, str(params.pop("plugin", name)), self._folder), params

    def labels(self, kind: Kind) -> dict[str, str]:
        """What tables call every plugin of a kind that the suite names."""
        located = {name: self.given(kind, name)[0] for name in self.named(kind)}
        own = {
            name for name, plugin in located.items()
            if plugin.endswith(".py") and plugins.locate(kind, name, self._folder) == plugin
        }  # fmt: skip
        return labels(located, own)

    def named(self, kind: Kind) -> list[str]:
        """Every name of a kind in the suite's lists."""
        listed: dict[Kind, Sequence[str]] = {
            "datasets": self.datasets,
            "defenses": [*self.defenses, *self.controls],
            "attackers": [*self.attackers, *self.bag],
            "adaptations": [*self.adaptations, *self.expects, *itertools.chain(*map(self.expected, self.defense))],
        }
        return list(dict.fromkeys(listed[kind]))

    def expected(self, defense: str) -> list[str]:
        """The adaptations that the defender prepares for: the defense's own, or else the suite's."""
        own = self.defense.get(defense, {}).get("expects", self.expects)
        if not isinstance(own, list) or not all(isinstance(name, str) for name in own):
            raise UsageError(f"[defense.{defense}] expects = {own!r}: expected a list of adaptations")
        return own


@dataclass(frozen=True)
class Expansion:
    """A suite's trials, and the combinations that cannot be: why."""

    trials: tuple[Trial, ...]
    left_out: tuple[str, ...]


def read(path: Path) -> Suite:
    """A suite from its file. Raises `UsageError` with one line."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"the suite {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the suite {path} is not TOML: {error}") from error
    data.setdefault("name", suite_name_from(path.stem))
    return suite(data, str(path), path.absolute().parent)


def suite(data: Mapping[str, Any], where: str = "the suite", folder: Path | None = None) -> Suite:
    """A suite from a mapping, its keys and values checked.

    Args:
        data: the keys of a suite's file.
        where: what a message begins with.
        folder: where relative paths of plugins and data start; by default the current folder.
    """
    for key in data:
        if key not in Suite.model_fields:
            raise UsageError(f"{where}: {unknown('key', key, Suite.model_fields)}")
    try:
        made = Suite.model_validate(dict(data))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where}: {at} = {first.get('input')!r}: {first['msg']}") from error
    _check(made, where)
    made._folder = folder
    return made


def expand(suite: Suite) -> Expansion:
    """Every trial of a suite, seeds innermost; combinations of different domains are left out and named."""
    resolver = _Resolver(suite)
    trials: dict[str, Trial] = {}
    left_out: dict[str, None] = {}
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
        place = {**chosen, "reference": reference or "", "knowledge": knowledge, "share": share}
        seeds = [seed for seed in suite.seeds if not _excluded(suite, {**place, "seed": seed})]
        why = resolver.mismatch({**chosen, "reference": reference or NONE}) if seeds else ""
        if seeds:
            tally.count({**chosen, "reference": reference or NONE}, why)
        if why:
            left_out[why] = None
            continue
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
    return Expansion(tuple(trials.values()), tuple(left_out))


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
            label = self._label(kind, name)
            plain = plain_name(Path(plugin)) if plugin.endswith(".py") else plugin
            known = resolve(kind, plugin, given, self._suite.preset, "" if label == plain else label, domain)
            self._parts[kind, name, domain] = known
        return known

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
        for role in ("dataset", "defense", "reference", "adaptation"):
            kind, name = _KIND_OF_ROLE[role], chosen[role]
            if name != NONE and domain not in (able := self.domains(kind, name)):
                what = plugins.SINGULAR[kind]
                return f"{what} '{name}' is for {' and '.join(able)}, attacker '{chosen['attacker']}' takes {domain}"
        return ""

    def fitting(self, kind: Kind, name: str, attacker: str) -> str:
        """Which built-in plugins of a kind fit: with an attacker, or of attackers what one takes."""
        wanted = set(self.domains(kind, name)) if kind == "attackers" else {self.domain(attacker)}
        fits = []
        for other in plugins.names(kind):
            with contextlib.suppress(PluginError):  # one that cannot be loaded fits nothing
                if other != name and wanted & set(plugins.load(kind, other).domains):
                    fits.append(other)
        return f"; {kind} for {' and '.join(sorted(wanted))}: {', '.join(fits)}"


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
        control=plugin.control if isinstance(plugin, Defense) else Control.NONE,
        hooks=hooks,
        needs=plugin.resources(),
        traits=_traits(plugin),
    )


def _traits(plugin: Plugin) -> dict[str, str]:
    """What the plan and the tables read of a plugin's declarations, see `Part.traits`."""
    match plugin:
        case Defense():
            said: dict[str, object] = {"per": plugin.per}
        case Attacker():
            said = {"task": plugin.task}
        case Adaptation():
            said = {"preprocess": plugin.preprocess}
        case Dataset():
            said = {"content": plugin.content}
        case _:
            raise TypeError(f"{type(plugin).__name__} is none of the four kinds of plugin")
    return {name: str(value) for name, value in said.items() if value}


def _datasets(suite: Suite, resolver: _Resolver) -> list[tuple[str, str]]:
    """Pairs (dataset, attacker): every data set of the suite, or each attacker's own."""
    if suite.datasets:
        return list(itertools.product(suite.datasets, suite.attackers))
    return [(resolver.default_dataset(attacker), attacker) for attacker in suite.attackers]


def _excluded(suite: Suite, cell: Mapping[str, Any]) -> bool:
    return any(all(_matches(cell[key], asked) for key, asked in rule.items()) for rule in suite.exclude)


def _matches(value: Any, asked: Any) -> bool:
    return value in asked if isinstance(asked, list) else value == asked


def _check(suite: Suite, where: str) -> None:
    check_suite_name(suite.name, where)
    if not suite.attackers:
        raise UsageError(f"{where} names no attacker")
    for measure in suite.budget:
        if measure not in MEASURES:
            raise UsageError(f"{where}: [budget] {unknown('measure', measure, MEASURES)}")
    if not suite.seeds:
        raise UsageError(f"{where} names no seed")
    for share in suite.shares:
        if not isinstance(share, str) and not 0 < share <= 1:
            raise UsageError(f"{where}: share {share:g}, expected more than 0 and up to 1, or the name of a class")
    for value, known, what in (*((name, KNOWLEDGE, "knowledge") for name in suite.knowledge), (suite.preset, PRESETS, "preset")):  # fmt: skip  # noqa: E501
        if value not in known:
            raise UsageError(f"{where}: {unknown(what, value, known)}")
    for kind, table in plugins.SINGULAR.items():
        names = suite.named(kind)
        for name in names:
            check_label(name, where)
        for name in getattr(suite, table):
            if names and name not in names:
                raise UsageError(f"{where}: [{table}.{name}] is not used: {unknown(table, name, names)}")
    cell = {"dataset", "defense", "reference", "attacker", "adaptation", "knowledge", "seed", "share"}
    for rule in suite.exclude:
        for key in rule:
            if key not in cell:
                raise UsageError(f"{where}: exclude: {unknown('key', key, cell)}")
