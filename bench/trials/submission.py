"""Records that somebody else made: read, held against their suite, and run again.

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
        File -> record; of a record in an archive the file that unpacking would write.

    Raises:
        DataError: There are none, one is no record, or one is a link that leads elsewhere.
    """
    if archive.is_archive(source.path):
        return {Path(f"{one.name}{sources.RECORD}"): one for one in reading.load_archive(source.path)}
    files = source.files()
    if not files:
        raise DataError(f"{source.path} holds no record: expected .json files")
    for file in files:
        if file.is_symlink():
            raise DataError(f"{file} is a link: a record is a plain file")
    return {file: reading.load(file) for file in files}


def trial_problems(
    source: Source, records: Mapping[Path, Record], trials: Mapping[str, Trial], own: Collection[Path]
) -> list[str]:
    """What contradicts the rebuilt trials, or the suite beside the records.

    Args:
        source: where the records are.
        records: the records by file.
        trials: the rebuilt trials by record name.
        own: the plugin files that may be imported.
    """
    lines = []
    for file, one in records.items():
        trial = trials[one.name]
        problems = verify.trial_problems(one, trial)
        if not problems and not any(" source " in line for line in verify.differences(one, trial)):
            problems = verify.key_problems(one, trial)
        lines += [f"{file.name}: {line}" for line in problems]
    suite = source.suite
    if suite is not None:
        expected = [trial.name for trial in expand(_trusted(suite, own)).trials]
        present = [one.name for one in records.values()]
        lines += [
            f"{name}: the suite {suite.name} asks for it, and it is not here"
            for name in expected
            if name not in present
        ]
        lines += [f"{name}: the suite {suite.name} does not ask for it" for name in present if name not in expected]
    return lines


def _trusted(file: Path, own: Collection[Path]) -> Suite:
    """The suite beside the records. Expanding it imports its plugins, so that a file must be one that was given."""
    suite = read_suite(file)
    given = {path.resolve() for path in own}
    for kind in plugins.FOLDERS:
        for name in suite.named(kind):
            plugin, _ = suite.resolve(kind, name)
            if plugin.endswith(".py") and Path(plugin).resolve() not in given:
                raise UsageError(f"the suite {file.name} names the file {plugin}: read it, and give --plugin {plugin}")
    return suite


def commit_lines(records: Iterable[Record]) -> Iterator[str]:
    """Which commits made the records."""
    git = [one.provenance.get("git") or {} for one in records]
    commits = Counter((str(each.get("commit", "unknown"))[:12], bool(each.get("dirty"))) for each in git)
    for (commit, dirty), count in commits.most_common():
        yield f"made: {count} by commit {commit}" + (", with changes that are not in it" if dirty else "")


def difference_lines(records: Sequence[Record], trials: Mapping[str, Trial]) -> Iterator[str]:
    """How the plugins and their data here differ from those of the records."""
    differences = Counter(line for one in records for line in verify.differences(one, trials[one.name]))
    for line, count in differences.items():
        yield f"differs: {line} ({count} of {len(records)})"
    if not differences:
        yield "plugins and data match the records"


def sample(records: Iterable[Record], size: int, seed: int) -> tuple[list[Record], int]:
    """Draw records to run again, from those that have numbers.

    The clean control is an arm of every other record, so it is drawn only where there is nothing else.

    Returns:
        The drawn records, and how many could have been drawn.
    """
    complete = [one for one in records if one.status == "ok"]
    able = {one.name: one for one in [one for one in complete if not one.trial.control.is_clean] or complete}
    names = random.Random(seed).sample(sorted(able), min(size, len(able)))
    return [able[name] for name in names], len(able)
