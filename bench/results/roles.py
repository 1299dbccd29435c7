"""The roles that plugins have in a trial: the one table from which records, rebuilt trials and pages list them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from bench.vocabulary import Kind

__all__ = ["ROLES", "Role", "map_parts", "parts_of"]


@dataclass(frozen=True)
class Role:
    """A role of plugins in a trial.

    Attributes:
        name: the field of a trial and of a `TrialRecord`.
        kind: which plugins can have it.
        title: what pages call it.
        many: whether several plugins may have it.
    """

    name: str
    kind: Kind
    title: str
    many: bool = False


# In the order of what happens.
ROLES = (
    Role("dataset", "datasets", "data set"),
    Role("replacement", "datasets", "replacement"),  # other material that the attacker trains on as well
    Role("defense", "defenses", "defense"),
    Role("reference", "defenses", "matched to"),  # of a matched control
    Role("surrogates", "attackers", "surrogate", many=True),
    Role("expects", "adaptations", "expects", many=True),
    Role("adaptation", "adaptations", "adaptation"),
    Role("attacker", "attackers", "attacker"),
)


def parts_of(trial: Any) -> Iterator[tuple[Role, Any]]:
    """Yield the plugins of a trial, each with its role; of a chain of adaptations its links.

    Args:
        trial: A `bench.trials.trial.Trial`, or the `TrialRecord` of a record.

    Yields:
        Role and plugin: a `Part` of a trial, a `PartRecord` of a record. From the second link of the trial's own
        adaptation on, the role has a number: `adaptation_2`.
    """
    for role in ROLES:
        value = getattr(trial, role.name)
        for part in value if role.many else (value,):
            if part is None:
                continue
            for place, link in enumerate(part.links or (part,), start=1):
                yield role if role.many else _at(role, place), link


def _at(role: Role, place: int) -> Role:
    """Return the role of a link at a place of a chain."""
    return replace(role, name=f"{role.name}_{place}", title=f"{role.title} {place}") if place > 1 else role


def map_parts(trial: Any, function: Callable[[Role, Any], Any]) -> dict[str, Any]:
    """Apply a function to every plugin of a trial, and return the fields of another form of the same trial.

    Args:
        trial: A `bench.trials.trial.Trial`, or the `TrialRecord` of a record.
        function: Maps a role and its plugin, or its chain as a whole, to a value.

    Returns:
        Name of the role -> the value; a tuple for a role of several plugins, None for a role without one.
    """
    fields: dict[str, Any] = {}
    for role in ROLES:
        value = getattr(trial, role.name)
        if role.many:
            fields[role.name] = tuple(function(role, part) for part in value)
        else:
            fields[role.name] = None if value is None else function(role, value)
    return fields
