"""A server that forks a process for each `python` command: torch is imported once for all of them.

    python tests/fork_server.py SOCKET

A client sends its standard streams with a line of JSON (words, folder, environment) and is sent the exit status. Words
are those of `python`: `-m MODULE ...`, `-c CODE ...` or a script. A test of what a command imports, of how a process
ends or of what a start of Python does starts a process of its own.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import socket
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

# An optimiser imports torch._dynamo when it is made; the pages need scipy and matplotlib.
PRELOADED = (
    "bench.commands",
    "bench.trials.stages",
    "torch._dynamo",
    "scipy.stats",
    "scipy.signal",
    "matplotlib.figure",
)
CLIENT = """#!{python} -SEs
import json, os, socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect({address!r})
request = {{"words": [*{words!r}, *sys.argv[1:]], "folder": os.getcwd(), "environment": dict(os.environ)}}
text = json.dumps(request).encode()
socket.send_fds(client, [len(text).to_bytes(8, "big")], [0, 1, 2])
client.sendall(text)
status = client.recv(1)
sys.exit(status[0] if status else 70)
"""


def serve(address: str) -> None:
    """Answer clients until the process is killed or its parent has ended.

    Args:
        address: The path of the socket, which is made when the server is ready.
    """
    for name in PRELOADED:
        with suppress(ImportError):
            importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are not waited for
    parent = os.getppid()
    with socket.socket(socket.AF_UNIX) as server:
        draft = f"{address}.draft"
        server.bind(draft)
        server.listen()
        server.settimeout(2)
        os.rename(draft, address)
        while os.getppid() == parent:
            try:
                client, _ = server.accept()
            except TimeoutError:
                continue
            if os.fork() == 0:
                server.close()
                client.settimeout(None)
                answer(client)
            client.close()


def answer(client: socket.socket) -> None:
    """Run a client's command in this process and end it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, streams, _, _ = socket.recv_fds(client, 8, 3)
    text = b""
    while len(text) < int.from_bytes(size, "big"):
        text += client.recv(1 << 16)
    request = json.loads(text)
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
    if (command := os.fork()) == 0:  # which may become another program, or be killed
        client.close()
        _end(request)
    _, ended = os.waitpid(command, 0)
    status = os.waitstatus_to_exitcode(ended)
    client.sendall(bytes([status if status >= 0 else 128 - status]))
    os._exit(0)


def _end(request: dict[str, Any]) -> None:
    """Perform a request and end the process as Python does."""
    status = 1
    try:
        _as_if_started(request)
        _perform(request["words"])
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status & 255)


def _as_if_started(request: dict[str, Any]) -> None:
    """Take over the client's folder, environment and search path; in a checkout its own code is imported."""
    folder, environment = str(request["folder"]), dict(request["environment"])
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    more = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path and path not in sys.path]
    sys.path[:] = [folder, *more, *sys.path[1:]]
    importlib.invalidate_caches()
    here = Path(folder, "bench", "__init__.py")
    if here.is_file() and not here.samefile(str(sys.modules["bench"].__file__)):
        for name in [name for name in sys.modules if name.partition(".")[0] == "bench"]:
            del sys.modules[name]


def _perform(words: list[str]) -> None:
    """Run what `python` runs when it is given these words."""
    match words:
        case ["-m", module, *rest]:
            sys.argv = [module, *rest]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case ["-c", code, *rest]:
            sys.argv = ["-c", *rest]
            exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        case [script, *rest]:
            sys.argv = [script, *rest]
            runpy.run_path(script, run_name="__main__")


def write_client(path: Path, address: str, *words: str) -> None:
    """Write a program that runs these words and its own as a `python` command on the server."""
    path.write_text(CLIENT.format(python=sys.executable, address=address, words=words))
    path.chmod(0o755)


if __name__ == "__main__":
    serve(sys.argv[1])
