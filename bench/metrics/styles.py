"""Style of generated music by the labels of its nearest real neighbours.

The HarmonyCloak paper (Table 10) asks listeners what share of the rock that a model generates is judged to be rock.
Here nearest neighbours replace the listeners: a roll belongs to a style if its nearest real rolls are all of that
class. This needs no trained judge, which could have learnt from the evaluated music, and works for generators that are
not conditioned on style.
"""

from __future__ import annotations

import math

import torch

from bench.api import Rolls
from bench.metrics.symbolic import features

__all__ = ["style_purity"]

_FLOOR = 0.02  # least standard deviation of a feature (in 0..1), so that nearly constant ones have little weight


def style_purity(real: Rolls, rolls: Rolls, neighbours: int = 3) -> float:
    """Compute the share of rolls whose nearest neighbours in a real, labelled set are all of one class.

    Args:
        real: the labelled set.
        rolls: the set to judge. A roll that is in both sets (by id and features) is no neighbour of its own.
        neighbours: how many count, by Euclidean distance of `bench.metrics.symbolic.features`, each feature divided by
            its standard deviation in the real set.

    Returns:
        0..1; NaN for fewer than two classes or too few rolls.
    """
    if real.labels is None or len(set(real.labels.tolist())) < 2 or len(real) <= neighbours or not len(rolls):
        return math.nan
    base, evaluated = features(real).double(), features(rolls).double()
    scale = base.std(0).clamp(min=_FLOOR)
    distance = torch.cdist(evaluated / scale, base / scale)
    index_of = {name: index for index, name in enumerate(real.ids)}
    for row, name in enumerate(rolls.ids):
        if name in index_of and torch.equal(evaluated[row], base[index_of[name]]):
            distance[row, index_of[name]] = math.inf
    nearest = real.labels[distance.topk(neighbours, largest=False).indices]
    return float((nearest == nearest[:, :1]).all(1).double().mean())
