"""`bench inspect`: a folder of sound and MIDI files, and what in it looks protected, damaged, copied or mislabelled."""

from __future__ import annotations

import json as json_format
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App

from bench.commands.display import resolved, say
from bench.commands.options import Display, Flag
from bench.exits import INCOMPLETE, OK

if TYPE_CHECKING:
    from bench.commands.inspect_comparison import File, Finding

_LINE_SECONDS = 15.0  # between two lines of progress

app = App(
    name="inspect",
    help_epilogue=(
        "Findings, and what their score is:\n\n"
        "* protected: deviation in robust standard deviations; of a class, the share of a common waveform\n"
        "* silent: peak; clipped: share of samples; resampled and lossy: where the spectrum ends, Hz\n"
        "* duplicate and near-duplicate: likeness; mislabelled: ratio of the distances from two classes\n"
        "* unreadable: none\n\n"
        "Deviations need 8 files of one kind and rate, most of them unprotected; a class is a sub-folder\n"
        "of at least 5 files. What is found is a sign and no proof; other protection is not found.\n\n"
        "Exit code: 0 nothing found, 3 something found, 2 bad input.\n\n"
        "Examples:\n"
        "  bench inspect recordings\n"
        "  bench inspect recordings --json > findings.json\n"
    ),
)


@app.default
def inspect(folder: Path, *, json: Flag = False, display: Display = "auto") -> int:
    """Look through a folder for files that look protected, damaged, resampled, copied or mislabelled.

    Parameters
    ----------
    folder
        Folder with sound files (WAV, FLAC, OGG, Opus, MP3 or AIFF) and MIDI files; its sub-folders are classes.
    json
        Print every figure of every file as JSON instead of a table of findings.
    display
        Progress display: a bar (rich), lines (plain), or nothing; auto: a bar on a terminal, else lines.
    """
    from bench.commands import inspect_folder

    names = inspect_folder.listed(folder)
    import torch

    torch.set_num_threads(1)
    with _progress(display, len(names)) as progress:
        entries, findings = inspect_folder.inspect(folder, names, progress)
    totals = inspect_folder.totals(entries, findings)
    print(_document(folder, entries, findings, totals) if json else _table(findings, totals))
    return INCOMPLETE if findings else OK


def _table(findings: list[Finding], totals: dict[str, Any]) -> str:
    """Return the table of findings and a line of totals."""
    from bench.files import printable
    from bench.results.formats import number, text_table

    body = [[printable(found.file), found.finding, number(found.score, ".3g"), found.reason] for found in findings]
    counted = ", ".join(f"{count} {name}" for name, count in totals["findings"].items()) or "nothing found"
    size = f"sounds: {totals['sounds']}, MIDI: {totals['midi']}, {totals['seconds'] / 60:.1f} min"
    line = f"files: {totals['files']} ({size}): {counted}; without a finding: {totals['clean']}"
    return f"{text_table(['file', 'finding', 'score', 'reason'], body)}\n\n{line}" if body else line


def _document(folder: Path, entries: list[File], findings: list[Finding], totals: dict[str, Any]) -> str:
    """Return everything as JSON; figures that are undefined are null."""
    from bench.files import printable

    def plain(value: float) -> float | None:
        return value if math.isfinite(value) else None

    listed = [
        {
            "file": printable(entry.name),
            "kind": entry.kind,
            "class": printable(entry.label),
            "readable": bool(entry.digest),
            "seconds": entry.seconds,
            "rate": entry.rate or None,
            "scores": {name: plain(value) for name, value in entry.scores.items()},
        }
        for entry in entries
    ]
    found = [
        {"file": printable(each.file), "finding": each.finding, "score": plain(each.score), "reason": each.reason}
        for each in findings
    ]
    document = {"folder": printable(folder), "totals": totals, "findings": found, "files": listed}
    return json_format.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)


@contextmanager
def _progress(style: Display, total: int) -> Iterator[Callable[[str], None]]:
    """Yield a function to be called before each file; shows how many are done and the time left."""
    style = resolved(style)
    if style == "none":
        yield lambda name: None
    elif style == "plain":
        yield _lines(total)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=total)
            done = -1

            def show(name: str) -> None:
                nonlocal done
                done += 1
                from bench.files import printable

                bar.update(task, completed=done, description=printable(name).replace("[", r"\["))

            yield show


def _lines(total: int) -> Callable[[str], None]:
    """Return a display that prints a line now and then."""
    start = last = time.monotonic()
    done = -1

    def show(name: str) -> None:
        nonlocal done, last
        done += 1
        now = time.monotonic()
        if done and now - last >= _LINE_SECONDS:
            last = now
            say(f"[{done}/{total}] about {(now - start) / done * (total - done):.0f} s left")

    return show
