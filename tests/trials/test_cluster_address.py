"""RAY_ADDRESS where no Ray head answers: one line within seconds, and nothing is done."""

from __future__ import annotations

import http.server
import socketserver
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.trials.run import execute, prepare
from bench.trials.store import Store
from bench.trials.trial import Trial

Trials = Callable[..., tuple[Trial, ...]]
PATIENCE = 30.0  # seconds; Ray itself gives up after a quarter of an hour


class Silent(socketserver.BaseRequestHandler):
    """Takes connections and never answers."""

    def handle(self) -> None:
        while self.request.recv(1 << 10):
            pass


class Web(http.server.BaseHTTPRequestHandler):
    """Answers in HTTP/1, and logs nothing."""

    def log_message(self, format: str, *args: object) -> None:
        pass


def refused(trials: Trials, folder: Path) -> str:
    """What a run is told, which has then done nothing."""
    work = prepare(trials(seeds=[0]), Store(folder / "store"))
    with pytest.raises(UsageError) as error:
        execute(work, folder / "records", lambda event: None, on="ray")
    assert not (folder / "records").exists()
    return str(error.value)


@pytest.mark.parametrize("handler", [Web, Silent])
def test_a_server_that_is_not_ray(
    handler: type[socketserver.BaseRequestHandler],
    small_trials: Trials,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    with socketserver.ThreadingTCPServer(("", 0), handler, bind_and_activate=True) as server:
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        started = time.monotonic()
        line = refused(small_trials, tmp_path)
        assert time.monotonic() - started < PATIENCE
        server.shutdown()
    assert line.startswith(f"no Ray cluster answers at RAY_ADDRESS={address}: the server at ")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:9", "refused"),
        ("ray://127.0.0.1:10001", "expected HOST:PORT of the head"),
        ("nonsense", "Invalid address format"),
    ],
)
def test_an_address_that_leads_nowhere(
    address: str, expected: str, small_trials: Trials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", address)
    line = refused(small_trials, tmp_path)
    assert line.startswith(f"no Ray cluster answers at RAY_ADDRESS={address}: ")
    assert expected in line
    assert "\n" not in line
