"""Keep a plugin from ending the program that runs it.

`sys.exit`, `quit` and argparse raise `SystemExit`, which ends a program that does not catch it, with an exit code of
the plugin's choice; `os._exit` ends it at once. A program that a plugin ends with code 0 would seem to have succeeded.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

__all__ = ["exit_raises", "exit_sentence"]


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
