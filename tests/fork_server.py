"""A server that forks a process for each `bench` command: torch is imported once for all commands of a test.

    python tests/fork_server.py SOCKET

A client sends its standard streams with a line of JSON (words, folder, environment) and is sent the exit status. A test
of what a command imports, or of how a process ends, starts a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path

CLIENT = """#!{python} -SEs
import json, os, socket, sys
if os.path.isdir("bench"):  # a checkout: its own code is run
    os.execv(sys.executable, [sys.executable, "-m", "bench", *sys.argv[1:]])
client = socket.socket(socket.AF_UNIX)
client.connect({address!r})
request = {{"words": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}
text = json.dumps(request).encode()
socket.send_fds(client, [len(text).to_bytes(8, "big")], [0, 1, 2])
client.sendall(text)
status = client.recv(1)
sys.exit(status[0] if status else 70)
"""


def serve(address: str) -> None:
    """Answer clients until the process is killed.

    Args:
        address: The path of the socket, which is made when the server is ready.
    """

    import bench.commands
    import bench.trials.stages  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are not waited for
    with socket.socket(socket.AF_UNIX) as server:
        draft = f"{address}.draft"
        server.bind(draft)
        server.listen()
        os.rename(draft, address)
        while True:
            client, _ = server.accept()
            if os.fork() == 0:
                server.close()
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
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[0] = request["folder"]
    sys.argv = ["bench", *request["words"]]
    status = 70
    try:
        from bench.commands import main

        main(request["words"])
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        client.sendall(bytes([status & 255]))
        os._exit(status)


def write_client(path: Path, address: str) -> None:
    """Write a program that runs its words as a `bench` command on the server."""
    path.write_text(CLIENT.format(python=sys.executable, address=address))
    path.chmod(0o755)


if __name__ == "__main__":
    serve(sys.argv[1])
