"""Pages made of a real run of small plugins, and a headless browser to look at them with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.report.site import build
from bench.results.board import Board
from bench.results.suite import Suite, suite
from bench.trials.expand import expand
from bench.trials.run import execute, prepare
from bench.trials.store import Store

PLUGINS = Path(__file__).resolve().parents[1] / "plugins"


def asked(**more: Any) -> Suite:
    """Noise, a louder noise and marks on tones, before and after an attacker's response."""
    plugin = {
        name: {"plugin": str(PLUGINS / f"{name}.py")} for name in ("tones", "hiss", "labels", "linear", "quieter")
    }
    data: dict[str, Any] = {
        "name": "small",
        "about": "Noise against a line <script>alert(1)</script> & more.",
        "notes": "It *does* little.\n\n<b>raw</b> stays text.",
        "datasets": ["tones"],
        "defenses": ["clean", "hiss", "loud", "labels"],
        "attackers": ["linear"],
        "adaptations": ["none", "quieter"],
        "seeds": [0, 1, 2],
        "budget": {"snr_db": 10.0},
        "dataset": {"tones": plugin["tones"]},
        "defense": {
            "hiss": plugin["hiss"],
            "loud": {**plugin["hiss"], "epsilon": 0.2},
            "labels": plugin["labels"],
        },
        "attacker": {"linear": plugin["linear"]},
        "adaptation": {"quieter": plugin["quieter"]},
        **more,
    }
    return suite(data)


@pytest.fixture(scope="package")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="package")
def board(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Board:
    made = asked()
    records = execute(
        prepare(expand(made).trials, store), tmp_path_factory.mktemp("records"), lambda event: None, jobs=1
    )
    assert all(record.status == "ok" for record in records)
    return Board(made, tuple(records))


@pytest.fixture(scope="package")
def pages(board: Board, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of pages of that board, with sound."""
    out = tmp_path_factory.mktemp("pages") / "site"
    assert build([board], out, [store]) == []
    return out


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """Debian's Chromium without a window: $BENCH_CHROMIUM, or what is on the path."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = os.environ.get("BENCH_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium, or set BENCH_CHROMIUM")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--mute-audio"]  # fmt: skip
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=program, args=quiet)
        yield started
        started.close()


@pytest.fixture
def visit(browser: Any, pages: Path) -> Iterator[Callable[..., Any]]:
    """Open a page of the site. Anything on the console, any error and any request beyond the disk fails the test."""
    heard: list[str] = []
    contexts = []

    def go(path: str, width: int = 1280, height: int = 900, scheme: str = "light", **more: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **more)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: heard.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("requestfailed", lambda request: heard.append(f"failed: {request.url}"))
        page.on("request", lambda request: heard.append(request.url) if request.url.startswith("http") else None)
        page.goto(f"{pages.as_uri()}/{path}")
        return page

    yield go
    for context in contexts:
        context.close()
    assert heard == []
