"""Writes the folder of pages: all of it beside the folder first, then one rename, so that a reader sees all or nothing.

index.html            the summary over all suites
SUITE/index.html      a board: ranking, front, responses, listening, downloads
SUITE/cells/*.html    one attacker under one adaptation: arms, seeds, curves, command, records
SUITE/records/*.json  the records as they are; SUITE/*.csv, board.json, table.md the tables for programs
media/                sounds and pictures by content; assets/ the style and the script
bench.sqlite, *.csv   the tables of all suites; summary.md the summary
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import __version__
from bench.errors import DataError, UsageError
from bench.files import check_folder, draft_folder
from bench.report import markdown, tables, views
from bench.results.arms import PROTECTED_SET
from bench.results.board import Board
from bench.results.record import Record
from bench.trials.store import Store

if TYPE_CHECKING:
    from bench.report.media import MediaBuilder

__all__ = ["build", "build_cell", "check_site"]

_TEMPLATES = Path(__file__).resolve().parent / "templates"

MARK = ".bench-site"  # in every folder that is ours to replace

Say = Callable[[str], None]


def build(boards: Sequence[Board], out: Path, stores: Sequence[Store], say: Say = lambda line: None) -> list[str]:
    """Write the pages of some boards into a folder.

    Args:
        boards: The suites with their records.
        out: The folder, new or written by an earlier call.
        stores: Stores in which the sounds are looked up; none for pages without sound.
        say: Receives a progress line per suite.

    Returns:
        The names of records whose sounds no store holds.

    Raises:
        UsageError: `out` cannot be written, or holds something else.
    """
    with _folder(out) as draft:
        media = _media(boards, stores, draft / "media")
        environment = _environment()
        for board in boards:
            say(f"{board.name}: {sum(len(view.cells) for view in board.views)} cells")
            _suite(environment, board, draft / board.name, media)
        _render(environment, "index.html.j2", draft / "index.html", root="", **views.index(boards))
        tables.write_sqlite(draft / "bench.sqlite", boards)
        tables.write_tables(draft, boards)
        (draft / "summary.md").write_text(markdown.summary(boards), encoding="utf-8")
        _assets(draft / "assets")
    if media is None and stores:
        return sorted(record.name for board in boards for record in _protected(board))
    return sorted(media.missing) if media else []


def build_cell(board: Board, record: Record, out: Path, stores: Sequence[Store]) -> Path:
    """Write the page of a board's first cell alone, with the sounds of one of its records.

    Args:
        board: the records of one cell.
        record: the one that is played.
        out: the folder to write.
        stores: where its sets may be.

    Returns:
        The page.

    Raises:
        DataError: no store holds its sets; `out` is as it was.
        UsageError: `out` is a folder that was not written by this.
    """
    (view,) = board.views
    (cell,) = view.cells
    with _folder(out) as draft:
        media = _media([board], stores, draft / "media")
        items = media.of_cell(record) if media else []
        if not items:
            store_urls = ", ".join(store.url for store in stores)
            raise DataError(
                f"the sets of {record.name} are not in {store_urls}: give --store, or --make to run it again"
            )
        page = Path("cell") / "pages" / "index.html"
        values = views.cell_page(board, view, cell, items)
        _render(_environment(), "cell.html.j2", draft / page, root="../../", alone=True, **values)
        _records(cell.records, draft / "cell" / "records")
        _assets(draft / "assets")
    return out / page


def _protected(board: Board) -> list[Record]:
    """The first record of every cell that protects something."""
    cells = (cell for view in board.views if not view.control.is_clean for cell in view.cells)
    return [cell.measured for cell in cells if cell.measured]


def _media(boards: Sequence[Board], stores: Sequence[Store], folder: Path) -> MediaBuilder | None:
    """Return the builder of sounds and pictures; None where no store holds a set, so that torch is not imported."""
    keys = {record.stages.get(PROTECTED_SET, "") for board in boards for record in board.records} - {""}
    if not any(store.present(keys) for store in stores):
        return None
    from bench.report.media import MediaBuilder

    return MediaBuilder(stores, folder)


def _suite(environment: Any, board: Board, folder: Path, media: MediaBuilder | None) -> None:
    """Write the pages and tables of one suite."""
    media_rows = []
    for view in board.views:
        for cell in view.cells:
            if cell.records:
                items = media.of_cell(cell.records[0]) if media else []
                values = views.cell_page(board, view, cell, items)
                _render(environment, "cell.html.j2", folder / "cells" / f"{cell.slug}.html", root="../../", **values)
        if media and view.measured and not view.control.is_clean:
            media_rows.append((view, media.of_row(view.measured)))
    _records(board.records, folder / "records")
    values = views.suite_page(board, [(view, items) for view, items in media_rows if items])
    _render(environment, "suite.html.j2", folder / "index.html", root="../", **values)
    tables.write_tables(folder, [board])
    (folder / "table.md").write_text(markdown.page(board, board.command), encoding="utf-8")


def _records(records: Sequence[Record], folder: Path) -> None:
    """Write the records as JSON files without blanks."""
    folder.mkdir(parents=True)
    for record in records:
        (folder / f"{record.name}.json").write_text(record.model_dump_json() + "\n", encoding="utf-8")


def _environment() -> Any:
    """Return the environment of the templates."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"version": __version__, "alone": False}
    environment.filters["markdown"] = views.markdown_html
    return environment


def _render(environment: Any, template: str, path: Path, **values: Any) -> None:
    """Write a page from a template."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(environment.get_template(template).render(**values), encoding="utf-8")


def _assets(folder: Path) -> None:
    """Write the style and the script."""
    folder.mkdir(parents=True)
    for name in ("style.css", "page.js"):
        shutil.copyfile(_TEMPLATES / name, folder / name)


def check_site(out: Path) -> None:
    """Check before the work that pages can be written into a folder.

    Args:
        out: The folder.

    Raises:
        UsageError: Matplotlib is missing, the folder cannot be written, or it holds something that no command of bench
            wrote.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("pages need Matplotlib for their figures: pip install 'cloakbench[page]'")
    check_folder(out)
    if out.exists() and not (out / MARK).is_file() and any(out.iterdir()):
        raise UsageError(
            f"output folder {out} exists and was not written by `bench leaderboard`: "
            "expected a new or empty folder, e.g. --out site"
        )


@contextmanager
def _folder(out: Path) -> Iterator[Path]:
    """Yield a new folder that replaces `out` once the block has ended."""
    out = out.expanduser().resolve()
    check_site(out)
    with ExitStack() as stack:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            aside = stack.enter_context(draft_folder(out.parent))
        except OSError as error:
            raise UsageError(f"{out} cannot be written: {error.strerror}") from error
        draft = aside / "new"
        draft.mkdir()
        yield draft
        (draft / MARK).write_text(f"cloakbench {__version__}\n", encoding="utf-8")
        if out.exists():
            out.rename(aside / "old")
        draft.rename(out)
