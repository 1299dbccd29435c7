"""Which cells a suite's `exclude` rules leave out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.results.suite import Suite

__all__ = ["excluded", "matches_all"]


def excluded(suite: Suite, cell: Mapping[str, Any]) -> bool:
    """Return whether any rule of a suite leaves a cell out."""
    return any(matches_all(cell, rule) for rule in suite.exclude)


def matches_all(cell: Mapping[str, Any], rule: Mapping[str, Any]) -> bool:
    """Return whether a cell has, for every key of a rule, the rule's value or one of its list."""
    return all(
        cell[key] in pattern if isinstance(pattern, list) else cell[key] == pattern for key, pattern in rule.items()
    )
