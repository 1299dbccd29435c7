"""The command `bench`: one module per command, imported when its command is used.

Results go to standard output, messages to standard error; the exit codes are those of `bench.exits`. A command's module
imports at its head only what is light, so that its --help is quick.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from bench import __version__
from bench.errors import BenchError
from bench.exits import BAD_INPUT, INCOMPLETE, INTERRUPTED, OK
from bench.extras import explained
from bench.files import Terminated
from bench.guard import exit_raises, exit_sentence

__all__ = ["app", "main"]

# The first line of each command's docstring (a test compares them), so that `bench --help` imports no command.
SUMMARIES = {
    "list": "Show the plugins: name, what it is, where it comes from.",
    "new": "Write a working plugin and its test, to be changed into your own, and say the next commands.",
    "check": "Run the conformance kit over a plugin, one line a check.",
    "run": "Put a defense against an attacker; print the table with arms, controls, interval and audibility.",
    "matrix": "Run a suite: the TOML file that names a matrix of trials.",
    "gate": "Run a suite and fail if protection regressed. Exit codes: 1 regressed or to be accepted, 3 incomplete.",
    "verify": "Check records that somebody else made: arithmetic, provenance, and a sample that is run again.",
    "leaderboard": "Render records into web pages with sound, and into Markdown, CSV, JSON and SQLite.",
    "listen": "Hear a trial: clean, protected, the noise alone, after the response, and what models generate.",
    "export": "Give the records of a suite to an experiment tracker: a run a trial. Exporting again doubles nothing.",
    "protect": "Protect a sound file or a MIDI file and say what that did to the sound or the notes.",
    "doctor": "Say what is installed, which weights and data sets are found, and what each lacking thing disables.",
}
_MODULES = {"protect": "protect_file"}

app = App(
    name="bench",
    help="The adversarial benchmark for unlearnable audio and music: every defense against every attacker.",
    version=__version__,
    help_format="plaintext",
    help_epilogue=(
        "Examples:\n"
        "  bench list\n"
        "  bench run --defense harmonycloak --attacker musicgen\n"
        "  bench run --defense harmonycloak --attacker musicgen --adapt mp3 --adapt resample\n"
        "  bench protect song.wav -o protected.wav --defense harmonycloak\n"
    ),
)
for _name, _summary in SUMMARIES.items():
    app.command(f"bench.commands.{_MODULES.get(_name, _name)}:app", name=_name, help=_summary)


def main(words: Sequence[str] | None = None) -> None:
    """Run the command and exit. Bad input is one line on standard error and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that is not UTF-8 shows "?", not a traceback
            stream.reconfigure(errors="replace")
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
    raise SystemExit(code if isinstance(code, int) else OK)


def _refuse(line: str) -> int:
    print(f"bench: {line}", file=sys.stderr)
    return BAD_INPUT
