"""What all tests share: where the real data lies, and suites over the small plugins of tests/plugins."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.results.suite import Suite, suite
from bench.trials.expand import expand
from bench.trials.trial import Trial
from tests.processes import Python, python_server

os.environ.setdefault("BENCH_IN_PROCESS", "1")  # a run of one job, a hundred times: no process is started for each
PLUGINS = Path(__file__).resolve().parent / "plugins"
PARTS = {
    "dataset": ["tones"],
    "defense": ["hiss", "labels", "breaks", "dies", "slow", "swaps", "fills"],
    "attacker": ["linear"],
    "adaptation": ["quieter", "halves", "apart"],
}
SLOW_SECONDS = 3600


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give slow tests an hour, by whatever command they are started; the 300 s of the others end them half-way."""
    if config.pluginmanager.hasplugin("timeout"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.timeout(SLOW_SECONDS))


@pytest.fixture(autouse=True)
def _threads_of_torch() -> Iterator[None]:
    """Give the next test the number of threads that this one began with: a command that was run here sets its own."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 0
    yield
    if torch and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Python]:
    """Runs `python` commands without importing torch for each."""
    with python_server(tmp_path_factory.mktemp("python")) as running:
        yield running


@pytest.fixture(scope="session")
def bench_data() -> Path:
    """The data root: $BENCH_DATA, else `../shared/data` beside the checkout. Tests that need it are skipped without."""
    named = os.environ.get("BENCH_DATA")
    root = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not root.is_dir():
        pytest.skip(
            f"no real data: {root} is no folder; set BENCH_DATA to a folder that holds fsdd/, pop909/ or music/"
        )
    return root


@pytest.fixture
def small_suite() -> Callable[..., Suite]:
    """A suite of clean and hiss against the linear attacker; keywords override."""

    def make(**more: Any) -> Suite:
        names = {
            kind: {name: {"plugin": str(PLUGINS / f"{name}.py")} for name in listed} for kind, listed in PARTS.items()
        }
        data: dict[str, Any] = {
            "datasets": ["tones"],
            "defenses": ["clean", "hiss"],
            "attackers": ["linear"],
            "seeds": [0, 1],
            **more,
        }
        used = {
            "dataset": [*data["datasets"], *filter(None, [data.get("threat", {}).get("replacement")])],
            "defense": [*data["defenses"], *data.get("controls", [])],
            "attacker": data["attackers"],
            "adaptation": data.get("adaptations", []),
        }
        for kind, tables in names.items():
            given = data.get(kind, {})
            data[kind] = {
                name: {**tables.get(name, {}), **given.get(name, {})}
                for name in used[kind]
                if name in tables or name in given
            }
        return suite(data)

    return make


@pytest.fixture
def small_trials(small_suite: Callable[..., Suite]) -> Callable[..., tuple[Trial, ...]]:
    def make(**more: Any) -> tuple[Trial, ...]:
        return expand(small_suite(**more)).trials

    return make
