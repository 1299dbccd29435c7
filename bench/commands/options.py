"""Options that several commands share, and the types of their values.

This module and the head of every command's module import nothing heavy, so that `--help` and `list` are quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from bench.devices import check_name

Knows = Literal["white-box", "ensemble", "black-box", "none"]
Place = Literal["local", "ray"]
Display = Literal["auto", "rich", "plain", "none"]
Many = Annotated[list[str] | None, Parameter(negative="", consume_multiple=False)]
Sets = Annotated[list[str] | None, Parameter(name="--set", negative="", consume_multiple=False)]
Flag = Annotated[bool, Parameter(negative="")]


def _processes(type_: object, value: int | None) -> None:
    """Refuse fewer than one process."""
    if value is not None and value < 1:
        raise ValueError("expected 1 or more; by default one a core")


def _device(type_: object, value: str) -> None:
    """Refuse what is no name of a device."""
    check_name(value)


Device = Annotated[str, Parameter(allow_leading_hyphen=False, validator=_device)]


@Parameter(name="*")
@dataclass(frozen=True)
class Execution:
    """Where and how the stages of a command are run."""

    on: Place = "local"
    """Where the stages run."""
    jobs: Annotated[int | None, Parameter(validator=_processes)] = None
    """Processes; default: one a core."""
    device: Device = "auto"
    """auto (an accelerator where there is one), cpu, cuda, or cuda:N."""
    store: str | None = None
    """Folder or fsspec URL of the artefacts; default: $BENCH_STORE, else the user's cache."""
    display: Display = "auto"
    """Progress as bars, as lines, or not at all."""


@Parameter(name="*")
@dataclass(frozen=True)
class Rerun(Execution):
    """Where the sample is run."""

    store: str | None = None
    """Where the sample is run; default: a temporary folder. What is in a store already is not done again."""
