"""Craft perturbations against surrogates; shared by the noise-based defenses.

A perturbation (`perturbation.Noise`) moves by the sign of a gradient (PGD, Madry et al. 2018), by a step in units of
its bound, for all items of a batch at once. Two methods give the gradient:

* `min_min` (Huang et al., "Unlearnable Examples", ICLR 2021, eq. 2): surrogates train on the perturbed items and the
  noise descends their loss, in turns, until the loss is below a limit.
* `perturb` against `train_surrogates` (Fowl et al., "Adversarial Examples Make Strong Poisons", NeurIPS 2021): the
  noise ascends the loss of models trained on the clean items, or descends it towards a wrong class.

While the noise moves, the surrogates are frozen and in evaluation mode. Of a surrogate only its `loss` is used, so that
classifiers and generators are treated alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn

from bench.api import Adaptation, Attacker, Clips, Data, DomainName, Epoch, Knowledge, Log, silent_log
from bench.errors import DataError, UsageError
from bench.training.learning import batches, seeded
from bench.training.perturbation import Noise, Scope, noise_bound

__all__ = [
    "Descent", "Noise", "Schedule", "Scope", "apply_expected_adaptation", "frozen", "init_surrogates", "min_min",
    "mislead", "noise_bound", "perturb", "shifted_labels", "surrogates", "train_surrogates",
]  # fmt: skip

_HELD_OUT = 10  # one item in so many is a surrogate's validation set


@dataclass(frozen=True)
class Descent:
    """Sign steps of a perturbation against models that are not trained meanwhile."""

    steps: int  # of each item's perturbation; of a shared one, each on a random batch
    step: float  # of the bound
    batch: int = 128  # a shared perturbation takes four times as many
    upwards: bool = False  # ascend the loss
    restart: Literal["warm", "signal"] = "warm"  # "signal": begin from clip(x + delta), see `signal_copy`


@dataclass(frozen=True)
class Schedule:
    """Alternation of surrogate training and noise steps."""

    rounds: int = 6  # at most
    learner_steps: int = 20  # of the surrogates, a round
    noise_steps: int = 4  # a round: on every clip, or of a shared perturbation; "joint" has none
    step: float = 0.35  # of the bound
    stop: float = 0.01  # mean loss over the perturbed clips
    batch: int = 128
    lr: float = 0.0  # Adam's, for the surrogates; 0: their own
    alternation: Literal["alternating", "joint"] = "alternating"  # "joint": each learner step moves the noise too
    restart: Literal["warm", "signal"] = "warm"  # "signal": every pass begins from clip(x + delta), see `signal_copy`


def surrogates(
    knowledge: Knowledge, name: str, domain: DomainName = "audio", otherwise: str = ""
) -> tuple[Attacker[Any], ...]:
    """Return the surrogates that take a domain.

    Args:
        knowledge: The knowledge that the defense was given.
        name: The defense's own name, for the error.
        domain: The domain that the surrogates must take.
        otherwise: What to do without a surrogate, such as ", or optimise = false".

    Returns:
        At least one surrogate.

    Raises:
        UsageError: There is none.
    """
    able = tuple(attacker for attacker in knowledge.surrogates if domain in attacker.domains)
    if not able:
        raise UsageError(
            f"{name} has no surrogate that takes {domain}: knowledge is '{knowledge.name}', expected "
            f"'white-box', 'ensemble' or 'black-box'{otherwise}"
        )
    return able


def min_min(
    noise: Noise,
    data: Data,
    against: Sequence[Attacker[Any]],
    rng: Generator,
    schedule: Schedule,
    expects: Sequence[Adaptation[Any]] = (),
    log: Log = silent_log,
) -> list[float]:
    """Train surrogates and move the noise in turns, both towards a small loss.

    Args:
        noise: Changed in place.
        data: The clean items.
        against: The surrogates, trained from newly initialised models.
        rng: The only source of random numbers.
        schedule: The alternation.
        expects: Adaptations that the defender prepares for.
        log: Called once a round.

    Returns:
        The mean loss of every round.
    """
    descent = Descent(schedule.noise_steps, schedule.step, schedule.batch, restart=schedule.restart)
    with seeded(rng):  # the surrogates' dropout
        models, learners = init_surrogates(against, data, rng, schedule.lr)
        order = batches(len(data), schedule.batch, rng)
        losses: list[float] = []
        for _ in range(schedule.rounds):
            learning: list[Tensor] = []
            for _ in range(schedule.learner_steps):
                index = next(order).to(data.device)
                part = noise.select(index)
                batch = apply_expected_adaptation(part.added(data.select(index)), expects, rng)
                learning.append(_train_step(batch, against, models, learners, schedule.alternation == "joint"))
                if (slope := batch.signal.grad) is not None:
                    part.move(slope, schedule.step)
                    noise.update(index, part)
            if schedule.alternation == "joint":
                losses.append(float(torch.stack(learning).mean()))
            else:
                losses.append(perturb(noise, data, against, models, rng, descent, expects=expects))
            log(Epoch(len(losses), losses[-1]))
            if losses[-1] < schedule.stop:
                break
    return losses


def perturb(
    noise: Noise,
    data: Data,
    against: Sequence[Attacker[Any]],
    models: Sequence[nn.Module],
    rng: Generator,
    descent: Descent,
    *,
    target: Callable[[Any], Any] = lambda items: items,
    expects: Sequence[Adaptation[Any]] = (),
) -> float:
    """Move the noise by sign steps down the mean of the models' losses, or up.

    Args:
        noise: Changed in place.
        data: The clean items.
        against: The surrogates, whose `loss` is used.
        models: One for each surrogate; frozen meanwhile.
        rng: The only source of random numbers.
        descent: Number and size of the steps.
        target: Changes the labels for which the loss is computed.
        expects: Adaptations that the defender prepares for.

    Returns:
        The mean loss before the last step; NaN without a step.
    """
    last_losses: list[Tensor] = []
    signed_step = -descent.step if descent.upwards else descent.step
    with frozen(models):
        for index in _parts(noise, len(data), descent, rng):
            rows = index.to(data.device)
            items, part = target(data.select(rows)), noise.select(rows)
            if descent.restart == "signal":
                part.restart(items)
            for _ in range(1 if noise.shared else descent.steps):
                signal = part.added(items).signal.requires_grad_()
                changed = apply_expected_adaptation(items.with_signal(signal), expects, rng)
                loss = torch.stack([a.loss(m, changed) for a, m in zip(against, models, strict=True)]).mean(0)
                if loss.requires_grad:  # a model that ignores velocities has no gradient
                    (slope,) = torch.autograd.grad(loss.sum(), signal)
                    part.move(slope, signed_step)
            noise.update(rows, part)
            last_losses.append(loss.detach())
    return float(torch.cat(last_losses).mean()) if last_losses else float("nan")


def mislead(
    noise: Noise,
    data: Data,
    against: Sequence[Attacker[Any]],
    rng: Generator,
    descent: Descent,
    expects: Sequence[Adaptation[Any]] = (),
    *,
    shift: int = 0,
) -> None:
    """Move the noise so that models of the clean items misclassify each item, as a given class or as any other.

    Args:
        noise: Changed in place.
        data: The clean items.
        against: The surrogates, which are trained on the clean items first.
        rng: The only source of random numbers.
        descent: Number and size of the steps; `upwards` is set here.
        expects: Adaptations that the defender prepares for.
        shift: The target class is the true one plus `shift`, modulo the classes; where that is the true class, the loss
            is ascended instead.

    Raises:
        DataError: A target is set and the items have no labels.
    """
    models = train_surrogates(against, data, rng)
    targeted = isinstance(data, Clips) and shift % max(1, len(data.classes)) != 0
    perturb(
        noise, data, against, models, rng, replace(descent, upwards=not targeted), expects=expects,
        target=(lambda clips: shifted_labels(clips, shift)) if targeted else (lambda clips: clips),
    )  # fmt: skip


def init_surrogates(
    against: Sequence[Attacker[Any]], data: Data, rng: Generator, lr: float = 0.0
) -> tuple[list[nn.Module], list[torch.optim.Adam]]:
    """Build newly initialised models of the surrogates, in training mode.

    Args:
        against: The surrogates.
        data: Items of the kind that they will learn from.
        rng: Draws the weights.
        lr: Learning rate of all, or 0 for each surrogate's own.

    Returns:
        The models, and an optimiser for each.
    """
    models = [attacker.model(data, rng).train() for attacker in against]
    learners = [
        torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr or attacker.lr)
        for attacker, model in zip(against, models, strict=True)
    ]
    return models, learners


def train_surrogates(against: Sequence[Attacker[Any]], data: Data, rng: Generator) -> list[nn.Module]:
    """Train the surrogates by their own `learn` on the clean items, of which every tenth is held out for validation.

    Args:
        against: The surrogates.
        data: The clean items.
        rng: The only source of random numbers.

    Returns:
        One trained model a surrogate.
    """
    held_out = torch.arange(len(data), device=data.device) % _HELD_OUT == _HELD_OUT - 1
    if len(data) < 2 * _HELD_OUT:
        train, validation = data, data
    else:
        train, validation = (data.select(mask.nonzero()[:, 0]) for mask in (~held_out, held_out))
    return [attacker.learn(train, validation, rng) for attacker in against]


def apply_expected_adaptation(batch: Any, expects: Sequence[Adaptation[Any]], rng: Generator) -> Any:
    """Change a batch by one of the expected adaptations or none, drawn anew at every call.

    Where an adaptation leaves torch, its gradient is taken to be that of the identity (straight-through). One that
    drops items, or changes the length without a gradient, is skipped.

    Args:
        batch: A set of items.
        expects: The adaptations; none leaves the batch unchanged.
        rng: The only source of random numbers.

    Returns:
        A set of the same kind.
    """
    choice = int(torch.randint(len(expects) + 1, (), generator=rng, device=rng.device))
    for hook in ("transform", "augment") if choice < len(expects) else ():
        change = expects[choice].transform if hook == "transform" else expects[choice].augment
        changed = change(batch, rng)
        after, before = changed.signal, batch.signal
        if changed.ids != batch.ids or (not after.requires_grad and after.shape != before.shape):
            continue
        batch = changed if after.requires_grad else changed.with_signal(after + before - before.detach())
    return batch


def shifted_labels(clips: Clips, shift: int) -> Clips:
    """Replace each label by that of another class: the targets of a targeted attack.

    Args:
        clips: Labelled clips.
        shift: Added to each label, modulo the number of classes.

    Returns:
        The clips with the new labels.

    Raises:
        DataError: The clips have no labels.
    """
    if clips.labels is None:
        raise DataError(
            "a targeted attack needs labels, but the clips have none: expected a set of classes, or targeted = false"
        )
    return replace(clips, labels=(clips.labels + shift) % len(clips.classes))


def _train_step(
    batch: Data,
    against: Sequence[Attacker[Any]],
    models: Sequence[nn.Module],
    learners: Sequence[torch.optim.Optimizer],
    joint: bool,
) -> Tensor:
    """Train every surrogate for one step and return their mean loss. `joint`: the signal collects its gradient too."""
    if joint:
        batch.signal.requires_grad_()
    total = []
    for attacker, model, learner in zip(against, models, learners, strict=True):
        model.train()
        learner.zero_grad(set_to_none=True)
        loss = attacker.loss(model, batch).mean()
        loss.backward()
        learner.step()
        total.append(loss.detach())
    return torch.stack(total).mean()


@contextmanager
def frozen(models: Sequence[nn.Module]) -> Iterator[None]:
    """Set models to evaluation mode and their parameters to need no gradient, for a block.

    Args:
        models: The models.

    Returns:
        A context manager.
    """
    trained = [p for model in models for p in model.parameters() if p.requires_grad]
    modes = [model.training for model in models]
    for model in models:
        model.eval()
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
        for model, mode in zip(models, modes, strict=True):
            model.train(mode)


def _parts(noise: Noise, items: int, descent: Descent, rng: Generator) -> Iterator[Tensor]:
    """Yield the indices of items to work on together: all in turn, or random ones for each step of a shared noise."""
    if not noise.shared:
        yield from torch.split(torch.arange(items, device=noise.unit.device), descent.batch)
        return
    order = batches(items, 4 * descent.batch, rng)
    for _ in range(descent.steps):
        yield next(order)
