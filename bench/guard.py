"""Keep a plugin from ending the program that runs it.

`sys.exit`, `quit` and argparse raise `SystemExit`, which ends a program that does not catch it, with an exit code of
the plugin's choice; `os._exit` ends it at once. A program that a plugin ends with code 0 would seem to have succeeded.
What raises no exception (a signal, an `exec`, an exit by C code) is found out by a rehearsal in a fork.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from bench.errors import PluginError
from bench.exits import INCOMPLETE

__all__ = ["ending", "exit_raises", "exit_sentence", "fatal_end", "own_process", "rehearse", "supervised"]

_REHEARSAL = 60.0  # seconds; what takes longer is not waited for
_POLL = 0.02  # seconds
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_owns_process = False  # see `own_process`
_survived: set[tuple[str, str]] = set()  # what was rehearsed, see `rehearse`


@contextmanager
def exit_raises() -> Iterator[None]:
    """Make `os._exit` raise `SystemExit` in this thread inside the block. Other threads and forked children do exit.

    Returns:
        A context manager.
    """
    leave, owner = os._exit, (os.getpid(), threading.get_ident())

    def refuse(status: int) -> NoReturn:
        if (os.getpid(), threading.get_ident()) == owner:
            raise SystemExit(status)
        leave(status)

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = leave


def exit_sentence(error: SystemExit) -> str:
    """Build the message for a plugin that tried to end the program.

    Args:
        error: What it raised.

    Returns:
        One line.
    """
    code = 0 if error.code is None else error.code
    return f"a plugin called exit({code!r}), which would end the program, expected it to return or to raise an error"


def ending(code: int) -> str:
    """Describe how a process ended.

    Args:
        code: Its exit code; negative: the signal.

    Returns:
        A few words, such as "killed by SIGSEGV".
    """
    if code >= 0:
        return f"exit code {code}"
    names = {number.value: number.name for number in signal.Signals}
    return f"killed by {names.get(-code, f'signal {-code}')}"


def fatal_end(action: Callable[[], object]) -> str:
    """Perform an action of a plugin in a fork of this process, to find out whether it would end the process.

    A fork takes milliseconds, since nothing is imported again. The fork has no output, and one thread for torch, whose
    others it does not have. Without Linux, in a worker (whose driver notices its end), where Ray is loaded and in
    another thread than the main one, nothing is rehearsed.

    Args:
        action: What is to be done; an exception ends nothing.

    Returns:
        How the process ended, such as "killed by SIGKILL"; "" where it did not, or not within a minute.
    """
    from multiprocessing import parent_process

    is_main = threading.current_thread() is threading.main_thread() and parent_process() is None
    if not sys.platform.startswith("linux") or not is_main or "ray" in sys.modules:
        return ""
    reader, writer = os.pipe()  # a program that takes the process over does not inherit them
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12, that threads do not survive a fork
        child = os.fork()
    if not child:
        _perform(action, writer)
    os.close(writer)
    try:
        return _end_of(child, reader)
    finally:
        os.close(reader)
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def rehearse(plugin: str, what: str, action: Callable[[], object]) -> None:
    """Check once that an action of a plugin does not end the process, see `fatal_end`.

    Args:
        plugin: What messages call it.
        what: What is done with it: "imported", "built".
        action: Does it.

    Raises:
        PluginError: The process would end.
    """
    if (plugin, what) in _survived:
        return
    if end := fatal_end(action):
        raise PluginError(f"{plugin} cannot be {what}: that ends the process ({end}), expected it to go on")
    _survived.add((plugin, what))


def _perform(action: Callable[[], object], writer: int) -> NoReturn:
    """Perform an action without input and output, say that the process has survived it, and leave."""
    leave = os._exit
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115  # until it leaves
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)
        with suppress(BaseException), exit_raises():  # as it is done afterwards
            action()
        os.write(writer, b".")
    finally:
        leave(0)


def _end_of(child: int, reader: int) -> str:
    """Wait until a rehearsal says that it has survived, or is over; return how it ended."""
    limit, closed = time.monotonic() + _REHEARSAL, False
    ready = select.poll()
    ready.register(reader, select.POLLIN)
    while time.monotonic() < limit:
        if not closed and ready.poll(1000 * _POLL):
            if os.read(reader, 1):
                return ""
            closed, limit = True, time.monotonic() + 10 * _POLL
        over, status = os.waitpid(child, os.WNOHANG)
        if over:
            return ending(os.waitstatus_to_exitcode(status))
    return "another program took its place" if closed else ""


def supervised(action: Callable[[], int]) -> int:
    """Do a command's work in a fork of this process, and say so where a plugin ended that.

    The fork goes on as the command to its end. On Linux only, and not where torch is loaded, whose threads a fork does
    not have, or where the command was called by another program; there the work is done in this process.

    Args:
        action: The work, which uses plugins in this process; returns the exit code.

    Returns:
        The exit code.
    """
    if not sys.platform.startswith("linux") or not _owns_process or "torch" in sys.modules:
        return action()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        _die_with_parent()
        atexit.register(os.write, writer, b".")  # at an end of Python's own, with whatever exit code
        return action()
    os.close(writer)
    passed: set[int] = set()  # signals
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda number, frame: _pass_on(child, number, passed))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if os.read(reader, 1):
        return code
    if -code in passed:
        return 128 - code
    line = f"a plugin ended the program ({ending(code)}), expected it to return or to raise an error"
    print(f"bench: {line}", file=sys.stderr)
    return INCOMPLETE


def _pass_on(child: int, number: int, passed: set[int]) -> None:
    """Send a signal to a child, unless it is the Ctrl-C of a terminal, which both get."""
    for descriptor in range(3):
        with suppress(OSError):  # no terminal
            if number == signal.SIGINT and os.tcgetpgrp(descriptor) == os.getpgrp():
                return
    passed.add(number)
    os.kill(child, number)


def own_process() -> None:
    """Say that this process is a command's own, which `supervised` may fork."""
    global _owns_process
    _owns_process = True


def _die_with_parent() -> None:
    """Have this process killed when its parent ends."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
