"""A suite: the TOML file that names a matrix of trials. `bench.trials.expand` expands it.

    name = "main"
    preset = "small"                        # smoke, small, full
    seeds = [0, 1, 2]
    datasets = ["chorales"]
    defenses = ["clean", "harmonycloak", "loud"]
    controls = ["random"]                   # matched controls, run beside every defense: by name, or "random", the
                                            # defense's own noise at random where it declares how, else noise
    attackers = ["musicgen"]
    adaptations = ["none", "mp3", "trim+loud_mp3"]  # joined by +: a chain, each on what the one before it made
    knowledge = ["white-box"]
    shares = [1.0, 0.5, "three"]            # of the training clips; a class's name: that class alone

    [defense.loud]                          # a variant under a name of its own; other keys are parameters
    plugin = "harmonycloak"
    bound = "paper"
    expects = ["mp3", "trim+mp3"]           # the adaptations that this defender prepares for, in place of the suite's

    [[exclude]]                             # cells to leave out: every key must match, a list by any of its values;
                                            # a matched control is found by its `reference` too
    defense = "loud"
    adaptation = ["mp3", "resample"]

    [responses]                             # the adaptations that an attacker tries, in place of all in the list
    musicgen = ["none", "mp3"]

    [[published]]                           # a figure of a paper, shown beside ours: peak, mean or last of its epochs
    defense = "loud"
    mean = 0.14

    [budget]                                # rows outside it are shown and not ranked
    snr_db = 20.0

    score = 2                               # 1: publish the whole training set and train on no clean curve

    [threat]                                # what is published and granted; by default what the data set declares
    published = 120                         # the items that each seed draws and publishes
    granted = 50                            # clean items that the attacker has anyway
    sizes = [15, 30, 60]                    # of the clean curve, between 0 and `published`
    steps_as = 480                          # attackers train as long as for so many published items; by default n
    replacement = "other_songs"             # a data set that the attacker trains on as well

    [gate]                                  # what `bench gate` calls a regression
    tolerance = 0.02                        # of learning denied
    factor = 1.1                            # under a threat model: of the worth with the granted items

A track is a suite in which one attacker chooses among all responses (attackers x adaptations), by the granted items,
in successive halving, and every defense is one row: see `bench.trials.selection`.

    track = 1                               # its version: what is in the battery never changes under one version

    [[round]]                               # all responses, at the first seed; without rounds each at every seed
    effort = 0.25                           # of each attacker's epochs or steps
    keep = 8                                # responses that go on; those of the last round, to every seed
    each = 1                                # of every attacker at least so many

    [size.smoke]                            # keys and tables that another size has in place of the above; a size is a
    seeds = [0]                             # preset

Keys may be called after the other kinds alike: [dataset.NAME], [attacker.NAME], [adaptation.NAME]. A variant such as
[adaptation.loud_mp3] may be a link of a chain. An unknown key is an error that names the nearest one. Relative paths of
plugins, and parameters called `path` or `source`, start at the suite's file.
"""

from __future__ import annotations

import itertools
import math
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from bench import plugins
from bench.errors import UsageError, unknown
from bench.names import check_label, check_suite_name, suite_name_from
from bench.results.labels import labels
from bench.results.measures import AUDIBILITY, CEILINGS
from bench.results.names import JOINT, NONE
from bench.results.suite_tables import Limits, Published, Round
from bench.results.threat import ThreatModel
from bench.vocabulary import PRESETS, Kind

__all__ = [
    "KNOWLEDGE", "RANDOM", "Limits", "Published", "Round", "Suite", "links", "listed_control", "read", "suite",
]  # fmt: skip

_PATHS = ("path", "source")  # parameters that are paths of data or weights
MEASURES = sorted({*(measure.name for measure in AUDIBILITY), *CEILINGS})  # what a budget can limit
RANDOM = "random"  # the matched control of each defense's own kind
KNOWLEDGE = ("white-box", "ensemble", "black-box", "none")
Parameters = dict[str, dict[str, Any]]


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
    responses: dict[str, list[str]] = {}  # attacker -> the adaptations that it tries; of others all in the list
    exclude: list[dict[str, str | int | float | list[str | int | float]]] = []
    budget: dict[str, Annotated[float, pydantic.Field(strict=True, allow_inf_nan=False)]] = {}
    score: Literal[1, 2] = 2  # 1: the whole training set is published, and there is no clean curve
    threat: ThreatModel | None = None  # None: what each data set declares
    track: Annotated[int, pydantic.Field(strict=True, ge=0)] = 0  # version of a track; 0: a study
    round: list[Round] = []  # of a track: how responses are chosen; empty: every response at every seed
    gate: Limits = Limits()
    published: list[Published] = []
    notes: str = ""  # what was found, in Markdown, for the suite's page
    _folder: Path | None = pydantic.PrivateAttr(None)  # of its file: where its relative paths start

    def resolve(self, kind: Kind, name: str) -> tuple[str, dict[str, Any]]:
        """Return the plugin behind a name of the suite, and the parameters that the suite sets.

        Args:
            kind: The plugin's kind.
            name: Its name in the suite's lists.

        Returns:
            The plugin's name, or the path of a user's file; and its parameters.
        """
        tables: Parameters = getattr(self, plugins.SINGULAR[kind])
        params = dict(tables.get(name, {}))
        if kind == "defenses":
            params.pop("expects", None)
        plugin = plugins.locate(kind, str(params.pop("plugin", name)), self._folder)
        return plugin, {key: self._anchored(key, value) for key, value in params.items()}

    def _anchored(self, key: str, value: Any) -> Any:
        """Return a parameter; a path of data or weights is made relative to the current folder."""
        if key not in _PATHS or not isinstance(value, str) or not value or self._folder is None:
            return value
        path = self._folder / Path(value).expanduser()
        if key == "source" and not path.exists():  # a name of the Hugging Face hub
            return value
        return value if path == Path(value) else os.path.relpath(path)

    def labels(self, kind: Kind) -> dict[str, str]:
        """Return the label in tables of every plugin of a kind that the suite names."""
        plugin_of = {name: self.resolve(kind, name)[0] for name in self.named(kind)}
        files = {
            name for name, plugin in plugin_of.items()
            if plugin.endswith(".py") and plugins.locate(kind, name, self._folder) == plugin
        }  # fmt: skip
        return labels(plugin_of, files)

    def named(self, kind: Kind) -> list[str]:
        """Return every name of a kind in the suite's lists, each once; the links of chains in place of the chains."""
        names_of: dict[Kind, Sequence[str]] = {
            "datasets": [*self.datasets, *self._replacement],
            "defenses": [*self.defenses, *map(listed_control, self.controls)],
            "attackers": [*self.attackers, *self.bag],
            "adaptations": list(itertools.chain(*map(self.links, self.adapted))),
        }
        return list(dict.fromkeys(names_of[kind]))

    @property
    def adapted(self) -> list[str]:
        """Every adaptation and chain of adaptations in the suite's lists."""
        return [*self.adaptations, *self.expects, *itertools.chain(*map(self.expected, self.defense))]

    def tries(self, attacker: str, adaptation: str) -> bool:
        """Return whether an attacker tries an adaptation of the list."""
        return adaptation in self.responses.get(attacker, self.adaptations)

    def links(self, adaptation: str) -> list[str]:
        """Return the names that a chain of adaptations joins; of a single adaptation its own."""
        variant = "plugin" in self.adaptation.get(adaptation, {})
        return [adaptation] if variant else links(adaptation, self._folder)

    @property
    def _replacement(self) -> list[str]:
        """The data set of other material that the attacker has, if there is one."""
        return [self.threat.replacement] if self.threat and self.threat.replacement else []

    def expected(self, defense: str) -> list[str]:
        """Return the adaptations that the defender prepares for: the defense's own, or else the suite's.

        Args:
            defense: The defense's name in the suite.

        Raises:
            UsageError: They are not a list of names.
        """
        adaptations = self.defense.get(defense, {}).get("expects", self.expects)
        if not isinstance(adaptations, list) or not all(isinstance(name, str) for name in adaptations):
            raise UsageError(f"[defense.{defense}] expects = {adaptations!r}: expected a list of adaptations")
        return adaptations


def links(adaptation: str, folder: Path | None = None) -> list[str]:
    """Return the names that a chain of adaptations joins by `+`; of a single adaptation its own.

    Args:
        adaptation: A name of a suite's or a run's lists. A file whose path holds a `+` is one adaptation.
        folder: Where relative paths start; by default the current folder.
    """
    path = (folder or Path()) / Path(adaptation).expanduser()
    return [adaptation] if path.exists() else adaptation.split(JOINT)


def listed_control(name: str) -> str:
    """Return the plugin that a matched control is at first; "random" is `noise` where a defense declares no other."""
    return "noise" if name == RANDOM else name


def read(path: Path, size: str = "") -> Suite:
    """Read a suite from its TOML file.

    Args:
        path: The file.
        size: Which size of a suite with tables [size.NAME]; "" for its own preset. Of other suites, the preset.

    Raises:
        UsageError: It cannot be read, is no TOML, or has a key or value that does not fit. One line.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"the suite {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the suite {path} is not TOML: {error}") from error
    data.setdefault("name", suite_name_from(path.stem))
    data, is_sized = _sized(data, size, str(path))
    return suite(data, str(path), path.absolute().parent, prune=is_sized)


def suite(
    data: Mapping[str, Any], where: str = "the suite", folder: Path | None = None, *, prune: bool = False
) -> Suite:
    """Build a suite from a mapping, and check its keys and values.

    Args:
        data: What a suite's TOML file holds.
        where: What messages call it.
        folder: Where relative paths of plugins and data start; by default the current folder.
        prune: Leave out tables of plugins that its lists do not name, in place of refusing them.

    Raises:
        UsageError: A key or a value does not fit. One line.
    """
    for key in data:
        if key not in Suite.model_fields:
            raise UsageError(f"{where}: {unknown('key', key, Suite.model_fields)}")
    try:
        suite = Suite.model_validate(dict(data))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where}: {at} = {first.get('input')!r}: {first['msg']}") from error
    if prune:
        named = {table: suite.named(kind) for kind, table in plugins.SINGULAR.items()}
        used = {
            table: {name: params for name, params in getattr(suite, table).items() if name in names}
            for table, names in named.items()
        }
        suite = suite.model_copy(update=used)
    _check(suite, where)
    suite._folder = folder
    return suite


def _sized(data: dict[str, Any], size: str, where: str) -> tuple[dict[str, Any], bool]:
    """Return a suite's mapping at one size, whose keys and tables take the place of its own, and whether it has one."""
    sizes = data.pop("size", {})
    preset = size or data.get("preset", Suite.model_fields["preset"].default)
    if not isinstance(sizes, dict) or not all(isinstance(table, dict) for table in sizes.values()):
        raise UsageError(f"{where}: size: expected tables such as [size.smoke]")
    for name in sizes:
        if name not in PRESETS:
            raise UsageError(f"{where}: {unknown('size', name, PRESETS)}")
    return {**data, **sizes.get(preset, {}), "preset": preset}, preset in sizes


def _is_plain(value: Any) -> bool:
    """Return whether a parameter is a JSON value without NaN and infinity, as records and keys need it."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _check(suite: Suite, source: str) -> None:
    """Raise `UsageError` for a suite that names nothing to run, or something that is not used or unknown."""
    check_suite_name(suite.name, source)
    if not suite.attackers:
        raise UsageError(f"{source} names no attacker")
    if suite.score == 1 and suite.threat:
        raise UsageError(f"{source}: score 1 has no threat model: leave out [threat] or `score = 1`")
    if suite.round and not suite.track:
        raise UsageError(f"{source}: [[round]] is for tracks: give `track = 1`, or leave it out")
    if suite.track and suite.score == 1:
        raise UsageError(f"{source}: a track is ranked by score 2: leave out `score = 1`")
    for measure in suite.budget:
        if measure not in MEASURES:
            raise UsageError(f"{source}: [budget] {unknown('measure', measure, MEASURES)}")
    if not suite.seeds:
        raise UsageError(f"{source} names no seed")
    for share in suite.shares:
        if not isinstance(share, str) and not 0 < share <= 1:
            raise UsageError(f"{source}: share {share:g}, expected more than 0 and up to 1, or the name of a class")
    chosen_knowledge = [("knowledge", name, KNOWLEDGE) for name in suite.knowledge]
    for key, value, choices in (*chosen_knowledge, ("preset", suite.preset, PRESETS)):
        if value not in choices:
            raise UsageError(f"{source}: {unknown(key, value, choices)}")
    for attacker, adaptations in suite.responses.items():
        if attacker not in suite.attackers:
            raise UsageError(f"{source}: responses: {unknown('attacker', attacker, suite.attackers)}")
        for adaptation in adaptations:
            if adaptation not in suite.adaptations:
                raise UsageError(
                    f"{source}: responses: {attacker}: {unknown('adaptation', adaptation, suite.adaptations)}"
                )
    for adaptation in suite.adapted:
        chain = suite.links(adaptation)
        if len(chain) > 1 and {"", NONE} & set(chain):
            raise UsageError(f"{source}: adaptation '{adaptation}': expected names joined by +, such as trim+mp3")
    for kind, table in plugins.SINGULAR.items():
        names = suite.named(kind)
        for name in names:
            check_label(name, source)
        for name, params in getattr(suite, table).items():
            if names and name not in names:
                raise UsageError(f"{source}: [{table}.{name}] is not used: {unknown(table, name, names)}")
            check_label(str(params.get("plugin", name)), source)
            for key, value in params.items():
                if not _is_plain(value):
                    kinds = "text, a finite number, true, false, or a list or table of these"
                    raise UsageError(f"{source}: [{table}.{name}] {key} = {value}: expected {kinds}")
    cell = {"dataset", "defense", "reference", "attacker", "adaptation", "knowledge", "seed", "share"}
    for rule in suite.exclude:
        for key in rule:
            if key not in cell:
                raise UsageError(f"{source}: exclude: {unknown('key', key, cell)}")
