"""What the gate compares with: one JSON, made by `bench gate --accept WHY` alone, to be read in a diff.

A cell is what one row of a table reaches against one attacker under one response: (data set, defense's row, knowledge,
attacker, adaptation). Of each it holds learning denied seed by seed, the mean quality of the arms, the plugins with
versions and digests, and what tells whether the protected audio is the same:

* `sounds`, the hash of each seed's protected set at 16 bits. One flipped bit changes it: equal hashes prove that
  nothing moved. On another processor rounding alone may change it, so there it does not prove that anything did.
* `audibility`, the means over clips and seeds of SNR, masked energy and so on (of rolls, notes added, velocity change),
  to six digits. They move with the sound and say by how much.

`work` is the digest of the keys of all that was done for the cell: equal work is the same code, parameters, data and
seeds. `items` is the protected arm's mean quality of every held-out item, so that a failure can name what changed most.
"""

from __future__ import annotations

import json
import shlex
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import pydantic

from bench import __version__
from bench.errors import DataError, UsageError
from bench.files import write_text
from bench.results.arms import SCORED, Arm
from bench.results.cells import Cell, cell_of
from bench.results.formats import readable_json
from bench.results.names import NONE, digest
from bench.results.record import Number, PartRecord, Record, numbers
from bench.results.roles import parts_of
from bench.results.statistics import mean
from bench.results.suite import Suite
from bench.vocabulary import Control

__all__ = ["Baseline", "Measured", "Used", "accepted", "made_at", "measured", "of", "read", "suite_digest"]

SCHEMA = 1
CLEAN = "clean"
_PACKAGES = ("torch", "numpy")  # whose versions decide about the last digits


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Used(_Strict):
    """A plugin of a cell: `params` and `data` are digests of its parameters and of the files that it reads."""

    name: str
    version: int
    digest: str
    params: str
    data: str = ""


class Measured(_Strict):
    """A cell over its seeds, as it was measured."""

    dataset: str
    defense: str
    knowledge: str
    attacker: str
    adaptation: str
    control: Control = Control.NONE  # what must hold for the rest to mean anything
    metric: str
    plugins: dict[str, Used]  # role -> plugin
    work: str
    denied: dict[int, float]  # seed -> learning denied
    arms: dict[str, Number]  # arm -> mean quality over items and seeds
    audibility: dict[str, Number] = {}
    sounds: dict[int, str] = {}  # seed -> hash of the protected set; none where the data is as it was
    sets: dict[int, str] = {}  # seed -> key of the protected set in the store
    items: list[Number] = []

    @property
    def cell(self) -> Cell:
        return Cell(self.dataset, self.defense, self.knowledge, self.attacker, self.adaptation)


class Baseline(_Strict):
    """Every cell of a suite as somebody accepted it, and why."""

    schema_version: int = SCHEMA
    suite: str
    suite_digest: str
    reason: str
    at: str  # UTC
    bench: str  # version
    place: dict[str, str]  # what decides about the last digits: torch, numpy, processor, accelerator
    ids: dict[str, list[str]]  # "data set / attacker" -> the names of the held-out items, in the order of `items`
    cells: list[Measured]

    def text(self) -> str:
        """JSON with a line for what changes together: a seeds' row, a plugin, an arms' row."""
        return readable_json(self.model_dump(mode="json", exclude_defaults=False)) + "\n"

    def save(self, path: Path) -> None:
        write_text(path, self.text())


def accepted(path: Path, suite: Suite, name: str) -> Baseline:
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


def of(suite: Suite, records: Sequence[Record], reason: str) -> Baseline:
    """The baseline that these records make. They must be whole: see `bench.regression.gate.faults`."""
    cells = measured(records)
    return Baseline(
        suite=suite.name,
        suite_digest=suite_digest(suite),
        reason=reason,
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        bench=__version__,
        place=made_at(records),
        ids={f"{r.trial.dataset.label} / {r.trial.attacker.label}": _scored_ids(r) for r in records if r.ids},
        cells=[cells[cell] for cell in sorted(cells)],
    )


def read(path: Path) -> Baseline:
    """A baseline from its file. Raises `DataError` in one line."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if int(data["schema_version"]) > SCHEMA:
            raise DataError(f"{path} has schema {data['schema_version']}, this program reads up to {SCHEMA}: update it")
        return Baseline.model_validate(data)
    except OSError as error:
        raise DataError(f"the baseline {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a baseline of bench gate: {str(error).splitlines()[0]}") from error


def suite_digest(suite: Suite) -> str:
    """A digest of what a suite asks for: not of its prose."""
    return digest(suite.model_dump(mode="json", exclude={"about", "notes", "published"}))[:16]


def measured(records: Iterable[Record]) -> dict[Cell, Measured]:
    """Cells over their seeds. What has no number (a failed trial, a null score) is left out."""
    bins: dict[Cell, list[Record]] = defaultdict(list)
    for record in records:
        if record.status == "ok" and record.denied is not None:
            bins[cell_of(record)].append(record)
    return {cell: _measured(cell, sorted(found, key=lambda r: r.trial.seed)) for cell, found in bins.items()}


def made_at(records: Iterable[Record]) -> dict[str, str]:
    """Where records were made, as far as it decides about the last digits; several places are joined by commas."""
    values_of: dict[str, dict[str, None]] = defaultdict(dict)
    for record in records:
        packages = record.provenance.get("packages", {})
        origin = {name: packages.get(name) for name in _PACKAGES}
        origin |= {name: record.provenance.get(name) for name in ("processor", "accelerator")}
        for name, value in origin.items():
            values_of[name][str(value or NONE)] = None
    return {name: ", ".join(sorted(values)) for name, values in values_of.items()}


def _measured(cell: Cell, records: list[Record]) -> Measured:
    arms = [arm for arm in (*SCORED, Arm.CLEAN_ADAPTED) if arm in records[0].arms]
    measures = records[0].audibility
    columns = zip(*(record.quality(Arm.PROTECTED) for record in records), strict=False)
    return Measured(
        **cell._asdict(),
        control=records[0].trial.control,
        metric=records[0].metric,
        plugins=_plugins(records[0]),
        work=digest({str(record.trial.seed): record.key for record in records})[:16],
        denied={record.trial.seed: record.denied for record in records if record.denied is not None},
        arms={arm: _mean(record.mean(arm) for record in records) for arm in arms},
        audibility={name: _mean(v for record in records for v in record.audibility.get(name, [])) for name in measures},
        sounds={r.trial.seed: r.alignment["protected_set"] for r in records if "protected_set" in r.alignment},
        sets={r.trial.seed: r.stages["protected_set"] for r in records if "protected_set" in r.stages},
        items=[_mean(column) for column in columns],
    )


def _plugins(record: Record) -> dict[str, Used]:
    """The plugins of a cell by role, under the names that baselines have for them."""
    plugins = {}
    for role, part in parts_of(record.trial):
        if role.many:
            if role.name != "surrogates" or part != record.trial.attacker:
                plugins[f"{role.title} {part.label}"] = _used(part)
        else:
            plugins["matched to" if role.name == "reference" else role.name] = _used(part)
    return plugins


def _used(part: PartRecord) -> Used:
    params = digest(part.params)[:8]
    return Used(name=part.name, version=part.version, digest=part.digest, params=params, data=part.data)


def _scored_ids(record: Record) -> list[str]:
    return [record.ids[at] for at in record.scored]


def _mean(values: Iterable[Number]) -> Number:
    """The mean as the file holds it: to six digits, null where there is none."""
    return numbers([mean(values)])[0]
