"""Options that several commands share, and the types of their values.

This module and the head of every command's module import nothing heavy, so that `--help` and `list` are quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from bench.devices import check_name

KnowledgeName = Literal["white-box", "ensemble", "black-box", "none"]
Executor = Literal["local", "ray"]
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
    """Where and how the stages of a command are run.

    The strings below the fields are their help texts.
    """

    on: Executor = "local"
    """What runs the stages (load, protect, train, evaluate): processes on this machine, or a Ray cluster."""
    jobs: Annotated[int | None, Parameter(validator=_processes)] = None
    """Number of worker processes; default: one per CPU core."""
    device: Device = "auto"
    """Device for crafting and training: auto (an accelerator if there is one), cpu, cuda, or cuda:N."""
    store: str | None = None
    """Store of protected sets, models and other results of stages: folder or URL; default: $BENCH_STORE or a cache."""
    display: Display = "auto"
    """Progress display: bars (rich), a line per event (plain), or nothing; auto: bars on a terminal, else lines."""


@Parameter(name="*")
@dataclass(frozen=True)
class Rerun(Execution):
    """Where and how a sample of trials is run again."""

    store: str | None = None
    """Store for the second run; default: a temporary folder. Stages that a given store holds are not run again."""
