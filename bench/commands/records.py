"""`bench records`: pack records into archives and summaries, unpack, download and print them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from bench.commands.options import Flag
from bench.errors import UsageError
from bench.exits import OK

app = App(
    name="records",
    help="Pack records into an archive and a summary, unpack an archive, download one, or print a record.",
    help_epilogue=(
        "RECORDS is a folder of record files, an archive (.jsonl.xz), or a suite by name or file.\n\n"
        "Examples:\n"
        "  bench records pack leaderboards/records/digits --remove\n"
        "  bench records unpack digits --out digits-records\n"
        "  bench records pull https://example.org/speech.jsonl.xz --suite speech\n"
        "  bench records show digits 3f2a91\n"
    ),
)


@app.command
def pack(
    records: str,
    *,
    out: Path | None = None,
    results: Path | None = None,
    remove: Flag = False,
) -> int:
    """Pack records into one archive, and write a summary of them that can be reviewed in a diff.

    Parameters
    ----------
    records
        The records to pack: a folder as a rule.
    out
        Archive to write; default: NAME.jsonl.xz beside the folder NAME.
    results
        Summary to write; default: NAME.json, in results/ if the records lie in records/, else beside the archive.
    remove
        Delete the record files once the archive has been read back and holds the same records.
    """
    from bench.results import packing, sources

    source = sources.find(records)
    files = source.files() if source.path.is_dir() else []
    if remove and not files:
        raise UsageError(f"--remove goes with a folder of record files, found {source.path}")
    archive_path, summary_path = packing.places(source)
    result = packing.pack(source, out or archive_path, results or summary_path)
    print(f"{result.archive}  ({result.records} records, {result.archive.stat().st_size / 1000:.0f} kB)")
    print(f"{result.summary}  ({result.summary.stat().st_size / 1000:.0f} kB)")
    if remove:
        for file in files:
            file.unlink()
        if not any(source.path.iterdir()):
            source.path.rmdir()
        print(f"removed {len(files)} files of {source.path}")
    return OK


@app.command
def unpack(records: str, *, out: Annotated[Path, Parameter(name=["--out", "-o"])]) -> int:
    """Write every record of an archive as a JSON file of its own.

    Parameters
    ----------
    records
        The archive or the suite.
    out
        Folder to write: a new or an empty one.
    """
    from bench.results import packing, sources

    count = packing.unpack(sources.find(records), out)
    print(f"{out}  ({count} records)")
    return OK


@app.command
def pull(
    source: str,
    *,
    suite: str | None = None,
    sha256: str | None = None,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
) -> int:
    """Download an archive, and keep it only if it has the expected SHA-256.

    Parameters
    ----------
    source
        Path or URL of the archive; URLs may begin with https://, s3://, hf:// or whatever else fsspec reads.
    suite
        Suite whose records the archive holds: its summary states the SHA-256, and the archive is written beside it.
    sha256
        Expected SHA-256, for an archive without a suite.
    out
        File to write; default: where the suite's archive belongs, else the current folder.
    """
    from bench.results import archive, packing

    if (suite is None) == (sha256 is None):
        raise UsageError("expected either --suite, whose summary holds the SHA-256, or --sha256")
    if suite is not None:
        target, digest = packing.pinned(suite)
    else:
        name = source.rstrip("/").rpartition("/")[2].partition("?")[0]
        target, digest = Path(name), sha256 or ""
        if out is None and not archive.is_archive(target):
            raise UsageError(f"'{name}' is not an archive's name: give --out NAME{archive.SUFFIX}")
    count = packing.pull(source, out or target, digest)
    print(f"{out or target}  ({count} records)")
    return OK


@app.command
def show(records: str, name: str) -> int:
    """Print one record as JSON, or the summary of one cell.

    Parameters
    ----------
    records
        The records to search.
    name
        A record's name or at least 6 digits of its key; or a cell's id or name.
    """
    from bench.results import lookup, sources, summary
    from bench.results.formats import readable_json

    source = sources.find(records)
    match = lookup.find(name, [source])
    if name == match.trial.name or match.trial.key.startswith(name.lower()) or name.endswith(sources.RECORD):
        print(readable_json(match.trial.model_dump()))
    else:
        (cell,) = summary.summarise(source.name, match.records, {})["cells"]
        print(readable_json(cell))
    return OK
