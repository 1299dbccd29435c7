"""Style of music, judged by the labels of its nearest real neighbours.

The HarmonyCloak paper (Table 10) asks listeners what share of the rock that a model generates is judged to be rock.
Here neighbours judge: a roll belongs to a style if its nearest real rolls are all of that class. This needs no model
that could have learnt from what is judged, and works for generators that are not told which style to write.
"""

from __future__ import annotations

import math

import torch

from bench.api import Rolls
from bench.metrics.symbolic import features

__all__ = ["style_purity"]

_FLOOR = 0.02  # of a feature's deviation, all features lying in 0..1: what hardly varies decides nothing


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
    base, seen = features(real).double(), features(rolls).double()
    scale = base.std(0).clamp(min=_FLOOR)
    far = torch.cdist(seen / scale, base / scale)
    own = {name: at for at, name in enumerate(real.ids)}
    for row, name in enumerate(rolls.ids):
        if name in own and torch.equal(seen[row], base[own[name]]):
            far[row, own[name]] = math.inf
    nearest = real.labels[far.topk(neighbours, largest=False).indices]
    return float((nearest == nearest[:, :1]).all(1).double().mean())
