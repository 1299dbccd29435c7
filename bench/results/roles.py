"""The plugins of a record by the roles that they have in its trial."""

from __future__ import annotations

from bench.results.record import PartRecord, Record
from bench.vocabulary import Kind

__all__ = ["recorded_parts", "single_roles"]


def recorded_parts(record: Record) -> list[tuple[str, Kind, PartRecord]]:
    """Return role, kind and plugin of every plugin that a record names; surrogates and expected ones come last."""
    parts: list[tuple[str, Kind, PartRecord]] = [(role, *found) for role, found in single_roles(record).items()]
    parts += [("surrogate", "attackers", part) for part in record.trial.surrogates]
    parts += [("expected", "adaptations", part) for part in record.trial.expects]
    return parts


def single_roles(record: Record) -> dict[str, tuple[Kind, PartRecord]]:
    """Return the roles that one plugin has, where the trial has that role: role -> (kind, plugin)."""
    asked = record.trial
    roles: dict[str, tuple[Kind, PartRecord | None]] = {
        "dataset": ("datasets", asked.dataset),
        "defense": ("defenses", asked.defense),
        "attacker": ("attackers", asked.attacker),
        "adaptation": ("adaptations", asked.adaptation),
        "reference": ("defenses", asked.reference),
    }
    return {role: (kind, part) for role, (kind, part) in roles.items() if part is not None}
