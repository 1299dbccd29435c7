"""`bench rescore`: the scores of records under a version of the score."""

from __future__ import annotations

from dataclasses import replace
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
        "  bench rescore leaderboards/records/digits.jsonl.xz --score 1 --results digits-1.json\n"
    ),
)


@app.default
def rescore(
    records: str | None = None,
    *,
    score: int | None = None,
    results: Path | None = None,
    list_: Annotated[bool, Parameter(name="--list", negative="")] = False,
) -> int:
    """Compute the scores of records again, by a given version of the score; the records stay unchanged.

    Parameters
    ----------
    records
        A suite by name or TOML file, a folder of records, or an archive.
    score
        Version of the score; default: the newest.
    results
        JSON file to write a summary to: scores, arms and audibility of every cell.
    list_
        List the versions of the score and stop.
    """
    from bench.report import markdown, terminal
    from bench.results import packing, sources, summary
    from bench.results.board import board
    from bench.results.score import SCORE_VERSION, SCORE_VERSIONS

    if list_:
        for version, description in SCORE_VERSIONS.items():
            print(f"{version}  {description}{'  (newest)' if version == SCORE_VERSION else ''}")
        return OK
    version = SCORE_VERSION if score is None else score
    if version not in SCORE_VERSIONS:
        versions = ", ".join(map(str, SCORE_VERSIONS))
        raise UsageError(f"--score {version}: unknown version of the score, expected one of {versions}")
    if records is None:
        raise UsageError("name a suite, a folder of records or an archive; --list lists the versions of the score")
    source = sources.find(records)
    results_board = replace(board(source), score=version)
    if score == 2 and not results_board.worths:
        raise UsageError(
            f"{results_board.name} has no clean curve, which score 2 needs: --score 1 gives learning denied"
        )
    print(f"{results_board.name}, {markdown.score_line(results_board).lower()}\n")
    print(terminal.tables(results_board))
    if results is not None:
        summary.write(results, summary.summarise(source.name, results_board.records, packing.origin(source), version))
        print(f"\nsummary: {results}")
    return OK
