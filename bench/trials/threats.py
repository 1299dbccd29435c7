"""The threat model of a trial: that of its suite, or what its data set declares."""

from __future__ import annotations

from bench.results.suite import Suite
from bench.results.threat import DeclaredThreat, declared_threat
from bench.trials.facts import facts

__all__ = ["threat_of"]


def threat_of(suite: Suite, dataset: str, domain: str) -> DeclaredThreat | None:
    """Return the threat model of a suite's trials on a data set.

    Args:
        suite: the suite.
        dataset: the data set's name in the suite.
        domain: in which the data set is loaded.

    Returns:
        The suite's own, else what the data set declares for the preset; None under score 1 and where neither has one.

    Raises:
        PluginError: the data set declares what is no threat model.
    """
    if suite.score == 1:
        return None
    if suite.threat:
        return DeclaredThreat(suite.threat)
    plugin, _ = suite.resolve("datasets", dataset)
    about = facts("datasets", plugin)
    return declared_threat(plugin, about.threat, about.domains, domain, suite.preset)
