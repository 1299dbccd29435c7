"""Rebuild the trial of a record with the plugins that are installed here.

The record gives the plugins by name, every parameter, the knowledge, the seed and the share. Digests, fingerprints of
data and resource needs are those of this machine, because they describe what would run here. A plugin that is a user's
own file is recorded by its title alone, so the caller must give the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from bench import plugins
from bench.errors import BenchError, DataError
from bench.results.record import PartRecord, Record
from bench.results.roles import map_parts, parts_of
from bench.sources import plain_name
from bench.trials.resolving import resolve
from bench.trials.trial import Part, Trial, chain
from bench.vocabulary import Kind

__all__ = ["as_recorded", "part_of", "trial_of"]


def trial_of(record: Record, files: Mapping[str, Path] | None = None) -> Trial:
    """Rebuild the trial of a record.

    Args:
        record: The record.
        files: The Python files of plugins that are not installed, by the name or the label that the record uses for
            them.

    Returns:
        The trial, with the digests and data of this machine.

    Raises:
        DataError: A plugin or a parameter does not exist here, or the data are missing.
    """
    recorded = record.trial
    try:
        parts = map_parts(recorded, lambda role, part: part_of(role.kind, part, recorded.preset, files))
    except BenchError as error:
        raise DataError(f"record '{record.name}' cannot be run again here: {error}") from error
    return Trial(
        seed=recorded.seed,
        knowledge=recorded.knowledge,
        preset=recorded.preset,
        share=recorded.share,
        threat=recorded.threat,
        **parts,
    )


def part_of(kind: Kind, part: PartRecord, preset: str, files: Mapping[str, Path] | None = None) -> Part:
    """Resolve a recorded plugin as it is installed here: the recorded parameters, and the defaults of parameters added
    since; of a chain each link.

    Args:
        kind: The plugin's kind.
        part: The plugin as the record holds it.
        preset: The preset of the record's trial.
        files: See `trial_of`.

    Returns:
        The part of a trial.

    Raises:
        PluginError: The plugin is unknown.
        UsageError: The plugin no longer has one of the parameters.
        DataError: The record names a path, and no file was given for it.
    """
    if part.links:
        return chain([part_of(kind, link, preset, files) for link in part.links])
    file = (files or {}).get(part.name) or (files or {}).get(part.label)
    if not file and part.name.endswith(".py"):
        # Loading a path imports it, so a stranger's record must not choose which file is executed.
        raise DataError(
            f"{plugins.SINGULAR[kind]} '{part.name}' is a path, expected a name: give the file with --plugin"
        )
    name = str(file) if file else part.name
    stem = plain_name(file) if file else part.name
    resolved = resolve(kind, name, part.params, preset, label="" if part.label == stem else part.label)
    return replace(resolved, overrides=dict(part.overrides))


def as_recorded(trial: Trial, record: Record) -> Trial:
    """Return a rebuilt trial with the record's parameters and digests in place of those of this machine.

    The plan of the result has the stages that the record must name, unless a plugin has other hooks by now.

    Args:
        trial: The trial that `trial_of` gives for the record.
        record: The record.

    Returns:
        The trial as it was recorded.
    """

    recorded: Iterator[PartRecord] = (part for _, part in parts_of(record.trial))

    def recorded_version(part: Part) -> Part:
        if part.links:
            return replace(part, links=tuple(map(recorded_version, part.links)))
        here = next(recorded)
        return replace(part, params=here.params, digest=here.digest, data=here.data)

    return replace(trial, **map_parts(trial, lambda role, part: recorded_version(part)))
