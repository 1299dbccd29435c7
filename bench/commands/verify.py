"""`bench verify`: whether records hold: their own arithmetic, whose code made them, and a sample that is run again.

Exit codes beside those of the other commands: 1 where a record contradicts itself or does not hold.
"""

from __future__ import annotations

import random
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import plugins
from bench.commands.display import Style, watching
from bench.commands.exits import INCOMPLETE, INTERRUPTED, OK, WORSE
from bench.errors import BenchError, DataError, UsageError
from bench.results import consistency
from bench.trials import matrix, record, verify
from bench.trials.again import trial_of
from bench.trials.agenda import Stopped
from bench.trials.record import Record
from bench.trials.run import Place, execute, prepare
from bench.trials.store import Store
from bench.trials.trial import Trial


def verify_records(
    place: Path,
    *,
    sample: int,
    seed: int | None,
    own: Sequence[str],
    store: str | None,
    on: Place,
    jobs: int | None,
    display: Style,
) -> int:
    """Print what is found; the exit code: 0, 1 if a record does not hold, 3 if one could not be run, 130 if stopped.

    Raises `DataError` for what is no record, or whose plugins are not here, and `UsageError` for bad words.
    """
    if sample < 0:
        raise UsageError(f"--sample {sample}: expected 0 or more")
    files = own_files(own)
    found = read(place)
    print(f"{place}: {len(found)} records")
    lines = [f"{file.name}: {line}" for file, made in found.items() for line in consistency.problems(made, file)]
    lines += consistency.clashes(found.values())
    for line in lines:
        print(f"  wrong: {line}")
    try:
        trials = {made.name: trial_of(made, files) for made in found.values()}
        more = [] if lines else _trial_problems(place, found, trials, files.values())
    except BenchError as error:
        if not lines:
            raise
        print(f"nothing was run again: {error}")
        return WORSE
    for line in more:
        print(f"  wrong: {line}")
    wrong = len(lines) + len(more)
    print("arithmetic: " + (f"{wrong} things are wrong" if wrong else "every number follows from the others"))
    _tell_provenance(list(found.values()), trials)
    code = WORSE if wrong else OK
    good = [made for made in found.values() if made.status == "ok"]
    # The clean control is in every other record as an arm.
    able = sorted(made.name for made in [made for made in good if made.trial.control != "clean"] or good)
    drawn = secrets.randbelow(10**6) if seed is None else seed
    chosen = random.Random(drawn).sample(able, min(sample, len(able)))
    if not chosen:
        print("nothing was run again" + ("" if able else ": no record has numbers"))
        return code
    print(f"run again: {len(chosen)} of {len(able)}, drawn by --seed {drawn}")
    by_name = {made.name: made for made in found.values()}
    ended = _again([by_name[name] for name in chosen], list(by_name.values()), trials, store, on, jobs, display)
    return ended if ended == INTERRUPTED else code or ended


def read(place: Path) -> dict[Path, Record]:
    """The records of a file or a folder, by file. Raises `DataError` where there are none, or one leads elsewhere."""
    if place.is_dir():
        files = sorted(place.glob("*.json"))
    elif place.is_file():
        files = [place]
    else:
        raise DataError(f"{place} does not exist: give a record, or a folder of them")
    if not files:
        raise DataError(f"{place} holds no record: expected .json files")
    for file in files:
        if file.is_symlink():
            raise DataError(f"{file} is a link: a record is a plain file")
    return {file: record.load(file) for file in files}


def own_files(words: Sequence[str]) -> dict[str, Path]:
    """FILE or NAME=FILE -> the file by the name that records call its plugin. Raises `UsageError`."""
    files = {}
    for word in words:
        name, equals, path = word.rpartition("=")
        file = Path(path)
        if file.suffix != ".py" or not file.is_file() or bool(equals) != bool(name):
            raise UsageError(f"--plugin {word}: expected a Python file, or NAME=FILE")
        files[name or file.stem] = file
    return files


def _trial_problems(
    place: Path, found: Mapping[Path, Record], trials: Mapping[str, Trial], own: Collection[Path]
) -> list[str]:
    """What contradicts the rebuilt trials, or the suite beside the records."""
    lines = []
    for file, made in found.items():
        trial = trials[made.name]
        told = verify.trial_problems(made, trial)
        if not told and not any(" source " in line for line in verify.differences(made, trial)):
            told = verify.key_problems(made, trial)
        lines += [f"{file.name}: {line}" for line in told]
    suite = place.resolve().parent.parent / f"{place.resolve().name}.toml"
    if place.is_dir() and suite.is_file():
        asked = [trial.name for trial in matrix.expand(_trusted(suite, own)).trials]
        there = [made.name for made in found.values()]
        lines += [
            f"{name}: the suite {suite.name} asks for it, and it is not here" for name in asked if name not in there
        ]
        lines += [f"{name}: the suite {suite.name} does not ask for it" for name in there if name not in asked]
    return lines


def _trusted(file: Path, own: Collection[Path]) -> matrix.Suite:
    """The suite beside the records. Expanding it imports its plugins, so that a file must be one that was given."""
    suite = matrix.read(file)
    given = {path.resolve() for path in own}
    named = {*suite.datasets, *suite.defenses, *suite.controls, *suite.attackers, *suite.adaptations, *suite.bag}
    for kind in plugins.FOLDERS:
        tables = getattr(suite, plugins.SINGULAR[kind])
        named |= {suite.given(kind, name)[0] for name in tables}
        named |= {str(name) for table in tables.values() for name in table.get("expects", ())}
    for name in sorted({*named, *suite.expects}):
        if name.endswith(".py") and Path(name).expanduser().resolve() not in given:
            raise UsageError(f"the suite {file.name} names the file {name}: read it, and give --plugin {name}")
    return suite


def _tell_provenance(found: Sequence[Record], trials: Mapping[str, Trial]) -> None:
    """Say which code and machine made the records, and what of it is other here."""
    git = [made.made.get("git") or {} for made in found]
    commits = Counter((str(each.get("commit", "unknown"))[:12], bool(each.get("dirty"))) for each in git)
    for (commit, dirty), count in commits.most_common():
        print(f"made: {count} by commit {commit}" + (", with changes that are not in it" if dirty else ""))
    told = Counter(line for made in found for line in verify.differences(made, trials[made.name]))
    for line, count in told.items():
        print(f"differs: {line} ({count} of {len(found)})")
    if not told:
        print("differs: nothing, the plugins and their data here are those of the records")


def _again(
    chosen: Sequence[Record],
    found: Sequence[Record],
    trials: Mapping[str, Trial],
    store: str | None,
    on: Place,
    jobs: int | None,
    display: Style,
) -> int:
    """Run some records' trials again in a store of their own and say of each whether it holds."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-verify-")))
        work = prepare([trials[made.name] for made in chosen], Store(store or folder / "store"))
        if work.present:
            print(f"  {len(work.present)} of {len(work.plan.stages)} stages were already in {work.store.url}")
        try:
            with watching(display, work.missing) as watch:
                made = execute(work, folder / "records", watch, on=on, jobs=jobs)
        except Stopped:
            print("stopped", file=sys.stderr)
            return INTERRUPTED
    codes = {_judge(then, now, found, trials[then.name]) for then, now in zip(chosen, made, strict=True)}
    return next(code for code in (WORSE, INCOMPLETE, OK) if code in codes)


def _judge(then: Record, now: Record, found: Sequence[Record], trial: Trial) -> int:
    """Print the verdict on one record; its exit code."""
    if now.status != "ok" or now.error is not None:
        error = now.error or {}
        print(f"  {then.name}: could not be run: {error.get('type')}: {error.get('message')}")
        return INCOMPLETE
    unlike = verify.differences(then, trial)
    verdict = verify.compare(then, now, verify.spread(then, found), same_code=not unlike)
    print(f"  {then.name}: {verdict.finding} (denied {_text(verdict.denied)}, {_text(verdict.again)} when run again)")
    for line in (*verdict.reasons, *verdict.remarks):
        print(f"    {line}")
    if unlike and verdict.finding == "does not hold":
        print("    it was run by other code than the record's: see what differs, above")
    return WORSE if verdict.finding == "does not hold" else OK


def _text(value: float | None) -> str:
    return "null" if value is None else f"{value:+.4f}"
