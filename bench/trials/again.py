"""A record's trial, rebuilt: what was asked then, by the code that is installed here.

Everything a record says of its trial is taken from it: plugins by name, every parameter, the knowledge, the seed, the
share. Digests, fingerprints of data and what the plugins need are those of this machine, since they say what would run
now. A plugin of the author's own file stands in a record by its title alone, so its file must be given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bench import plugins
from bench.errors import BenchError, DataError
from bench.results.record import PartRecord, Record
from bench.results.roles import map_parts, parts_of
from bench.sources import plain_name
from bench.trials.expand import resolve
from bench.trials.trial import Part, Trial
from bench.vocabulary import Kind

__all__ = ["as_recorded", "part_of", "trial_of"]


def trial_of(record: Record, files: Mapping[str, Path] | None = None) -> Trial:
    """The trial that a record is of.

    files: the Python file behind a plugin that is not installed, by the name or the label that the record calls it.
    Raises `DataError`, one line, for a plugin or a parameter that does not exist here, or data that are not there.
    """
    recorded = record.trial
    try:
        parts = map_parts(recorded, lambda role, part: part_of(role.kind, part, recorded.preset, files))
    except BenchError as error:
        raise DataError(f"record '{record.name}' cannot be run again here: {error}") from error
    return Trial(
        seed=recorded.seed, knowledge=recorded.knowledge, preset=recorded.preset, share=recorded.share, **parts
    )


def part_of(kind: Kind, part: PartRecord, preset: str, files: Mapping[str, Path] | None = None) -> Part:
    """A recorded plugin as it is here: every recorded parameter, and the default of any that is new since.

    Raises `PluginError` for an unknown plugin and `UsageError` for a parameter that it no longer has.
    """
    own = (files or {}).get(part.name) or (files or {}).get(part.label)
    if not own and part.name.endswith(".py"):
        # A path would be imported: a record of a stranger's must never say which file is run.
        raise DataError(f"{plugins.SINGULAR[kind]} '{part.name}' is a path, which no record holds: give its file")
    name = str(own) if own else part.name
    stem = plain_name(own) if own else part.name
    resolved = resolve(kind, name, part.params, preset, label="" if part.label == stem else part.label)
    return replace(resolved, given=dict(part.overrides))


def as_recorded(trial: Trial, record: Record) -> Trial:
    """A rebuilt trial with the record's own parameters and digests in place of those found here.

    Its plan has the stages that the record must name, unless a plugin has other hooks by now.
    """

    def then(part: Part, recorded_part: PartRecord) -> Part:
        return replace(part, params=recorded_part.params, digest=recorded_part.digest, data=recorded_part.data)

    recorded = iter(parts_of(record.trial))
    return replace(trial, **map_parts(trial, lambda role, part: then(part, next(recorded)[1])))
