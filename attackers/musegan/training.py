"""The training of `size="small"`: an autoencoder's warm start, then a short game with the critic.

* Warm start: minus the evidence lower bound is descended (Kingma and Welling, ICLR 2014), the weight of the divergence
  rising to 1 over the first `WARMUP` steps. Alone it draws too little: what it is unsure of it leaves out.
* Game: hinge losses, binary neurons, white noise on all inputs of the critic (instance noise: Sonderby et al., ICLR
  2017), slow steps. The generator that is kept is a running mean of those on the way; without it the game drifts off.
* Of all states that are looked at, the one that is best on clean validation data comes back; at step 0 that is a
  generator that has counted its own training data.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from bench.api import Epoch, Log, Rolls
from bench.training.learning import batches, cosine

from .networks import Gan

__all__ = ["BETAS", "Peak", "Read", "descend", "game", "generated_game", "warm_start"]

WARMUP = 100  # steps
BETAS = (0.5, 0.9)
_GENERATOR_LR, _CRITIC_LR = 1e-4, 2e-4
_INSTANCE_NOISE = 0.15
_AVERAGED = 0.97  # of the running mean that a step leaves as it is

Read = Callable[[Rolls], Tensor]  # a batch of windows -> what the networks read of it


@dataclass
class Peak:
    """Evaluates a model on validation data during training, and keeps its best state.

    Attributes:
        model: the model in training.
        quality: model -> quality on the validation set, higher is better.
        log: called at every evaluation.
        best: the highest quality so far.
        state: the state dict of that quality.
        losses: training losses since the last evaluation; their mean is logged.
    """

    model: Gan
    quality: Callable[[Gan], float]
    log: Log
    best: float = -math.inf
    state: dict[str, Tensor] = field(default_factory=dict)
    losses: list[Tensor] = field(default_factory=list)  # since the last look

    def evaluate(self, step: int) -> None:
        """Measure and log the quality after `step` steps, and keep the state if it is the best so far."""
        self.model.eval()
        with torch.no_grad():
            quality = self.quality(self.model)
        mean = float(torch.stack(self.losses).mean()) if self.losses else None
        self.log(Epoch(step, mean, quality))
        self.losses.clear()
        if quality > self.best:
            self.best = quality
            self.state = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.model.train()

    def restore(self) -> Gan:
        """Return the model in its best state, in evaluation mode."""
        self.model.load_state_dict(self.state)
        return self.model.eval()


def warm_start(peak: Peak, train: Rolls, read: Read, rng: Generator, *, steps: int, batch: int, lr: float) -> None:
    """Train generator and encoder in place as a variational autoencoder.

    Args:
        peak: the model and its log, which gets the negative evidence lower bound in nats a step.
        train: windows.
        read: a batch of windows -> cells in 0..1.
        rng: the only source of random numbers.
        steps: optimiser steps.
        batch: windows a step.
        lr: peak learning rate of Adam, on a cosine schedule.
    """
    model = peak.model
    parameters = [p for name, p in model.named_parameters() if not name.startswith("critic.")]
    optimizer = torch.optim.Adam(parameters, lr=lr, fused=True)
    model.train()
    for step, index in zip(range(1, steps + 1), batches(len(train), batch, rng), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = lr * cosine(step / steps)
        windows = read(train.select(index))
        likelihood, divergence = model.bound(windows)
        loss = (min(1.0, step / WARMUP) * divergence - likelihood).mean() / windows.shape[2]
        descend(loss, optimizer, parameters)
        peak.losses.append((divergence - likelihood).mean().detach() / windows.shape[2])


def game(
    peak: Peak, train: Rolls, read: Read, rng: Generator, *, first: int, steps: int, batch: int, interval: int,
    bernoulli: bool,
) -> None:  # fmt: skip
    """Train the generator against the critic in place, with hinge losses (Lim and Ye, arXiv:1705.02894).

    Args:
        peak: the model, its evaluation and its log, which gets the critic's loss; keeps the best state.
        train: windows.
        read: a batch of windows -> cells in 0..1.
        rng: the only source of random numbers.
        first: steps before this training, for the log.
        steps: optimiser steps of each player.
        batch: windows a step.
        interval: steps between evaluations.
        bernoulli: draw cells by their probability, not by the threshold.
    """
    model = peak.model
    generator, critic = model.generator_parameters(), list(model.critic.parameters())
    generator_optimizer = torch.optim.Adam(generator, lr=_GENERATOR_LR, betas=BETAS, fused=True)
    critic_optimizer = torch.optim.Adam(critic, lr=_CRITIC_LR, betas=BETAS, fused=True)
    mean = [p.detach().clone() for p in generator]
    cell_rng = rng if bernoulli else None

    def score(windows: Tensor) -> Tensor:
        noise = torch.randn(windows.shape, generator=rng, device=rng.device).to(windows.device)
        values: Tensor = model.critic(windows + _INSTANCE_NOISE * noise)
        return values

    model.train()
    for step, index in zip(range(1, steps + 1), batches(len(train), batch, rng), strict=False):
        real = read(train.select(index))
        with torch.no_grad():
            fake = model.sample(model.prior(len(real), rng), cell_rng)
        scores = score(torch.cat([real, fake]))
        loss = functional.relu(1 - scores[: len(real)]).mean() + functional.relu(1 + scores[len(real) :]).mean()
        descend(loss, critic_optimizer, critic)
        peak.losses.append(loss.detach())

        for parameter in critic:
            parameter.requires_grad_(False)
        descend(-score(model.sample(model.prior(len(real), rng), cell_rng)).mean(), generator_optimizer, generator)
        for parameter in critic:
            parameter.requires_grad_(True)
        torch._foreach_lerp_(mean, [p.detach() for p in generator], 1 - _AVERAGED)

        if step % interval == 0 or step == steps:
            current = [p.detach().clone() for p in generator]
            _assign(generator, mean)
            peak.evaluate(first + step)
            _assign(generator, current)


def generated_game(model: Gan, count: int) -> Tensor:
    """Compute the part of the adversarial game that generated samples play, for whoever descends one loss for all.

    The critic's hinge loss of the samples, max(0, 1 + D(G(z))), whose slope reaches the critic alone, and a term of
    value 0 whose slope is that of -D(G(z)) in the generator alone: each player gets the slope of its own loss (Lim and
    Ye, arXiv:1705.02894), as in `game`.

    Args:
        model: generator and critic; z is drawn from torch's global generator, as dropout is.
        count: how many windows to generate.

    Returns:
        A scalar.
    """
    z = torch.randn(count, model.latent, device=model.marginal.device)
    fake = model.seen(model.sample(z, None))
    critic_loss = functional.relu(1 + model.critic(fake.detach())).mean()
    fixed = {name: parameter.detach() for name, parameter in model.critic.named_parameters()}
    generator_loss = -torch.func.functional_call(model.critic, fixed, (fake,)).mean()
    total: Tensor = critic_loss + generator_loss - generator_loss.detach()
    return total


def descend(loss: Tensor, optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> None:
    """Take an optimiser step, unless the gradient is not finite: one such roll must not end the training."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]).isfinite():
        optimizer.step()


def _assign(parameters: list[nn.Parameter], values: list[Tensor]) -> None:
    """Copy values into parameters."""
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)
