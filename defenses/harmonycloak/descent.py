"""Joint optimisation of HarmonyCloak's noise and of surrogate models, for recordings and rolls.

Conventions: parameters are [parameter, item, ...]; the first one is u, which a sigmoid puts between the bounds of the
noise (`bounds.py`); the others (phases) are free. A step is one sign step of the parameters of one batch down the loss,
then the regulariser's proximal step.

One model: its loss is descended in its own unit. Several ("ensemble", "black-box"): their losses are in different units
(nats a note, nats a frame, a bound plus a hinge), so each is divided by what it is on the clean set before the game;
the noise descends the mean of these relative losses, and each model is trained by its own.

Black-box (Meerza et al. 2025, section on transfer; after MLDG, Li et al. 2018): from a pool of models with random
weights some are drawn for every step; all but one are trained on and their gradients averaged, and then the noise takes
a step down the loss of the last one (the meta-test), which learns as well. The paper adds a "divergence loss" that it
does not define. Read as the squared gap between the held-out loss and the mean of the others (as V-REx, Krueger et al.
2021, penalises the spread of risks) its slope in the noise is that of the held-out loss times 1 + 2 weight * gap: with
relative losses and a small weight a positive number, which a sign step does not see. There is none here.

What noise does to a model is L(theta, x + delta) - L(theta, x) on the same weights theta: the falling loss of the game
is mostly training. Both are measured once, after the last round, in evaluation mode, and so is the noise that the game
started from: three passes without gradient, about one round more. `still` plays the game a second time beside it, same
weights, batches and steps, with the noise held still: twice the cost, so it is off by default.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn

from bench.api import Attacker, Epoch, Knowledge
from bench.training.crafting import apply_expected_adaptation, frozen
from bench.training.learning import batches, seeded

from .bounds import U_MAX, Bounds

MOMENTUM = 0.9
_LEAST_UNIT = 1e-3  # of a loss: one that starts at 0 has no relative size
_SAME = 1e-6  # of a loss: the rounding of sums

# Parameters of a batch and its index -> the batch, protected.
Render = Callable[[Tensor, Tensor], Any]


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A model that the noise is crafted against.

    Attributes:
        attacker: whose `loss` is descended.
        model: the model.
        optimizer: of its weights.
        unit: what its loss is divided by.
    """

    attacker: Attacker[Any]
    model: nn.Module
    optimizer: torch.optim.Optimizer
    unit: float

    def losses(self, batch: Any) -> Tensor:
        """Compute the relative loss: [item]."""
        return self.attacker.loss(self.model, batch) / self.unit

    def evaluated(self, batch: Any) -> Tensor:
        """Compute the relative loss in evaluation mode without gradients, with the same draws at every call: [item]."""
        with torch.no_grad(), frozen([self.model]), seeded(Generator().manual_seed(0)):
            return self.losses(batch)


# Before a batch's step: the surrogates of this step and the batch's index.
Before = Callable[[Sequence[Surrogate], Tensor], None]


@dataclass(frozen=True)
class Game:
    """Settings of the joint optimisation of noise and surrogates.

    Attributes:
        rounds: passes over the set.
        batch: items a step.
        inner_steps: sign steps of the noise, a batch and round.
        inner_step: size of a sign step.
        alternation: update noise and surrogates by one backward pass ("joint"), or in turn ("alternating").
        outer: optimiser of the surrogates; "auto": what the attacker declares.
        outer_lr: learning rate of SGD; Adam uses the attacker's own.
        pool: black-box: surrogates with random weights, of all architectures in turn.
        drawn: black-box: how many of them a step uses.
        still: play the game with the noise held still as well, and log its losses.
    """

    rounds: int
    batch: int
    inner_steps: int
    inner_step: float
    alternation: Literal["joint", "alternating"]
    outer: Literal["auto", "sgd", "adam"]
    outer_lr: float
    pool: int
    drawn: int
    still: bool


def descend(
    options: Game,
    parameters: Tensor,
    bounds: Bounds,
    data: Any,
    render: Render,
    start: Callable[[Tensor], Any],
    rng: Generator,
    *,
    surrogates: Sequence[Attacker[Any]],
    knowledge: Knowledge,
    before_step: Before | None = None,
) -> None:
    """Optimise the parameters of the noise in place, while the surrogates learn.

    Args:
        options: the settings.
        parameters: [parameter, item, ...], changed in place.
        bounds: of the first parameter, with the regulariser's weights.
        data: the clean items.
        render: (parameters of a batch, its index) -> the batch, protected.
        start: index -> the batch with the noise that the game begins with.
        rng: the only source of random numbers.
        surrogates: the attackers whose loss is descended.
        knowledge: black-box: models are drawn from a pool, one of them held out (meta-learning). Its log is called once
            a round, its expected adaptations are applied. The last line says what the noise does to the surrogates
            ("noise_effect"), what the noise that the game began with does to the same weights ("start_effect"), their
            loss on the clean set ("clean_loss"), and whether anything was optimised ("optimised", 0 where the noise
            does to the surrogates what it did at the start, since they read nothing of what the game changes).
        before_step: called before each step with the surrogates of the step and the batch's index.
    """
    parts = torch.arange(len(data), device=data.device).split(options.batch)
    seed = int(torch.randint(2**31, (), generator=rng, device=rng.device))
    still_losses: list[float] = []
    if options.still:
        drawn = Generator(rng.device).manual_seed(seed)
        still = _Play(options, data, lambda _, index: start(index), surrogates, knowledge, drawn)
        still_losses = [still.round(parameters, None, None) for _ in range(options.rounds)]
    play = _Play(options, data, render, surrogates, knowledge, Generator(rng.device).manual_seed(seed))
    for round_ in range(1, options.rounds + 1):
        loss = play.round(parameters, bounds, before_step)
        more = {"still_loss": still_losses[round_ - 1]} if still_losses else {}
        if round_ == options.rounds:
            clean, began, ended = (
                play.evaluated(batch, parts)
                for batch in (data.select, start, lambda index: render(parameters[:, index], index))
            )
            more |= {"clean_loss": clean, "noise_effect": ended - clean, "start_effect": began - clean}
            more["optimised"] = float(abs(ended - began) > _SAME * abs(clean))
        knowledge.log(Epoch(round_, loss, more=more))


class _Play:
    """A game in progress: its surrogates, and the random numbers of their weights, batches and draws."""

    def __init__(
        self,
        options: Game,
        data: Any,
        render: Render,
        surrogates: Sequence[Attacker[Any]],
        knowledge: Knowledge,
        rng: Generator,
    ) -> None:
        self._options, self._data, self._render, self._expects = options, data, render, knowledge.expects
        self._rng = rng
        self._meta = knowledge.name == "black-box"
        count = max(options.pool, len(surrogates)) if self._meta else len(surrogates)
        parts = torch.arange(len(data), device=data.device).split(options.batch)
        with seeded(self._rng):
            self._pool = [
                _surrogate(surrogates[i % len(surrogates)], data, parts, self._rng, options, relative=count > 1)
                for i in range(count)
            ]
        self._order = batches(len(data), options.batch, self._rng)

    def round(self, parameters: Tensor, bounds: Bounds | None, before_step: Before | None) -> float:
        """Play one round, a pass over the set.

        Args:
            parameters: changed in place.
            bounds: of the noise; None to hold it still.
            before_step: called before each step.

        Returns:
            The mean loss of the surrogates in training.
        """
        options, losses = self._options, []
        joint = options.alternation == "joint"
        with seeded(self._rng):  # the surrogates' dropout
            for _ in range(-(-len(self._data) // options.batch)):
                index = next(self._order).to(self._data.device)
                trained, held_out = self._drawn()
                if before_step:
                    before_step(trained, index)
                batch = parameters[:, index]
                for _ in range(options.inner_steps if joint or bounds else 0):
                    loss, batch = self._step(batch, index, trained, bounds, learn=joint)
                if not joint:
                    loss, _ = self._step(batch, index, trained, None, learn=True)
                if held_out:
                    _, batch = self._step(batch, index, held_out, bounds, learn=True)
                parameters[:, index] = batch
                losses.append(loss)
        return float(torch.stack(losses).mean())

    def evaluated(self, batch: Callable[[Tensor], Any], parts: Sequence[Tensor]) -> float:
        """Return the mean loss of all surrogates on the batches of a set, in evaluation mode."""
        with torch.no_grad():
            return _mean_loss(self._pool, batch, parts)

    def _step(
        self, parameters: Tensor, index: Tensor, models: Sequence[Surrogate], bounds: Bounds | None, learn: bool
    ) -> tuple[Tensor, Tensor]:
        """Move the parameters of a batch down the models' mean loss, unless `bounds` is None; train the models."""
        moving = parameters.detach().requires_grad_(bounds is not None)
        batch = apply_expected_adaptation(self._render(moving, index), self._expects, self._rng)
        losses = torch.stack([surrogate.losses(batch).mean() for surrogate in models])
        for surrogate in models:
            surrogate.optimizer.zero_grad()
        losses.sum().backward()  # each model gets the slope of its own loss, the noise a multiple of the mean's
        for surrogate in models if learn else ():
            surrogate.optimizer.step()
        moved = moving.detach()
        if bounds is not None:
            if moving.grad is not None:
                moved = moved - self._options.inner_step * moving.grad.nan_to_num().sign()
                moved[0].clamp_(-U_MAX, U_MAX)
            moved[0] = bounds.select(index).shortened(moved[0], self._options.inner_step)
        return losses.detach().mean(), moved

    def _drawn(self) -> tuple[list[Surrogate], list[Surrogate]]:
        """Draw the models that are trained and, of several unknown ones, the one that is held out."""
        if not self._meta:
            return self._pool, []
        order = torch.randperm(len(self._pool), generator=self._rng, device=self._rng.device).tolist()
        drawn = [self._pool[i] for i in order[: self._options.drawn]]
        return (drawn[:-1], drawn[-1:]) if len(drawn) > 1 else (drawn, [])


def _surrogate(
    attacker: Attacker[Any], data: Any, parts: Sequence[Tensor], rng: Generator, options: Game, relative: bool
) -> Surrogate:
    """Build a surrogate; SGD, the paper's, barely moves a model that starts from random weights."""
    model = attacker.model(data, rng).train()
    weights = [p for p in model.parameters() if p.requires_grad]
    use_adam = (attacker.surrogate_optimizer if options.outer == "auto" else options.outer) == "adam"
    optimizer: torch.optim.Optimizer = torch.optim.Adam(weights, attacker.lr) if use_adam else torch.optim.SGD(weights)
    unit = 1.0
    if relative:
        start = _mean_loss([Surrogate(attacker, model, optimizer, 1.0)], data.select, parts)
        unit = max(abs(start), _LEAST_UNIT)
    if not use_adam:  # the slope is that of the relative loss, the step that of the loss itself
        optimizer = torch.optim.SGD(weights, options.outer_lr * unit, momentum=MOMENTUM)
    return Surrogate(attacker, model, optimizer, unit)


def _mean_loss(models: Sequence[Surrogate], batch: Callable[[Tensor], Any], parts: Sequence[Tensor]) -> float:
    """Return the mean relative loss of models over all items, in evaluation mode."""
    losses = [torch.stack([surrogate.evaluated(items) for surrogate in models]) for items in map(batch, parts)]
    return float(torch.cat(losses, 1).mean())
