"""`bench verify`: whether records hold: their own arithmetic, whose code made them, and a sample that is run again.

Exit codes beside those of the other commands: 1 where a record contradicts itself or does not hold.
"""

from __future__ import annotations

import secrets
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cyclopts import App

from bench.commands.options import Execution, Many, Rerun
from bench.commands.settings import plugin_files
from bench.errors import BenchError, UsageError
from bench.exits import INCOMPLETE, INTERRUPTED, OK, WORSE

if TYPE_CHECKING:
    from bench.results.record import Record
    from bench.results.sources import Source
    from bench.trials.trial import Trial

app = App(
    name="verify",
    help_epilogue=(
        "Examples:\n"
        "  bench verify midi-smoke\n"
        "  bench verify leaderboards/records/midi-smoke.jsonl.xz --sample 3 --seed 7\n"
        "  bench verify record.json --sample 0\n"
        "  bench verify records --plugin my_defense.py\n\n"
        "Exit code 1: a record is inconsistent, or a trial that was run again gave another result."
    ),
)


@app.default
def verify(
    records: str,
    *,
    sample: int = 1,
    seed: int | None = None,
    plugin: Many = None,
    execution: Rerun = Rerun(),
) -> int:
    """Check submitted records: whether they are consistent, which code made them, and a sample of trials run again.

    Parameters
    ----------
    records
        A record file, a folder of records, an archive, or a suite by name or TOML file.
    sample
        Number of trials to run again from scratch; 0 only reads the records and loads no plugin.
    seed
        Seed that draws the sample; default: a random one, which is printed.
    plugin
        Python file of a plugin that the records use and that is not installed, as FILE or NAME=FILE. Repeatable.
    """
    from bench.results import consistency, packing, sources
    from bench.trials import submission

    if sample < 0:
        raise UsageError(f"--sample {sample}: expected 0 or more")
    files = plugin_files(plugin or [])
    source = sources.find(records)
    by_file = submission.read(source)
    print(f"{records}: {len(by_file)} records")
    problems = [f"{file.name}: {line}" for file, one in by_file.items() for line in consistency.problems(one, file)]
    problems += consistency.clashes(by_file.values())
    problems += packing.summary_problems(source, list(by_file.values()))
    _print_wrong(problems)
    if sample == 0:
        _print_result(len(problems), by_file.values())
        print("nothing was run again, and plugins, keys and suite were not compared: see --sample")
        return WORSE if problems else OK
    return _verify_trials(source, by_file, files, problems, _Draw(sample, seed), execution)


class _Draw(NamedTuple):
    """How many records are run again, and the seed that draws them; None for a random one."""

    size: int
    seed: int | None


def _verify_trials(
    source: Source,
    records: Mapping[Path, Record],
    files: Mapping[str, Path],
    problems: Sequence[str],
    draw: _Draw,
    execution: Execution,
) -> int:
    """Compare records with their trials, rebuilt with the installed plugins, and run some again; the exit code."""
    from bench.trials import submission
    from bench.trials.again import trial_of

    try:
        trials = {one.name: trial_of(one, files) for one in records.values()}
        trial_problems = [] if problems else submission.trial_problems(source, records, trials, files.values())
    except BenchError as error:
        if not problems:
            raise
        print(f"nothing was run again: {error}")
        return WORSE
    _print_wrong(trial_problems)
    problem_count = len(problems) + len(trial_problems)
    _print_result(problem_count, records.values())
    for line in submission.difference_lines(list(records.values()), trials):
        print(line)
    code = WORSE if problem_count else OK
    seed = secrets.randbelow(10**6) if draw.seed is None else draw.seed
    sample, eligible = submission.sample(records.values(), draw.size, seed)
    if not sample:
        print("nothing was run again: no record has numbers")
        return code
    print(f"run again: {len(sample)} of {eligible}, drawn by --seed {seed}")
    rerun_code = _run_again(sample, list(records.values()), trials, execution)
    return rerun_code if rerun_code == INTERRUPTED else code or rerun_code


def _print_result(wrong: int, records: Iterable[Record]) -> None:
    """Print whether the records are consistent, and which commits made them."""
    from bench.trials import submission

    print("internal consistency: " + (f"{wrong} things are wrong" if wrong else "ok"))
    for line in submission.commit_lines(records):
        print(line)


def _print_wrong(problems: Sequence[str]) -> None:
    """Print what is wrong, one line each."""
    for line in problems:
        print(f"  wrong: {line}")


def _run_again(
    sample: Sequence[Record], all_: Sequence[Record], trials: Mapping[str, Trial], execution: Execution
) -> int:
    """Run some records' trials again in a store of their own and print whether each holds; the exit code."""
    from bench.commands.display import watching
    from bench.trials.run import execute, prepare
    from bench.trials.scheduler import Stopped
    from bench.trials.store import Store

    with tempfile.TemporaryDirectory(prefix="bench-verify-") as folder:
        work = prepare([trials[one.name] for one in sample], Store(execution.store or Path(folder) / "store"))
        if work.present:
            print(f"  {len(work.present)} of {len(work.plan.stages)} stages were already in {work.store.url}")
        try:
            with watching(execution.display, work.missing) as watch:
                second_records = execute(
                    work, Path(folder) / "records", watch, on=execution.on, jobs=execution.jobs, device=execution.device
                )
        except Stopped:
            print("stopped", file=sys.stderr)
            return INTERRUPTED
    codes = {
        _judge(record, second, all_, trials[record.name]) for record, second in zip(sample, second_records, strict=True)
    }
    return next(code for code in (WORSE, INCOMPLETE, OK) if code in codes)


def _judge(record: Record, second_record: Record, all_: Sequence[Record], trial: Trial) -> int:
    """Print the verdict on one record; its exit code."""
    from bench.trials import verify as judging

    if second_record.status != "ok" or second_record.error is not None:
        error = second_record.error or {}
        print(f"  {record.name}: could not be run: {error.get('type')}: {error.get('message')}")
        return INCOMPLETE
    code_differences = judging.differences(record, trial)
    verdict = judging.compare(record, second_record, judging.spread(record, all_), same_code=not code_differences)
    print(f"  {record.name}: {verdict.finding} (denied {_text(verdict.denied)}, {_text(verdict.rerun)} when run again)")
    for line in (*verdict.reasons, *verdict.remarks):
        print(f"    {line}")
    if code_differences and verdict.finding == "does not hold":
        print("    it was run by other code than the record's: see what differs, above")
    return WORSE if verdict.finding == "does not hold" else OK


def _text(value: float | None) -> str:
    """Format a score; "null" where there is none."""
    return "null" if value is None else f"{value:+.4f}"
