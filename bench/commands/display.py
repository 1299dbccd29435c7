"""How far a run is: bars on a terminal, one plain line an event otherwise. All of it goes to standard error."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from bench.trials.scheduler import Event, Watch

Style = Literal["auto", "rich", "plain", "none"]


def say(line: str) -> None:
    """Print a message to standard error at once; standard output is for results alone."""
    print(line, file=sys.stderr, flush=True)


def resolved(style: Style) -> Style:
    """Return the style that "auto" stands for here: bars on a terminal that is not a CI job's, else lines."""
    if style != "auto":
        return style
    return "rich" if sys.stderr.isatty() and not os.environ.get("CI") else "plain"


@contextmanager
def watching(style: Style, total: int) -> Iterator[Watch]:
    """Yield a progress display for an executor.

    Args:
        style: "rich": bars; "plain": a line per event; "none": nothing; "auto": bars on a terminal that is not a CI
            job's,
            else lines.
        total: The number of stages.
    """
    style = resolved(style)
    if style == "rich":
        with _bars(total) as watch:
            yield watch
    elif style == "plain":
        yield _lines(total)
    else:
        yield lambda event: None


def _lines(total: int) -> Watch:
    """Return a display that prints a line per event."""
    start = time.monotonic()
    finished = 0

    def watch(event: Event) -> None:
        nonlocal finished
        if event.kind in ("start", "progress"):
            return
        finished += event.kind != "lost"
        seconds = f"{event.outcome.seconds:.1f} s" if event.outcome else ""
        text = event.text.replace(f"{event.stage.title}: ", "", 1)  # the title stands before it
        say = {"done": seconds, "failed": f"FAILED: {text}", "skipped": f"skipped {text}"}
        say["lost"] = f"{event.text}: once more"
        elapsed = time.monotonic() - start
        print(
            f"[{finished}/{total}] {elapsed:6.1f} s  {event.stage.title}  {say[event.kind]}",
            file=sys.stderr,
            flush=True,
        )

    return watch


@contextmanager
def _bars(total: int) -> Iterator[Watch]:
    """Yield a display of bars."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}", style="dim"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("stages", total=total, detail="")
        tasks: dict[str, Any] = {}

        def watch(event: Event) -> None:
            key = event.stage.key
            if event.kind == "start":
                tasks[key] = progress.add_task(event.stage.title, total=None, detail="")
            elif event.kind == "progress" and key in tasks:
                progress.update(tasks[key], detail=event.text)
            else:
                if key in tasks:
                    progress.remove_task(tasks.pop(key))
                if event.kind != "lost":
                    progress.advance(task)
                if event.kind != "done":
                    progress.console.print(f"{event.kind}: {event.stage.title}: {event.text}", highlight=False)

        yield watch
