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
    """Compute the mean and standard deviation that features are standardised by.

    Args:
        real: windows.

    Returns:
        float [feature] each; deviations are at least 0.05.
    """
    values = features(real)
    return values.mean(0), values.std(0, correction=0).clamp(min=_FLOOR)


def energy(real: Rolls, generated: Rolls, by: Scale) -> Tensor:
    """Compute minus the energy score of real windows under generated ones; higher is better.

    ES(G, x) = E |f(x) - f(g)| - 1/2 E |f(g) - f(g')|, a proper score (Gneiting and Raftery, JASA 2007, section 4.3):
    its mean over x is lowest for a generator with the distribution of x, so neither blurred nor repeated music is
    rewarded.

    Args:
        real: windows x.
        generated: windows g.
        by: mean and deviation of the features f, as `scale` returns them.

    Returns:
        float [window], one for each real window.
    """
    mean, deviation = by
    x, g = (((features(rolls) - mean) / deviation).clamp(-_CLIP, _CLIP) for rolls in (real, generated))
    return 0.5 * torch.nn.functional.pdist(g).mean() - torch.cdist(x, g).mean(1)
