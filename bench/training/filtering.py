"""Selection of training items by a model that was trained on all of them: short trainings, losses, gradients.

What is left is trained on with as many optimiser steps as the whole set (`epoch_items`), so that what differs is the
data.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, cast

import torch
from torch import Generator, Tensor, nn

from bench.api import Attacker, Clips, Rolls
from bench.training.hardening import evaluating
from bench.training.learning import seeded

__all__ = ["gradient_sketch", "losses", "shortened", "without"]

S = TypeVar("S", bound=Clips | Rolls)
_AT_ONCE = 16  # items of one forward pass
_STEP = 0.01  # of a difference, relative to the weights


def shortened(attacker: Attacker[Any], share: float) -> Attacker[Any]:
    """Return the attacker with a part of its budget.

    Args:
        attacker: The attacker.
        share: Share of its `epochs`, or of its `steps` where it has no epochs; at least one remains.

    Returns:
        The attacker; as it is if it counts its training by neither.
    """
    name = "steps" if attacker.epochs is None else "epochs"
    count = getattr(attacker, name, None)
    if not isinstance(count, int):
        return attacker
    changed: Attacker[Any] = dataclasses.replace(attacker, **{name: max(1, round(share * count))})  # type: ignore[type-var]
    return changed


def losses(attacker: Attacker[Any], model: nn.Module, data: Clips | Rolls, rng: Generator) -> Tensor:
    """Compute the attacker's loss of every item, in evaluation mode and without a gradient.

    Args:
        attacker: The attacker.
        model: A model of the attacker's.
        data: The items.
        rng: Seeds what the loss draws; the same state, the same losses.

    Returns:
        float64 [item]; what is not finite is the largest finite number.
    """
    parts = torch.split(torch.arange(len(data), device=data.device), _AT_ONCE)
    with seeded(rng), evaluating(model), torch.no_grad():
        values = torch.cat([attacker.loss(model, data.select(part)).detach() for part in parts]).double()
    return values.nan_to_num(nan=torch.finfo(torch.float32).max, posinf=torch.finfo(torch.float32).max)


def gradient_sketch(
    attacker: Attacker[Any], model: nn.Module, data: Clips | Rolls, directions: int, rng: Generator
) -> Tensor:
    """Project the gradient of every item's loss onto random directions of the trained weights.

    Distances between gradients are kept up to a factor by such a projection (Johnson and Lindenstrauss). The
    projections are central differences, two forward passes over the set for each direction, so that no item needs a
    backward pass of its own.

    Args:
        attacker: The attacker.
        model: A model of the attacker's; its weights are moved, and restored.
        data: The items.
        directions: Number of directions.
        rng: Draws the directions.

    Returns:
        float64 [item, direction].
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    original = [weight.detach().clone() for weight in weights]
    count = sum(weight.numel() for weight in weights)
    size = torch.stack([weight.square().sum() for weight in original]).sum().div(count).sqrt().clamp_min(1e-6)
    step = _STEP * size
    columns = []
    try:
        for _ in range(directions):
            drawn = [torch.randn(weight.shape, generator=rng, device=rng.device) for weight in original]
            seed = int(torch.randint(2**31, (), generator=rng, device=rng.device))
            sides = []
            for sign in (1.0, -1.0):
                with torch.no_grad():
                    for weight, base, direction in zip(weights, original, drawn, strict=True):
                        weight.copy_(base + sign * step * direction.to(base))
                sides.append(losses(attacker, model, data, Generator(rng.device).manual_seed(seed)))
            columns.append((sides[0] - sides[1]) / (2 * step.double()))
    finally:
        with torch.no_grad():
            for weight, base in zip(weights, original, strict=True):
                weight.copy_(base)
    return torch.stack(columns, 1)


def without(data: S, suspicion: Tensor, most: int) -> S:
    """Leave out the items of the highest suspicion; at least one of each class, and one of the set, stays.

    Args:
        data: The set.
        suspicion: float [item], higher is more suspicious; -inf never leaves.
        most: How many items leave at most.

    Returns:
        The others in their order, with the `epoch_items` of the whole set.
    """
    order = suspicion.argsort(stable=True)  # the least suspicious first
    keep = torch.ones(len(data), dtype=torch.bool, device=data.device)
    keep[order[len(data) - min(most, len(data)) :]] = False
    keep |= suspicion == -torch.inf
    keep[order[:1]] = True
    if data.labels is not None:
        rank = torch.empty_like(order).scatter(0, order, torch.arange(len(data), device=data.device))
        first = torch.full((len(data.classes),), len(data), device=data.device)
        first = first.scatter_reduce(0, data.labels, rank, "amin")
        keep[order[first[first < len(data)]]] = True
    rest = data.select(keep.nonzero()[:, 0])
    return cast("S", dataclasses.replace(rest, whole=data.epoch_items))
