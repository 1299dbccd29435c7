"""The training loop shared by attackers: AdamW, a learning rate schedule, and the best checkpoint on clean data.

Conventions
-----------

* A set is anything with `len` and `.select(index)`: `Clips`, `Rolls`, or an attacker's own tokens of them.
* Quality is one number, higher is better. Step 0 is a checkpoint too, so the result is never worse on the validation
  set than the initial model: early stopping is the least that a defense must withstand.
* All randomness comes from the given `torch.Generator`. Dropout and the layers' initialisation draw from torch's global
  generators; `seeded` sets their state for the length of a block.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from bench.api import Augment, Epoch, Log, silent_log
from bench.training.acceleration import Precision, autocast

__all__ = ["Budget", "batches", "cosine", "fit", "seeded"]


def cosine(progress: float, warmup: float = 0.1) -> float:
    """Return the learning rate's factor: a linear warm-up, then half a cosine down to a tenth.

    Args:
        progress: Progress of the training, 0..1.
        warmup: Share of the training in which the rate rises.

    Returns:
        The factor, 0..1.
    """
    if progress < warmup:
        return progress / warmup
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


@dataclass(frozen=True)
class Budget:
    """Length and learning rate of a training by `fit`."""

    steps: int  # updates
    batch: int  # items of one update
    lr: float  # AdamW's, at its peak
    evaluate_every: int  # updates between two checkpoints
    weight_decay: float = 0.0
    clip: float = 1.0  # the largest gradient norm
    schedule: Callable[[float], float] = cosine  # progress in 0..1 -> factor of `lr`
    precision: Precision = "float32"  # of the training loss


def fit(
    model: nn.Module,
    loss: Callable[[nn.Module, Any], Tensor],
    train: Any,
    validation: Any,
    rng: Generator,
    budget: Budget,
    quality: Callable[[nn.Module, Any], float],
    *,
    augment: Augment | None = None,
    log: Log = silent_log,
    parameters: Iterable[nn.Parameter] | None = None,
) -> nn.Module:
    """Train a model in place and return it at its best quality, in evaluation mode.

    A batch whose gradient is not finite is skipped, so that one bad recording does not end the training.

    Args:
        model: The model.
        loss: (model, batch) -> float [item], whose mean is descended.
        train: A set with `len` and `.select(index)`.
        validation: Passed to `quality`.
        rng: The only source of random numbers.
        budget: Length and learning rate of the training.
        quality: (model, validation) -> a number, higher is better; called before the first update, at every checkpoint
            and after the last update, without gradients and in evaluation mode.
        augment: Changes each batch, see `Attacker.learn`.
        log: Called at every checkpoint; the loss is the mean over the updates since the last one.
        parameters: The parameters to train; None: all that require a gradient.

    Returns:
        The model, in the state of the best `quality`.
    """
    trained = list(parameters) if parameters is not None else [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=budget.lr, weight_decay=budget.weight_decay)
    peak, best = _state(model, trained), _evaluated(quality, model, validation)
    log(Epoch(0, validation=best))

    losses: list[Tensor] = []
    with seeded(rng):
        for step, index in zip(range(1, budget.steps + 1), batches(len(train), budget.batch, rng), strict=False):
            for group in optimizer.param_groups:
                group["lr"] = budget.lr * budget.schedule(step / budget.steps)

            model.train()
            items = train.select(index)
            items = augment(items, rng, model) if augment else items
            with autocast(budget.precision, trained[0].device):
                mean = loss(model, items).mean()
            optimizer.zero_grad(set_to_none=True)
            mean.backward()
            if nn.utils.clip_grad_norm_(trained, budget.clip).isfinite():
                optimizer.step()
            losses.append(mean.detach())

            if step % budget.evaluate_every == 0 or step == budget.steps:
                value = _evaluated(quality, model, validation)
                log(Epoch(step, float(torch.stack(losses).mean()), value))
                losses.clear()
                if value > best:
                    peak, best = _state(model, trained), value
    model.load_state_dict(peak, strict=False)
    return model.eval()


def batches(items: int, batch: int, rng: Generator) -> Iterator[Tensor]:
    """Yield the indices of one batch after another, without end; every epoch has a new order.

    Args:
        items: Number of items.
        batch: Items of a batch; the last of an epoch may be smaller.
        rng: Draws the order.

    Returns:
        An iterator over int64 [item].
    """
    while True:
        yield from torch.split(torch.randperm(items, generator=rng, device=rng.device), batch)


@contextmanager
def seeded(rng: Generator) -> Iterator[None]:
    """Seed torch's and Python's global generators from `rng` for a block, and restore their states afterwards.

    Args:
        rng: Draws the seed.

    Returns:
        A context manager.
    """
    seed = int(torch.randint(2**31, (), generator=rng, device=rng.device))
    python = random.getstate()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)


def _evaluated(quality: Callable[[nn.Module, Any], float], model: nn.Module, validation: Any) -> float:
    """Return the quality, without gradients and in evaluation mode."""
    model.eval()
    with torch.no_grad():
        return float(quality(model, validation))


def _state(model: nn.Module, trained: list[nn.Parameter]) -> dict[str, Tensor]:
    """Copy what training changes: the trained parameters, and the buffers, which hold running statistics."""
    trained_ids = {id(parameter) for parameter in trained}
    frozen = {
        name for name, parameter in model.named_parameters(remove_duplicate=False) if id(parameter) not in trained_ids
    }
    return {name: value.detach().clone() for name, value in model.state_dict().items() if name not in frozen}
