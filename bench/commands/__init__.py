"""The command `bench`: one module per command, imported when its command is used.

Results go to standard output, messages to standard error; the exit codes are those of `bench.exits`. A command's module
imports at its head only what is light, so that its --help is quick.
"""

from __future__ import annotations

import ast
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from cyclopts import App, CycloptsError

from bench import __version__
from bench.errors import BenchError
from bench.exits import BAD_INPUT, INCOMPLETE, INTERRUPTED, OK
from bench.extras import explained
from bench.files import Terminated, printable
from bench.guard import exit_raises, exit_sentence, own_process

__all__ = ["app", "main"]

# The module of the same name is imported when a command is used.
_COMMANDS = (
    *("list", "new", "check", "run", "matrix", "gate", "verify", "leaderboard", "listen", "show", "records", "rescore"),
    *("export", "protect", "doctor", "attack", "inspect"),
)

app = App(
    name="bench",
    help="Benchmark for unlearnable audio, music and MIDI: how much can an attacker still learn from protected data?",
    version=__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,  # else Ctrl-C looks like a plugin's exit
    help_epilogue=(
        "Examples:\n"
        "  bench list\n"
        "  bench run --defense harmonycloak --attacker musicgen\n"
        "  bench run --defense harmonycloak --attacker musicgen --adapt mp3 --adapt resample\n"
        "  bench protect song.wav -o protected.wav --defense harmonycloak\n"
    ),
)


def _summary(command: str) -> str:
    """Return the first line of a command's help without importing its module."""
    file = Path(__file__).with_name(f"{command}.py")
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and "app.default" in map(ast.unparse, node.decorator_list):
            return (ast.get_docstring(node) or "").partition("\n")[0]
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            for word in node.value.keywords:
                if word.arg == "help" and isinstance(word.value, ast.Constant):
                    return str(word.value.value)
    raise LookupError(f"{file} has no function decorated by app.default")


for _command in _COMMANDS:
    app.command(f"bench.commands.{_command}:app", name=_command, help=_summary(_command))


def main(words: Sequence[str] | None = None) -> None:
    """Run the command and exit. Bad input is one line on standard error and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that is not UTF-8 shows "?", not a traceback
            stream.reconfigure(errors="replace")
    if words is None:
        own_process()
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
        elif isinstance(error, Terminated):
            code = int(error.code or 0)
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
    except OSError as error:  # a disk that is full, a folder that was taken away
        prefix = f"{printable(error.filename)}: " if isinstance(error.filename, str) else ""
        code = _refuse(f"{prefix}{(error.strerror or str(error)).lower()}")
    raise SystemExit(code if isinstance(code, int) else OK)


def _refuse(line: str) -> int:
    """Print an error line and return the exit code of bad input."""
    print(f"bench: {line}", file=sys.stderr)
    return BAD_INPUT
