"""Terms and small values shared by the contract and the results: kinds, domains, controls, presets, validity checks.

Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Literal, Protocol, TypeVar, get_args

from bench.errors import UsageError, unknown

__all__ = [
    "DOMAINS", "PRESETS", "Content", "Control", "DomainName", "Kind", "Needs", "Optimizer", "Per", "PerDomain",
    "Preset", "Requirement", "Status", "Task", "ValidityCheck",
]  # fmt: skip

Kind = Literal["defenses", "attackers", "adaptations", "datasets"]
DomainName = Literal["audio", "midi"]
Preset = Literal["smoke", "small", "full"]
Per = Literal["", "clip", "class", "set"]  # the items that share one perturbation; "" where that has no meaning
Task = Literal["", "classify"]
Content = Literal["", "speech"]
Status = Literal["passed", "failed", "skipped"]  # of one check of the conformance kit
Optimizer = Literal["sgd", "adam"]
Requirement = Literal["labels", "pairs", "granted"]  # what an adaptation needs beside the published items

DOMAINS: tuple[DomainName, ...] = get_args(DomainName)
PRESETS: tuple[Preset, ...] = get_args(Preset)


class Control(StrEnum):
    """The kind of control that a defense is, if it is one. Its value is that in records."""

    NONE = ""  # a defense of its own
    CLEAN = "clean"  # returns the data as it is
    MATCHED = "matched"  # as audible as another defense, whose protected set is `Knowledge.reference`
    SCRAMBLE = "scramble"  # destroys the content, so it must score about 1

    @property
    def is_clean(self) -> bool:
        """Whether the published items are the unprotected ones."""
        return self is Control.CLEAN

    @property
    def is_matched(self) -> bool:
        """Whether it is matched in audibility to another defense."""
        return self is Control.MATCHED


@dataclass(frozen=True)
class Needs:
    """The resources of one stage of a plugin: the executors reserve them, and set torch's threads to `cpus`.

    Several stages share an accelerator as long as the sum of their needs fits into its memory.
    """

    cpus: int = 1
    memory_gb: float = 2.0  # of the host
    accelerator_gb: float = 2.0  # of an accelerator, where there is one; 0: it always runs on processors


@dataclass(frozen=True)
class ValidityCheck:
    """A condition without which a cell is void.

    Attributes:
        name: what is checked, in a few words.
        passed: whether the condition holds.
        value: what was measured; NaN where it could not be.
        limit: what `value` is compared with.
        meaning: one sentence that says what `value` is.
    """

    name: str
    passed: bool
    value: float
    limit: float
    meaning: str


class _OfDomain(Protocol):
    """A set of items, or its class."""

    @property
    def domain(self) -> DomainName: ...


T = TypeVar("T")


class PerDomain(Generic[T]):
    """One value for each domain of data; an unknown domain is an error and never falls into a default branch.

    Every difference between audio and MIDI is such a table, so that a third domain fails at once where it is not
    supported yet.

    Args:
        values: Domain -> value, for every domain.

    Raises:
        TypeError: A domain is missing or unknown.
    """

    def __init__(self, **values: T):
        if values.keys() != set(DOMAINS):
            raise TypeError(f"values for {', '.join(values)}: expected one for each of {', '.join(DOMAINS)}")
        self._values = values

    def __getitem__(self, domain: str) -> T:
        """Return the value for a domain by name. Raise `UsageError` for an unknown one."""
        if domain not in self._values:
            raise UsageError(unknown("domain", domain, DOMAINS))
        return self._values[domain]

    def of(self, data: _OfDomain) -> T:
        """Return the value for the domain of a set.

        Args:
            data: A set of items, or its class.

        Returns:
            The value.
        """
        return self[data.domain]
