"""`bench rescore`: the scores of records under a version of the score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from bench.errors import UsageError
from bench.exits import OK

app = App(
    name="rescore",
    help_epilogue=(
        "Examples:\n"
        "  bench rescore --list\n"
        "  bench rescore speech\n"
        "  bench rescore leaderboards/records/speech.jsonl.xz --score-version 1 --results speech-1.json\n"
    ),
)


@app.default
def rescore(
    records: str | None = None,
    *,
    score_version: int | None = None,
    results: Path | None = None,
    list_: Annotated[bool, Parameter(name="--list", negative="")] = False,
) -> int:
    """Compute the scores of records again, by a given version of the score; the records stay unchanged.

    Parameters
    ----------
    records
        A suite by name or TOML file, a folder of records, or an archive.
    score_version
        Version of the score; default: the newest.
    results
        JSON file to write a summary to: scores, arms and audibility of every cell.
    list_
        List the versions of the score and stop.
    """
    from bench.report import terminal
    from bench.results import packing, sources, summary
    from bench.results.board import board
    from bench.results.score import SCORE_VERSION, SCORE_VERSIONS

    if list_:
        for version, description in SCORE_VERSIONS.items():
            print(f"{version}  {description}{'  (newest)' if version == SCORE_VERSION else ''}")
        return OK
    version = SCORE_VERSION if score_version is None else score_version
    if version not in SCORE_VERSIONS:
        versions = ", ".join(map(str, SCORE_VERSIONS))
        raise UsageError(f"--score-version {version}: unknown version of the score, expected one of {versions}")
    if records is None:
        raise UsageError("name a suite, a folder of records or an archive; --list lists the versions of the score")
    source = sources.find(records)
    results_board = board(source)
    print(f"{results_board.name}, score version {version}\n")
    print(terminal.tables(results_board))
    if results is not None:
        summary.write(results, summary.summarise(source.name, results_board.records, packing.origin(source)))
        print(f"\nsummary: {results}")
    return OK
