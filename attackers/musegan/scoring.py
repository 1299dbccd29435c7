"""How near a generator is to real windows: the energy score in the space of symbolic features."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api import Rolls
from bench.metrics.symbolic import features

__all__ = ["Scale", "energy", "scale"]

_FLOOR, _CLIP = 0.05, 5.0  # least standard deviation of a feature in 0..1; standard deviations beyond which none counts
Scale = tuple[Tensor, Tensor]  # mean and standard deviation, [feature] each


def scale(real: Rolls) -> Scale:
    """What features are standardised by: those of the real set."""
    values = features(real)
    return values.mean(0), values.std(0, correction=0).clamp(min=_FLOOR)


def energy(real: Rolls, generated: Rolls, by: Scale) -> Tensor:
    """[window]: minus the energy score of each real window under the generated ones; higher is nearer.

    ES(G, x) = E |f(x) - f(g)| - 1/2 E |f(g) - f(g')| is least in the mean over x if G is where x comes from (a proper
    score: Gneiting and Raftery, JASA 2007, section 4.3), so that neither blurred nor repeated music is rewarded.
    """
    mean, deviation = by
    x, g = (((features(rolls) - mean) / deviation).clamp(-_CLIP, _CLIP) for rolls in (real, generated))
    return 0.5 * torch.nn.functional.pdist(g).mean() - torch.cdist(x, g).mean(1)
