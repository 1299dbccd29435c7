"""Perturbations by objectives other than a surrogate's loss: of its features, or of what an adversary adds.

`crafting` moves a perturbation by the loss alone, which every attacker has. Features are found without an interface of
the attacker: the last layer with a matrix of weights that a forward pass calls is the head of a classifier, and what
it is given are the features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from bench.api import Attacker, Clips, Log, silent_log
from bench.errors import UsageError
from bench.training import hardening
from bench.training.crafting import train_surrogates
from bench.training.perturbation import Noise

__all__ = ["Objective", "adversarial", "descend", "features", "hardened_surrogates"]

Objective = Callable[[Clips, Tensor], Tensor]
"""(perturbed clips, their indices in the set) -> float [clip], to be lowered; differentiable in the clips' audio."""


def features(attacker: Attacker[Any], model: nn.Module, batch: Clips) -> tuple[Tensor, Tensor]:
    """Return what the last layer of a model is given: the penultimate features of a classifier.

    Args:
        attacker: Its `loss` makes the forward pass.
        model: A model of the attacker.
        batch: The clips.

    Returns:
        Features, float [clip, feature], averaged over time and frequency where they have them; and the losses, float
        [clip]. Both are differentiable in the audio as far as the model is.

    Raises:
        UsageError: No layer of the model is called, or its input has no row a clip.
    """
    called: list[tuple[nn.Module, Tensor]] = []

    def keep(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        called[:] = [(layer, inputs[0])]

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)]
    handles = [layer.register_forward_pre_hook(keep) for layer in layers]
    try:
        losses = attacker.loss(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    if not called or len(called[0][1]) != len(batch) or called[0][1].dim() < 2:
        raise UsageError(
            f"no features of {type(attacker).__name__}: its last layer is not called with a row a clip, expected a "
            "surrogate whose network ends in a linear layer, such as mfcc"
        )
    layer, given = called[0]
    rows = given.movedim(-1, 1) if isinstance(layer, nn.Linear) else given
    return rows.flatten(2).mean(2) if rows.dim() > 2 else rows, losses


def descend(
    noise: Noise, data: Clips, objective: Objective, order: Tensor, *, steps: int, step: float, batch: int
) -> float:
    """Move noise that is not shared by sign steps down an objective.

    Args:
        noise: Changed in place.
        data: The clean clips.
        objective: What is lowered.
        order: int64 [clip], the order in which clips are put together in batches.
        steps: Of each clip.
        step: In units of the bound.
        batch: Clips at once.

    Returns:
        The mean of the objective before the last step; NaN without a step.
    """
    last: list[Tensor] = []
    for index in torch.split(order.to(data.device), batch):
        items, part = data.select(index), noise.select(index)
        for step_number in range(steps):
            signal = part.added(items).signal.requires_grad_()
            value = objective(items.with_signal(signal), index)
            if value.requires_grad:
                (slope,) = torch.autograd.grad(value.sum(), signal)
                part.move(slope, step)
            if step_number == steps - 1:
                last.append(value.detach())
        noise.update(index, part)
    return float(torch.cat(last).mean()) if last else float("nan")


def adversarial(
    attacker: Attacker[Any], model: nn.Module, batch: Clips, radius: float, steps: int, rng: Generator
) -> Clips:
    """Add to each recording the noise that raises a model's loss, by projected gradient ascent (Madry et al. 2018).

    Args:
        attacker: Its `loss` is raised.
        model: A model of the attacker, in evaluation mode meanwhile.
        batch: The clips.
        radius: Bound on |noise|, full scale 1.
        steps: Sign steps of 2.5 `radius` / `steps`, from a random start; 0: the random start alone.
        rng: Draws the start.

    Returns:
        The same clips, detached.
    """
    sound = batch.audio.detach()
    noise = (2 * torch.rand(sound.shape, generator=rng, device=rng.device).to(sound.device) - 1) * radius
    with hardening.evaluating(model):
        for _ in range(steps):
            noisy = ((sound + noise) * batch.support).clamp(-1.0, 1.0).requires_grad_()
            losses = attacker.loss(model, batch.with_audio(noisy))
            if not losses.requires_grad:
                break
            (slope,) = torch.autograd.grad(losses.sum(), noisy)
            noise = (noise + 2.5 * radius / steps * slope.sign()).clamp(-radius, radius)
    return batch.with_audio(((sound + noise) * batch.support).clamp(-1.0, 1.0))


def hardened_surrogates(
    against: Sequence[Attacker[Any]], data: Clips, rng: Generator, radius: float, steps: int, log: Log = silent_log
) -> list[nn.Module]:
    """Train surrogates adversarially on the clean clips, as `train_surrogates` does without an adversary.

    Args:
        against: The surrogates.
        data: The clean clips.
        rng: The only source of random numbers.
        radius: Of the adversarial noise; 0 trains as `train_surrogates` does.
        steps: Sign steps for each batch.
        log: Called once an epoch.

    Returns:
        One trained model a surrogate.
    """
    if not radius:
        return train_surrogates(against, data, rng)
    index = torch.arange(len(data), device=data.device)
    held_out = index % 10 == 9 if len(data) >= 20 else index < 0
    train = data.select(index[~held_out])
    validation = data.select(index[held_out]) if held_out.any() else data

    def model_of(attacker: Attacker[Any]) -> nn.Module:
        def harden(model: nn.Module, batch: Clips) -> Clips:
            return adversarial(attacker, model, batch, radius, steps, rng)

        return hardening.learn(attacker, harden, train, validation, rng, log)

    return [model_of(attacker) for attacker in against]
