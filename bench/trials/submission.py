"""Verification of submitted records: read them, compare them with their suite, and choose which to run again.

The judgements are those of `bench.results.consistency` and `bench.trials.verify`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bench import plugins
from bench.errors import DataError, UsageError
from bench.results import archive, reading, sources
from bench.results.record import Record
from bench.results.sources import Source
from bench.results.suite import Suite
from bench.results.suite import read as read_suite
from bench.trials import verify
from bench.trials.expand import expand
from bench.trials.trial import Trial

__all__ = ["commit_lines", "difference_lines", "read", "sample", "trial_problems"]


def read(source: Source) -> dict[Path, Record]:
    """Read the records of a file, a folder or an archive.

    Args:
        source: Where they are.

    Returns:
        File -> record; for a record in an archive, the file that unpacking would write.

    Raises:
        DataError: There are none, one is not a record, or one is a link that leads elsewhere.
    """
    if archive.is_archive(source.path):
        return {Path(f"{record.name}{sources.RECORD}"): record for record in reading.load_archive(source.path)}
    files = source.files()
    if not files:
        raise DataError(f"{source.path} holds no record, expected .json files")
    for file in files:
        if file.is_symlink():
            raise DataError(f"{file} is a symbolic link, expected a plain file: replace it by a copy of its target")
    return {file: reading.load(file) for file in files}


def trial_problems(
    source: Source, records: Mapping[Path, Record], trials: Mapping[str, Trial], plugin_files: Collection[Path]
) -> list[str]:
    """List what contradicts the rebuilt trials, or the suite beside the records.

    Args:
        source: Where the records are.
        records: The records by file.
        trials: The rebuilt trials by record name.
        plugin_files: The plugin files that may be imported.

    Returns:
        One line a problem.

    Raises:
        UsageError: The suite names a plugin file that was not given.
    """
    lines = []
    for file, record in records.items():
        trial = trials[record.name]
        problems = verify.trial_problems(record, trial)
        if not problems and not any(" source " in line for line in verify.differences(record, trial)):
            problems = verify.key_problems(record, trial)
        lines += [f"{file.name}: {line}" for line in problems]
    suite = source.suite
    if suite is not None:
        expected = [trial.name for trial in expand(_trusted(suite, plugin_files)).trials]
        present = [record.name for record in records.values()]
        lines += [
            f"{name}: missing, though the suite {suite.name} asks for it" for name in expected if name not in present
        ]
        lines += [f"{name}: the suite {suite.name} does not ask for it" for name in present if name not in expected]
    return lines


def _trusted(file: Path, plugin_files: Collection[Path]) -> Suite:
    """Read the suite beside the records. Expanding it imports its plugins, so every plugin file must be given."""
    suite = read_suite(file)
    allowed = {path.resolve() for path in plugin_files}
    for kind in plugins.FOLDERS:
        for name in suite.named(kind):
            plugin, _ = suite.resolve(kind, name)
            if plugin.endswith(".py") and Path(plugin).resolve() not in allowed:
                raise UsageError(
                    f"the suite {file.name} would import the file {plugin}: read it, then allow it by --plugin {plugin}"
                )
    return suite


def commit_lines(records: Iterable[Record]) -> Iterator[str]:
    """Describe the commits that the records were made with.

    Args:
        records: The records.

    Returns:
        One line a commit, the most frequent first.
    """
    git = [record.provenance.get("git") or {} for record in records]
    commits = Counter((str(state.get("commit", "unknown"))[:12], bool(state.get("dirty"))) for state in git)
    for (commit, dirty), count in commits.most_common():
        yield f"made: {count} by commit {commit}" + (", with uncommitted changes" if dirty else "")


def difference_lines(records: Sequence[Record], trials: Mapping[str, Trial]) -> Iterator[str]:
    """Describe how the plugins and their data here differ from those of the records.

    Args:
        records: The records.
        trials: The rebuilt trials by record name.

    Returns:
        One line a difference, with the number of records that have it; else one that says that they match.
    """
    differences = Counter(line for record in records for line in verify.differences(record, trials[record.name]))
    for line, count in differences.items():
        yield f"differs: {line} ({count} of {len(records)})"
    if not differences:
        yield "plugins and data match the records"


def sample(records: Iterable[Record], size: int, seed: int) -> tuple[list[Record], int]:
    """Draw records to run again, from those that have numbers.

    The clean control is an arm of every other record, so it is drawn only where there is nothing else.

    Args:
        records: The records.
        size: How many to draw.
        seed: Seed of the draw.

    Returns:
        The drawn records, and how many could have been drawn.
    """
    complete = [record for record in records if record.status == "ok"]
    by_name = {
        record.name: record
        for record in [record for record in complete if not record.trial.control.is_clean] or complete
    }
    names = random.Random(seed).sample(sorted(by_name), min(size, len(by_name)))
    return [by_name[name] for name in names], len(by_name)
