"""The command's frame: its name and help, the exit codes, and the kinds of words that several commands take.

Results go to standard output, talk to standard error. Exit codes: 0 done, 1 a score or a record does not hold, 2 bad
input, 3 some trials failed or a check did, 130 interrupted.
"""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter

from bench import __version__

Kind = Literal["defenses", "attackers", "adaptations", "datasets"]
Preset = Literal["smoke", "small", "full"]
Knows = Literal["white-box", "ensemble", "black-box", "none"]
Place = Literal["local", "ray"]
Display = Literal["auto", "rich", "plain", "none"]


def _processes(type_: object, value: int | None) -> None:
    """Refuse fewer than one process."""
    if value is not None and value < 1:
        raise ValueError("expected 1 or more; by default one a core")


Jobs = Annotated[int | None, Parameter(validator=_processes)]
Many = Annotated[list[str] | None, Parameter(negative="", consume_multiple=False)]
Sets = Annotated[list[str] | None, Parameter(name="--set", negative="", consume_multiple=False)]

What = Literal["defense", "attacker", "adaptation", "dataset"]

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
