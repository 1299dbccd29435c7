"""Joint optimisation of HarmonyCloak's noise and of surrogate models, for recordings and rolls.

Conventions: knobs are [knob, item, ...]; the first one is u, which a sigmoid puts between the bounds of the noise, kept
within -5..5; the others (phases) are free. A step is one sign step of the knobs of one batch.

One model, or several all known: every step descends the mean of their losses. Black-box (Meerza et al. 2025, section on
transfer; after MLDG, Li et al. 2018): from a pool of models with random weights some are drawn for every step; all but
one are trained on and their gradients averaged, `1 / (Q - 1)`, and the last, which this step did not descend, takes a
step of its own. The paper gives that one a "divergence loss" which it does not define; here it is the squared gap
between that model's loss and the others' mean (as V-REx, Krueger et al. 2021, penalises the spread of risks). Losses of
different models are in different units (nats a note, nats a frame, a bound plus a hinge), so the mean favours the
largest, and where the gap is below -5 the last step raises that model's loss: a weak form of black-box.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn

from bench.api import Attacker, Epoch, Knowledge
from bench.training.crafting import apply_expected_adaptation
from bench.training.learning import batches, seeded

U_MAX = 5.0  # sigmoid(5) = 0.993: beyond it sign steps would only have to come back
MOMENTUM = 0.9

Models = Sequence[tuple[Attacker[Any], nn.Module]]
# Knobs of a batch and its index -> the batch, protected, and what its noise costs.
Render = Callable[[Tensor, Tensor], tuple[Any, Tensor]]
# Before a batch's step: the models of this step and the batch's index.
Before = Callable[[Models, Tensor], None]


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
        divergence: black-box: weight of the squared gap.
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
    divergence: float


def descend(
    options: Game,
    parameters: Tensor,
    data: Any,
    render: Render,
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
        data: the clean items.
        render: (parameters of a batch, its index) -> the batch, protected, and a penalty for its noise.
        rng: the only source of random numbers.
        surrogates: the attackers whose loss is descended.
        knowledge: black-box: models are drawn from a pool, one of them held out (meta-learning). Its log is called once
            a round, its expected adaptations are applied.
        before_step: called before each step with the models of the step and the batch's index.
    """
    meta, expects = knowledge.name == "black-box", knowledge.expects
    count = max(options.pool, len(surrogates)) if meta else len(surrogates)
    with seeded(rng):  # the surrogates' dropout
        against = [surrogates[i % len(surrogates)] for i in range(count)]
        models: Models = [(attacker, attacker.model(data, rng).train()) for attacker in against]
        learners = [_learner(attacker, model, options) for attacker, model in models]

        def losses(batch_parameters: Tensor, index: Tensor, trained: Sequence[int]) -> tuple[Tensor, Tensor]:
            protected, penalty = render(batch_parameters, index)
            batch = apply_expected_adaptation(protected, expects, rng)
            each = [models[i][0].loss(models[i][1], batch).mean() for i in trained]
            return torch.stack(each).mean(), penalty

        def update(total: Tensor, batch_parameters: Tensor, trained: Sequence[int], learn: bool) -> Tensor:
            for i in trained:
                learners[i].zero_grad()
            total.backward()
            for i in trained if learn else ():
                learners[i].step()
            return _sign_step(batch_parameters, options.inner_step)

        order = batches(len(data), options.batch, rng)
        for round_ in range(1, options.rounds + 1):
            losses_of_round: list[Tensor] = []
            for _ in range(-(-len(data) // options.batch)):
                index = next(order).to(data.device)
                trained, held_out = _draw_models(count, options.drawn, rng) if meta else (list(range(count)), [])
                if before_step:
                    before_step([models[i] for i in trained], index)
                batch_parameters = parameters[:, index].requires_grad_()
                joint = options.alternation == "joint"
                for _ in range(options.inner_steps):
                    loss, penalty = losses(batch_parameters, index, trained)
                    batch_parameters = update(loss + penalty, batch_parameters, trained, learn=joint)
                if not joint:
                    loss, penalty = losses(batch_parameters.detach(), index, trained)
                    update(loss + penalty, batch_parameters, trained, learn=True)
                if held_out:
                    held_out_loss, penalty = losses(batch_parameters, index, held_out)
                    gap = (held_out_loss - loss.detach()).square()
                    batch_parameters = update(
                        held_out_loss + penalty + options.divergence * gap, batch_parameters, held_out, learn=True
                    )
                parameters[:, index] = batch_parameters.detach()
                losses_of_round.append(loss.detach())
            knowledge.log(Epoch(round_, float(torch.stack(losses_of_round).mean())))


def _learner(attacker: Attacker[Any], model: nn.Module, options: Game) -> torch.optim.Optimizer:
    """Build a surrogate's optimiser; SGD, the paper's, barely moves a model that starts from random weights."""
    weights = [p for p in model.parameters() if p.requires_grad]
    if (attacker.surrogate_optimizer if options.outer == "auto" else options.outer) == "adam":
        return torch.optim.Adam(weights, attacker.lr)
    return torch.optim.SGD(weights, options.outer_lr, momentum=MOMENTUM)


def _draw_models(count: int, sample_size: int, rng: Generator) -> tuple[list[int], list[int]]:
    """Draw the models that are trained and, of several, the one that is held out."""
    order = torch.randperm(count, generator=rng, device=rng.device)[: min(sample_size, count)].tolist()
    return (order[:-1], order[-1:]) if len(order) > 1 else (order, [])


def _sign_step(parameters: Tensor, step: float) -> Tensor:
    """Take one sign step down the gradient; where it is not a number its sign is 0."""
    if parameters.grad is None:
        return parameters
    updated = parameters.detach() - step * parameters.grad.nan_to_num().sign()
    updated[0].clamp_(-U_MAX, U_MAX)
    return updated.requires_grad_()
