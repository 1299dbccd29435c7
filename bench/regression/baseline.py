"""The accepted baseline of the gate: one JSON file, written only by `bench gate --accept WHY`, for review in a diff.

A cell is what one row of a table reaches against one attacker under one response: (data set, defense's row, knowledge,
attacker, adaptation). For every cell the file holds the score (learning denied seed by seed and, under a threat model,
the worth), the mean quality of the arms, the plugins with versions and digests, and two ways to see whether the
protected audio is the same:

* `sounds`, the hash of each seed's protected set at 16 bits. One flipped bit changes it: equal hashes prove that
  nothing moved. On another processor rounding alone may change it, so there it does not prove that anything did.
* `audibility`, the means over clips and seeds of SNR, masked energy and so on (of rolls, notes added, velocity change),
  to six digits. They move with the sound and say by how much.

`work` is the digest of the keys of all that was done for the cell: equal work is the same code, parameters, data and
seeds. `qualities` is the protected arm's quality of every held-out item in every seed, by which a run is compared with
the baseline; those of the arms that cells share stand once, in `held_out`.
"""

from __future__ import annotations

import itertools
import json
import shlex
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from bench import __version__
from bench.errors import DataError, UsageError
from bench.files import write_text
from bench.regression.heldout import HeldOut, Qualities, Strict, held_out, packed
from bench.regression.scores import CellItems, CellWorth
from bench.results.arms import PROTECTED_SET, SCORED, Arm
from bench.results.cells import Cell, cell_of
from bench.results.formats import readable_json
from bench.results.names import NONE, digest
from bench.results.record import Number, PartRecord, Record, numbers
from bench.results.roles import parts_of
from bench.results.statistics import mean
from bench.results.suite import Suite
from bench.results.threat import ThreatModel
from bench.vocabulary import Control

__all__ = [
    "Baseline",
    "CellMeasurement",
    "Measurements",
    "PluginUse",
    "Side",
    "environment_of",
    "from_records",
    "measured",
    "read",
    "read_accepted",
    "suite_digest",
    "threats_of",
]

SCHEMA = 2  # 1 held no qualities of single seeds: such a file is read, and compared by seeds alone
CLEAN = "clean"
_PACKAGES = ("torch", "numpy")  # whose versions decide about the last digits


class PluginUse(Strict):
    """A plugin of a cell.

    Attributes:
        name: The plugin's name.
        version: The version that it declares.
        digest: A digest of its source.
        params: A digest of its parameters.
        data: A digest of the files that it reads beside its source; "" for none.
    """

    name: str
    version: int
    digest: str
    params: str
    data: str = ""


class CellMeasurement(Strict):
    """The measurement of a cell over its seeds.

    Attributes:
        dataset, defense, knowledge, attacker, adaptation: The cell's name, see `bench.results.cells.Cell`.
        control: Which control the row is; "" for a defense.
        metric: The metric that is scored.
        plugins: Role -> plugin.
        work: A digest of the keys of the cell's trials.
        denied: Seed -> learning denied.
        worth: Under a threat model the worth in clean items and both ends of its interval.
        arms: Arm -> mean quality over items and seeds.
        audibility: Measure -> mean over clips and seeds.
        sounds: Seed -> hash of the protected set; none for unchanged data.
        sets: Seed -> key of the protected set in the store.
        held_out: The name of its held-out items in `Baseline.held_out`; "" where the records give none.
        qualities: Seed -> the protected arm's qualities of those items.
    """

    dataset: str
    defense: str
    knowledge: str
    attacker: str
    adaptation: str
    control: Control = Control.NONE
    metric: str
    plugins: dict[str, PluginUse]
    work: str
    denied: dict[int, float]
    worth: list[Number] = []
    arms: dict[str, Number]
    audibility: dict[str, Number] = {}
    sounds: dict[int, str] = {}
    sets: dict[int, str] = {}
    held_out: str = ""
    qualities: dict[int, Qualities] = {}

    @property
    def cell(self) -> Cell:
        """The cell's name."""
        return Cell(self.dataset, self.defense, self.knowledge, self.attacker, self.adaptation)


class Baseline(Strict):
    """Every cell of a suite as somebody accepted it, and why.

    Attributes:
        schema_version: The version of the file's form.
        suite: The suite's name.
        suite_digest: A digest of what the suite asks for, see `suite_digest`.
        reason: Why it was accepted.
        at: When, UTC.
        bench: The version of bench.
        environment: What decides about the last digits: torch, numpy, processor, accelerator. In the file "place".
        threats: Data set -> its threat model, under which its cells are compared by worth.
        held_out: "data set / attacker" -> the held-out items, and what the arms reach on them that cells share; under a
            threat model "data set / attacker / adaptation", since the clean curve is trained under the adaptation.
        cells: The cells, in the order of their names.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_version: int = SCHEMA
    suite: str
    suite_digest: str
    reason: str
    at: str
    bench: str
    environment: dict[str, str] = pydantic.Field(validation_alias="place", serialization_alias="place")
    threats: dict[str, ThreatModel] = {}
    held_out: dict[str, HeldOut] = {}
    cells: list[CellMeasurement]

    def text(self) -> str:
        """Return the baseline as JSON with one line for the seeds, one for each plugin and one for the arms."""
        return readable_json(self.model_dump(mode="json", by_alias=True)) + "\n"

    def save(self, path: Path) -> None:
        """Write the baseline's file, whole or not at all.

        Raises:
            OSError: It cannot be written.
        """
        write_text(path, self.text())


@dataclass(frozen=True)
class Side:
    """One cell in the baseline, or as it is measured now.

    Attributes:
        cell: The measurement.
        held_out: Its held-out items; None where the baseline is of schema 1, or seeds have different items.
    """

    cell: CellMeasurement
    held_out: HeldOut | None = None

    def items(self, seeds: Sequence[int]) -> CellItems:
        """Return the qualities of the held-out items in some seeds."""
        assert self.held_out is not None
        return CellItems.of(self.held_out, self.cell.qualities, seeds)


@dataclass(frozen=True)
class Measurements:
    """What records measured.

    Attributes:
        cells: Cell -> its measurement.
        held_out: The held-out items, as in `Baseline`.
    """

    cells: dict[Cell, CellMeasurement]
    held_out: dict[str, HeldOut]

    def side(self, cell: Cell) -> Side:
        """Return a cell with its held-out items."""
        measurement = self.cells[cell]
        return Side(measurement, self.held_out.get(measurement.held_out))


def read_accepted(path: Path, suite: Suite, name: str) -> Baseline:
    """Read the baseline that a suite is judged against.

    Args:
        path: the baseline's file.
        suite: the suite.
        name: what the user calls the suite.

    Raises:
        UsageError: there is no such file, or it is the baseline of another suite.
    """
    if not path.is_file():
        command = shlex.join(["bench", "gate", "--suite", name, "--baseline", str(path), "--accept", "first baseline"])
        raise UsageError(f"there is no baseline {path}: accept one with {command}")
    baseline = read(path)
    if baseline.suite != suite.name:
        raise UsageError(
            f"{path} is the baseline of suite '{baseline.suite}', not of '{suite.name}': give --baseline FILE"
        )
    return baseline


def from_records(suite: Suite, records: Sequence[Record], reason: str) -> Baseline:
    """Build the baseline of a suite from its records.

    Args:
        suite: The suite.
        records: Its records, complete: see `bench.regression.gate.faults`.
        reason: Why it is accepted.
    """
    measurements = measured(records)
    return Baseline(
        suite=suite.name,
        suite_digest=suite_digest(suite),
        reason=reason,
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        bench=__version__,
        environment=environment_of(records),
        threats=threats_of(records),
        held_out=measurements.held_out,
        cells=[measurements.cells[cell] for cell in sorted(measurements.cells)],
    )


def read(path: Path) -> Baseline:
    """Read a baseline's file.

    Raises:
        DataError: It cannot be read, is no baseline, or is of a newer schema.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
        if int(data["schema_version"]) > SCHEMA:
            raise DataError(f"{path} has schema {data['schema_version']}, this program reads up to {SCHEMA}: update it")
        return Baseline.model_validate(_upgraded(data))
    except OSError as error:
        raise DataError(f"the baseline {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a baseline of bench gate: {str(error).splitlines()[0]}") from error


def suite_digest(suite: Suite) -> str:
    """Return a digest of what a suite asks for; its prose (about, notes, published figures) is left out."""
    return digest(suite.model_dump(mode="json", exclude={"about", "notes", "published"}))[:16]


def measured(records: Iterable[Record]) -> Measurements:
    """Return the measurement of every cell; trials without a number (failed, or a null score) are left out.

    Args:
        records: The records of a suite.
    """
    bins: dict[Cell, list[Record]] = defaultdict(list)
    for record in records:
        if record.status == "ok" and record.denied is not None:
            bins[cell_of(record)].append(record)
    cells: dict[Cell, CellMeasurement] = {}
    sets: dict[str, HeldOut] = {}
    for cell, group in bins.items():
        in_order = sorted(group, key=lambda record: record.trial.seed)
        under = [cell.adaptation] if group[0].trial.threat and group[0].trial.adaptation else []
        name = " / ".join([cell.dataset, cell.attacker, *under])
        cells[cell] = _measured(cell, in_order, _place(name, in_order, sets))
    measurements = Measurements(cells, sets)
    for cell, group in bins.items():
        threat, side = group[0].trial.threat, measurements.side(cell)
        if threat and side.held_out:
            worth = CellWorth.of(side.items(sorted(side.cell.denied)), threat).worth.items
            ends = numbers([worth.mean, worth.low, worth.high])
            cells[cell] = side.cell.model_copy(update={"worth": ends})
    return measurements


def threats_of(records: Iterable[Record]) -> dict[str, ThreatModel]:
    """Return the threat models of records by data set; one without a threat model is left out."""
    return {record.trial.dataset.label: record.trial.threat for record in records if record.trial.threat}


def environment_of(records: Iterable[Record]) -> dict[str, str]:
    """Return the packages and processors that records were measured with; several values are joined by commas."""
    values_of: dict[str, dict[str, None]] = defaultdict(dict)
    for record in records:
        packages = record.provenance.get("packages", {})
        origin = {name: packages.get(name) for name in _PACKAGES}
        origin |= {name: record.provenance.get(name) for name in ("processor", "accelerator")}
        for name, value in origin.items():
            values_of[name][str(value or NONE)] = None
    return {name: ", ".join(sorted(values)) for name, values in values_of.items()}


def _place(name: str, records: list[Record], sets: dict[str, HeldOut]) -> str:
    """Put the held-out items of a cell among those of the other cells, and return their name there.

    Cells of one data set and attacker share them, but for shares of a single class, which are scored on its items. The
    name is "" where seeds have other items than the first.
    """
    if any(record.ids != records[0].ids or record.scored != records[0].scored for record in records):
        return ""
    items = held_out(records)
    candidates = itertools.chain([name], (f"{name} ({number})" for number in itertools.count(2)))
    for candidate in candidates:
        together = items if candidate not in sets else sets[candidate].joined(items)
        if together is not None:
            sets[candidate] = together
            break
    return candidate


def _measured(cell: Cell, records: list[Record], items: str) -> CellMeasurement:
    """Measure a cell over its seeds, given the name of its held-out items."""
    arms = [arm for arm in (*SCORED, Arm.CLEAN_ADAPTED) if arm in records[0].arms]
    measures = records[0].audibility
    return CellMeasurement(
        **cell._asdict(),
        control=records[0].trial.control,
        metric=records[0].metric,
        plugins=_plugins(records[0]),
        work=digest({str(record.trial.seed): record.key for record in records})[:16],
        denied={record.trial.seed: record.denied for record in records if record.denied is not None},
        arms={arm: _mean(record.mean(arm) for record in records) for arm in arms},
        audibility={name: _mean(v for record in records for v in record.audibility.get(name, [])) for name in measures},
        sounds={r.trial.seed: r.alignment[PROTECTED_SET] for r in records if PROTECTED_SET in r.alignment},
        sets={r.trial.seed: r.stages[PROTECTED_SET] for r in records if PROTECTED_SET in r.stages},
        held_out=items,
        qualities={record.trial.seed: packed(record.quality(Arm.PROTECTED)) for record in records} if items else {},
    )


def _plugins(record: Record) -> dict[str, PluginUse]:
    """The plugins of a cell by role, under the names that baselines have for them."""
    plugins = {}
    for role, part in parts_of(record.trial):
        if role.many:
            if role.name != "surrogates" or part != record.trial.attacker:
                plugins[f"{role.title} {part.label}"] = _used(part)
        else:
            plugins["matched to" if role.name == "reference" else role.name] = _used(part)
    return plugins


def _used(part: PartRecord) -> PluginUse:
    """Return a plugin with digests of its parameters."""
    params = digest(part.params)[:8]
    return PluginUse(name=part.name, version=part.version, digest=part.digest, params=params, data=part.data)


def _upgraded(data: dict[str, Any]) -> dict[str, Any]:
    """Return a file of schema 1 as one of schema 2: its means over seeds of every item serve no comparison."""
    if int(data["schema_version"]) > 1:
        return data
    kept = {name: value for name, value in data.items() if name != "ids"}
    cells = [{name: value for name, value in cell.items() if name != "items"} for cell in data["cells"]]
    return {**kept, "cells": cells}


def _mean(values: Iterable[Number]) -> Number:
    """The mean as the file holds it: to six digits, null where there is none."""
    return numbers([mean(values)])[0]
