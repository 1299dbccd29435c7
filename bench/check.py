"""The conformance kit: does a plugin satisfy the contract of `bench.api`?

`checks(kind, plugin)` yields named checks. They are used by `bench check NAME`, by two lines in the author's own tests,

    @pytest.mark.parametrize("check", checks("defenses", MyDefense()), ids=str)
    def test_contract(check): check.run()

and by this repository's tests, for every plugin. A check's `run` returns, or raises `AssertionError` with a sentence,
or `Skipped` with the reason (an optional package, weights or data are missing).

A plugin may declare class attributes that change a rule:

    control = "clean"       a defense that leaves the data as it is
    deterministic = True    a defense that does not use the generator
    joint = True            a defense whose noise for a clip depends on the other clips
    aligned = False         an adaptation that moves the sound in time

The example sets are generated; an attacker is checked on the data set that its attribute `dataset` names.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from bench import declarations
from bench._kit import adaptation, attacker, dataset, defense, plugin
from bench._kit.case import Case, Function, Skipped
from bench.errors import UsageError
from bench.vocabulary import Kind

__all__ = ["KIT_VERSION", "Check", "Outcome", "Skipped", "checks", "outcome"]

_BY_KIND = {"defenses": defense, "attackers": attacker, "adaptations": adaptation, "datasets": dataset}
KIT_VERSION = 2  # increased when a check is added or made stricter, so that a plugin that passed may fail


@dataclass(frozen=True)
class Check:
    """One property of one plugin. `run` raises `AssertionError` or `Skipped`; what the plugin raises passes through."""

    name: str
    meaning: str
    run: Callable[[], None]
    slow: bool = False  # trains a model

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Outcome:
    """The result of a check, and its reason where it did not pass."""

    check: Check
    status: Literal["passed", "failed", "skipped"]
    reason: str = ""


def checks(kind: Kind, instance: Any) -> Iterator[Check]:
    """Yield every check for an instance of a plugin, once for each of its domains where that matters. Nothing runs yet.

    Args:
        kind: "defenses", "attackers", "adaptations" or "datasets".
        instance: The plugin, built with the preset `smoke`.

    Returns:
        An iterator over checks.
    """
    case = Case(kind, instance)
    if not isinstance(instance, declarations.BASES[kind]):
        yield _check(plugin.fits_the_contract, case)
        return
    for function in plugin.CHECKS:
        yield _check(function, case)
    domains = instance.domains
    for domain in domains:
        case = Case(kind, instance, domain)
        for function in _BY_KIND[kind].CHECKS:
            applies = _BY_KIND[kind].ONLY_IF.get(function)
            if applies is None or applies(case):
                yield _check(function, case, suffix=f" ({domain})" if len(domains) > 1 else "")


def outcome(check: Check) -> Outcome:
    """Run a check and return its result. A crash of the plugin is a failure that names the exception.

    Args:
        check: The check.

    Returns:
        The result.

    Raises:
        UsageError: Python runs with -O, which removes assertions.
    """
    try:
        check.run()
    except Skipped as reason:
        return Outcome(check, "skipped", str(reason))
    except AssertionError as error:
        # pytest, where it rewrites the kit's assertions, appends what it evaluated to the kit's own sentence.
        return Outcome(check, "failed", str(error).partition("\nassert ")[0])
    except Exception as error:
        return Outcome(check, "failed", f"{type(error).__name__}: {error}")
    return Outcome(check, "passed")


def _check(function: Function, case: Case, suffix: str = "") -> Check:
    meaning = " ".join((function.__doc__ or "").split())
    name = function.__name__.replace("_", " ") + suffix
    return Check(name, meaning, functools.partial(_run, function, case), slow=function in attacker.SLOW)


def _run(function: Function, case: Case) -> None:
    """Run a check; skip it where a package is not installed."""
    if not __debug__:
        raise UsageError("the conformance kit uses assertions, which python -O removes: run Python without -O")
    try:
        function(case)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package and package not in sys.modules and importlib.util.find_spec(package) is None:
            raise Skipped(f"needs the package '{package}', which is not installed") from error
        raise
