"""The command `bench`: thin functions that parse words and call the library.

One file a group of commands; `app` is what they have in common. Heavy imports stay inside the commands, so that
`--help` and `list` are quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import CycloptsError

from bench.cli import authoring, judging, running, showing, using
from bench.cli.app import app
from bench.commands.exits import BAD_INPUT, INCOMPLETE, INTERRUPTED, OK
from bench.errors import BenchError
from bench.extras import explained
from bench.guard import exit_raises, exit_sentence

__all__ = ["app", "authoring", "judging", "main", "running", "showing", "using"]


def main(words: Sequence[str] | None = None) -> None:
    """The entry point. Bad input is one line and exit code 2."""
    try:
        with exit_raises():
            code = app(words, exit_on_error=False, print_error=False, result_action="return_value")
    except BenchError as error:
        code = _refuse(str(error))
    except CycloptsError as error:
        code = _refuse(" ".join(str(error).split()) + " (see --help)")
    except SystemExit as error:  # no command of ours ends this way
        if isinstance(error.__context__, BrokenPipeError):  # rich's answer to a reader that is gone
            code = OK
        else:  # a plugin's: whatever its code, the work is not done
            _refuse(exit_sentence(error))
            code = INCOMPLETE
    except KeyboardInterrupt:
        code = INTERRUPTED
    except ModuleNotFoundError as error:
        explanation = explained(error)
        if explanation is error:
            raise
        code = _refuse(str(explanation))
    except BrokenPipeError:  # the reader of a pipe is gone: not our failure
        sys.stderr.close()
        code = OK
    raise SystemExit(code if isinstance(code, int) else OK)


def _refuse(line: str) -> int:
    print(f"bench: {line}", file=sys.stderr)
    return BAD_INPUT
