"""What a model memorised of some items, for tests of attackers that continue."""

from __future__ import annotations

from typing import Any

from torch import nn

from bench.api import Data
from bench.results.memorisation import Memorisation, memorisation
from bench.results.record import Record
from bench.trials.memorising import rated
from tests.attackers.examples import rng
from tests.factories import trial


def known(attacker: Any, model: nn.Module, reference: nn.Module, published: Data, unpublished: Data) -> Memorisation:
    """Return what a model knows of published items beside unpublished ones, over a reference."""
    models = {"protected": model, "clean": model, "untrained": reference}
    values = {
        name: rated(attacker, each.eval(), published, unpublished, rng()).tolist() for name, each in models.items()
    }
    found = memorisation([Record(key="0", status="ok", trial=trial("cloak"), memorisation=values)])
    assert found is not None
    return found


def own_and_other(
    attacker: Any, reference: nn.Module, published: Data, others: Data, unpublished: Data
) -> tuple[Memorisation, Memorisation]:
    """Return what a model that learned the published items knows of them, and what one that learned others does."""
    own, other = (
        known(attacker, attacker.learn(train, train, rng()), reference, published, unpublished)
        for train in (published, others)
    )
    return own, other
