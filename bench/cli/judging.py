"""Commands that judge: whether a suite still reaches what was accepted."""

from __future__ import annotations

from pathlib import Path

from bench.cli.app import Display, Jobs, Place, app


@app.command(
    help_epilogue=(
        "Examples:\n"
        "  bench gate\n"
        "  bench gate --suite mine.toml --accept 'first baseline'\n"
        "  bench gate --suite mine.toml --junit gate.xml\n"
        "  bench gate --suite mine.toml --records records/mine\n"
    )
)
def gate(
    *,
    suite: str = "ci",
    baseline: Path | None = None,
    accept: str | None = None,
    records: Path | None = None,
    store: str | None = None,
    on: Place = "local",
    jobs: Jobs = None,
    display: Display = "auto",
    junit: Path | None = None,
    github: bool | None = None,
) -> int:
    """Run a suite and fail if unlearnability regressed. Codes: 1 regressed or to be accepted, 3 missing or broken.

    Parameters
    ----------
    suite
        A suite file, or the name of one that comes with bench.
    baseline
        What to compare with; default: baseline.json beside the suite.
    accept
        Make what is measured the baseline, and say why. Nothing else ever writes one.
    records
        Judge the records of this folder instead of running the suite.
    store
        Folder or fsspec URL of the artefacts; default: $BENCH_STORE, else the user's cache.
    on
        Where the stages run.
    jobs
        Processes; default: one a core.
    display
        Progress as bars, as lines, or not at all.
    junit
        A file to write JUnit XML to.
    github
        Print annotations for GitHub; default: if $GITHUB_ACTIONS is true.
    """
    from bench.commands import gate as gating

    measuring = gating.Measuring(store, on, jobs, display, records)
    return gating.run(suite, measuring, baseline=baseline, accept=accept, junit_file=junit, github=github)
