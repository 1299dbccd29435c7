"""Shared parts of the checks: a plugin under test, comparisons of sets, guards of global randomness and the network."""

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

STANDARD_ERRORS = 3.0  # by which a trained attacker must exceed the untrained one
_TENSORS: PerDomain[tuple[str, ...]] = PerDomain(audio=("audio",), midi=("velocity", "onset"))
_SOUND = ("audio", "stems", "stem_names", "velocity", "onset")  # the fields that protection may change


Function = Callable[["Case"], None]  # a check


class Skipped(Exception):
    """The check cannot run here; the message says why."""


@dataclass(frozen=True)
class Case:
    """One plugin in one domain, and the cached results of its checks."""

    kind: Kind
    plugin: Any
    domain: DomainName = "audio"
    cache: dict[str, Any] = field(default_factory=dict)

    def cached(self, name: str, make: Callable[[], Any]) -> Any:
        """Return a value that is computed at the first call only; an error is cached too.

        Args:
            name: The key in the cache.
            make: Computes the value.

        Returns:
            The value.

        Raises:
            Exception: What `make` raised.
        """
        if name not in self.cache:
            try:
                self.cache[name] = (make(), None)
            except Exception as error:
                self.cache[name] = (None, error)
        value, failure = self.cache[name]
        if failure is not None:
            raise failure
        return value


def energy(data: Tensor) -> Tensor:
    """Return the sum of squares of each item.

    Args:
        data: [item, ...].

    Returns:
        [item].
    """
    return data.square().flatten(1).sum(1)


def sounds(first: Data, second: Data) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield the signal tensors of two sets of one kind, pairwise.

    Args:
        first: A set.
        second: A set of the same kind.

    Returns:
        An iterator over (field name, tensor of the first, tensor of the second).
    """
    for name in _TENSORS.of(first):
        yield name, getattr(first, name), getattr(second, name)


def same_bits(first: Data, second: Data, sentence: str) -> None:
    """Require that two sets have the same ids and bit-identical signals.

    Args:
        first: A set.
        second: A set of the same kind.
        sentence: The beginning of the error.

    Raises:
        AssertionError: They differ.
    """
    assert first.ids == second.ids, f"{sentence}: other ids"
    for name, a, b in sounds(first, second):
        assert torch.equal(a, b), f"{sentence}: {name} differs"


def same_set(before: Data, after: Data, leaving: tuple[str, ...] = ()) -> None:
    """Require that all fields but the signal are unchanged.

    Args:
        before: The original set.
        after: The changed set.
        leaving: Further fields that may change.

    Raises:
        AssertionError: A field differs.
    """
    assert type(after) is type(before), f"{type(before).__name__} became {type(after).__name__}"
    for item in dataclasses.fields(before):
        if item.name in (*_SOUND, *leaving):
            continue
        old, new = getattr(before, item.name), getattr(after, item.name)
        tensors = isinstance(old, Tensor) and isinstance(new, Tensor)
        equal = torch.equal(old, new) if tensors else old is new or old == new
        assert equal, f"{item.name} is {new}, expected {old}"


def valid(data: Data, name: str) -> None:
    """Require that a set passes its own `check`.

    Args:
        data: The set.
        name: Its name in the error.

    Raises:
        AssertionError: It does not.
    """
    try:
        data.check(name)
    except DataError as error:
        raise AssertionError(str(error)) from error


def better(trained: Mapping[str, Tensor], untrained: Mapping[str, Tensor], test: Data) -> None:
    """Require that the first metric's mean rose by more than 3 standard errors; items of one group count as one.

    Args:
        trained: Metric -> [item] of the trained model.
        untrained: The same of the untrained one.
        test: The set that was evaluated.

    Raises:
        AssertionError: It did not.
    """
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
    """Require that the block neither draws from nor seeds the global generators.

    Returns:
        A context manager.

    Raises:
        AssertionError: One of them changed.
    """
    before = _global_state()
    yield
    changed = [name for name, state in _global_state().items() if state != before[name]]
    assert not changed, f"it changed the global generator of {', '.join(changed)}: use the generator that it is given"


@contextlib.contextmanager
def global_generators_elsewhere() -> Iterator[None]:
    """Give the global generators another state inside the block, and restore them afterwards.

    Returns:
        A context manager.
    """
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
    """Refuse connections and name look-ups inside the block, and fail the check if one was attempted.

    Returns:
        A context manager.

    Raises:
        AssertionError: The network was used.
    """
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
            assert not hosts, f"it tried to connect to {hosts[0]}, expected no use of the network"


def _global_state() -> dict[str, Any]:
    legacy: Any = numpy.random.get_state()
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (legacy[1].tobytes(), *legacy[2:]),
        "random": random.getstate(),
    }
