"""What the checks share: a plugin under test, the comparison of sets, and watches over randomness and the network."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy
import torch
from torch import Tensor

from bench.api import Data
from bench.errors import DataError
from bench.vocabulary import DomainName, Kind, PerDomain

STANDARD_ERRORS = 3.0  # by how many of them a trained attacker must beat the untrained one
_TENSORS: PerDomain[tuple[str, ...]] = PerDomain(audio=("audio",), midi=("velocity", "onset"))
_SOUND = ("audio", "stems", "stem_names", "velocity", "onset")  # what protecting changes; all else stays


Function = Callable[["Case"], None]  # a check


class Skipped(Exception):
    """A check that cannot be made here, and why."""


@dataclass(frozen=True)
class Case:
    """One plugin in one domain, and what its checks have made so far."""

    kind: Kind
    plugin: Any
    domain: DomainName = "audio"
    kept: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives, made at the first call only; its error is kept too."""
        if name not in self.kept:
            try:
                self.kept[name] = (make(), None)
            except Exception as error:
                self.kept[name] = (None, error)
        value, failure = self.kept[name]
        if failure is not None:
            raise failure
        return value


def energy(data: Tensor) -> Tensor:
    """[item]"""
    return data.square().flatten(1).sum(1)


def sounds(one: Data, other: Data) -> Iterator[tuple[str, Tensor, Tensor]]:
    """The tensors of sound in two sets of one kind, side by side."""
    for name in _TENSORS.of(one):
        yield name, getattr(one, name), getattr(other, name)


def same_bits(one: Data, other: Data, sentence: str) -> None:
    assert one.ids == other.ids, f"{sentence}: other ids"
    for name, a, b in sounds(one, other):
        assert torch.equal(a, b), f"{sentence}: {name} differs"


def same_set(before: Data, after: Data, leaving: tuple[str, ...] = ()) -> None:
    """All but the sound is as it was."""
    assert type(after) is type(before), f"{type(before).__name__} became {type(after).__name__}"
    for item in dataclasses.fields(before):
        if item.name in (*_SOUND, *leaving):
            continue
        old, new = getattr(before, item.name), getattr(after, item.name)
        tensors = isinstance(old, Tensor) and isinstance(new, Tensor)
        equal = torch.equal(old, new) if tensors else old is new or old == new
        assert equal, f"{item.name} was {old}, is {new}"


def valid(data: Data, what: str) -> None:
    try:
        data.check(what)
    except DataError as error:
        raise AssertionError(str(error)) from error


def better(trained: Mapping[str, Tensor], untrained: Mapping[str, Tensor], test: Data) -> None:
    """The first metric's mean rose by more than 3 standard errors; items of one group count as one."""
    name = next(iter(trained))
    risen = (trained[name] - untrained[name]).double().cpu()
    groups = sorted(set(test.groups))
    means = torch.stack([risen[[i for i, g in enumerate(test.groups) if g == group]].mean() for group in groups])
    error = float(means.std()) / len(means) ** 0.5 if len(means) > 1 else float("inf")
    rise = float(means.mean())
    assert rise > STANDARD_ERRORS * error, (
        f"'{name}' rose by {rise:.4g} with a standard error of {error:.4g} over {len(means)} groups, "
        f"expected more than {STANDARD_ERRORS:g} standard errors"
    )


@contextlib.contextmanager
def global_generators_unmoved() -> Iterator[None]:
    """The block draws from none of the global generators, nor seeds them."""
    before = _global_state()
    yield
    moved = [name for name, state in _global_state().items() if state != before[name]]
    assert not moved, f"moved the global generator of {', '.join(moved)}: use the generator that is handed in"


@contextlib.contextmanager
def global_generators_elsewhere() -> Iterator[None]:
    """Inside the block, the global generators are at another state; afterwards they are back."""
    states = torch.get_rng_state(), numpy.random.get_state(), random.getstate()
    torch.rand(7)
    numpy.random.rand(7)
    random.random()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        numpy.random.set_state(states[1])
        random.setstate(states[2])


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Inside the block, connections and name look-ups are refused, and asking for one fails the check."""
    hosts: list[str] = []

    def refuse(*args: Any, **kwargs: Any) -> Any:
        hosts.append(str(args[1] if isinstance(args[0], socket.socket) else args[0]))
        raise OSError("the conformance kit allows no network")

    with contextlib.ExitStack() as patches:
        for name in ("connect", "connect_ex"):
            patches.enter_context(mock.patch.object(socket.socket, name, refuse))
        patches.enter_context(mock.patch.object(socket, "getaddrinfo", refuse))
        try:
            yield
        finally:
            assert not hosts, f"asked the network for {hosts[0]}"


def _global_state() -> dict[str, Any]:
    legacy: Any = numpy.random.get_state()
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (legacy[1].tobytes(), *legacy[2:]),
        "random": random.getstate(),
    }
