"""What tests share that start processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fork_server import write_client

ROOT = Path(__file__).resolve().parents[1]


def use_one_processor() -> None:
    """Bind this process, and what it starts, to one processor: given to `subprocess` as `preexec_fn`.

    A run then starts no workers, each of which would import torch: that costs more than the small trials of the tests.
    """
    processors = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {processors[os.getpid() % len(processors)]})


def start_python(
    *words: str, cwd: Path, program: Path | str = sys.executable, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in a new process; more of the environment by keyword."""
    more = {**os.environ, **environment}
    return subprocess.run(
        [str(program), *words], cwd=cwd, env=more, capture_output=True, text=True, timeout=240, check=False
    )


@dataclass(frozen=True)
class Python:
    """Runs `python` commands in processes that are forked from one in which torch is imported already.

    Attributes:
        address: Of the server's socket.
        program: A client of it, to be called like `python`.
    """

    address: str
    program: Path

    def run(self, *words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; more of the environment by keyword."""
        return start_python(*words, cwd=cwd, program=self.program, **environment)


@contextmanager
def python_server(folder: Path) -> Iterator[Python]:
    """Start a server, its socket in a folder."""
    address, program = folder / "socket", folder / "python"
    words = [sys.executable, str(ROOT / "tests" / "fork_server.py"), str(address)]
    with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(ROOT)}, preexec_fn=use_one_processor) as process:
        deadline = time.monotonic() + 120
        while not address.exists():
            assert process.poll() is None, "the server of commands ended"
            assert time.monotonic() < deadline, "the server of commands did not start"
            time.sleep(0.05)
        write_client(program, str(address))
        yield Python(str(address), program)
        process.kill()
