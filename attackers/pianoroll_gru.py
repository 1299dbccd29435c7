"""A recurrent network over piano-roll frames that predicts which notes sound in the next step.

After Boulanger-Lewandowski, Bengio, Vincent, "Modeling Temporal Dependencies in High-Dimensional Sequences", ICML 2012,
in its plainest form: cells of a frame are independent given the past (their RNN-MLP baseline). The one attacker of the
symbolic track that reads velocities by default, and one that defenders can craft against: its loss has a gradient in
every cell. What is predicted is whether a cell sounds; velocities are read and never scored, since clean music alone
cannot tell what they should be. Scored in nats a frame, all tracks together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from bench.api import Attacker, Augment, Log, Needs, Rolls, ValidityCheck, check_range, silent_log
from bench.notes.pitches import LOWEST, PITCHES
from bench.notes.velocities import beginnings
from bench.seeds import name_orders
from bench.training.acceleration import differentiable_recurrence
from bench.training.learning import Budget, fit, seeded

_ONSET_LOG_ODDS = -5.0  # log odds of a cell that sounds, before anything is learnt,
_SUSTAIN_LOG_ODDS = 6.0  # and what is added to them where it sounded in the frame before


@dataclass(frozen=True)
class PianorollGru(Attacker[Rolls]):
    """A GRU that predicts the next frame of all tracks; its defaults are the preset `small`.

    Attributes:
        velocity: read velocities; False: only whether a cell sounds.
        width: of the recurrent layers.
        layers: recurrent layers.
        steps: optimiser steps.
        batch: rolls a step.
        lr: peak learning rate of AdamW.
        evaluations: how often the model is scored on the validation set.
        generated: the most rolls that `generate` returns; 0: as many as are asked for.
    """

    velocity: bool = True
    width: int = 128
    layers: int = 2
    steps: int = 300
    batch: int = 16
    lr: float = 3e-3
    evaluations: int = 6
    generated: int = 64

    domains = ("midi",)
    needs = Needs(cpus=1, memory_gb=3.0)
    surrogate_optimizer = "adam"  # from random weights
    dataset = "chorales"
    bag = ("symphonynet", "musegan")
    paper = "Boulanger-Lewandowski et al. 2012, ICML"
    presets = {
        "smoke": {"steps": 100, "evaluations": 2},
        "full": {"width": 512, "layers": 3, "steps": 20_000, "evaluations": 40},
    }

    def __post_init__(self) -> None:
        check_range(self, "width", "layers", "steps", "batch", "evaluations", least=1)
        check_range(self, "lr", above=0)
        check_range(self, "generated", least=0)

    def model(self, like: Rolls, rng: Generator) -> nn.Module:
        """Build a network for the tracks of `like`, which at first expects notes to last and silence elsewhere."""
        with seeded(rng):
            network = _Network(
                len(like.programs) * PITCHES, like.steps_per_beat * like.beats_per_bar, self.width, self.layers
            )
        return network.to(like.device)

    def prior(self, model: nn.Module, train: Rolls) -> None:
        """Predict every cell by how often it begins to sound, and goes on sounding, in `train`, plus 1/2.

        That notes last is most of the likelihood of a frame, and the score should measure what is learned beyond it.
        """
        assert isinstance(model, _Network)
        cells, inside = _frames(train, velocity=False), _inside(train)[..., None]
        previous = functional.pad(cells, (0, 0, 1, 0))[:, :-1]

        def odds(condition: Tensor) -> Tensor:
            return (((cells * condition * inside).sum((0, 1)) + 0.5) / ((condition * inside).sum((0, 1)) + 1.0)).logit()

        with torch.no_grad():
            model.head.weight.zero_()
            model.head.bias.copy_(odds(1 - previous))
            model.lasts.copy_(odds(previous) - model.head.bias)

    def loss(self, model: nn.Module, batch: Rolls) -> Tensor:
        """Compute the negative log-likelihood of which cells sound.

        Returns:
            float [roll], nats a frame; differentiable in the velocities that are read, not in the targets.
        """
        return _nats(model, _frames(batch, self.velocity), _frames(batch, velocity=False), _inside(batch))

    def learn(
        self, train: Rolls, validation: Rolls, rng: Generator, *, augment: Augment | None = None, log: Log = silent_log
    ) -> nn.Module:
        """Train by AdamW on a cosine schedule, starting from the frequencies of `train`.

        Returns:
            The state of the highest likelihood on `validation`.
        """
        model = self.model(train, rng)
        self.prior(model, train)
        return fit(
            model, self.loss, train, validation, rng,
            Budget(self.steps, self.batch, self.lr, max(1, self.steps // self.evaluations)),
            lambda model, held_out: -float(self.loss(model, held_out).mean()),
            augment=augment, log=log,
        )  # fmt: skip

    def quality(self, model: nn.Module, test: Rolls) -> Mapping[str, Tensor]:
        """Measure log-likelihoods in nats a frame.

        Returns:
            float [roll] each: "nll" (scored), and "nll_shuffled", with the beats shuffled, as high for a model that
            knows rhythms and chords but not what follows on what.
        """
        shuffled = _shuffled(test)
        return {"nll": -self.loss(model, test), "nll_shuffled": -self.loss(model, shuffled)}

    def generate(self, model: nn.Module, like: Rolls, rng: Generator) -> Rolls:
        """Generate rolls of the length of `like`, frame by frame; every note is mezzo-forte.

        Returns:
            As many rolls as `like` has, at most `generated`.
        """
        like = like.select(range(min(len(like), self.generated or len(like))))
        assert isinstance(model, _Network)
        tracks, steps = len(like.programs), like.velocity.shape[2]
        frame = torch.zeros(len(like), 1, tracks * PITCHES, device=like.device)
        state, frames = None, []
        for step in range(steps):
            odds, state = model(frame, state, step)
            chance = torch.rand(odds.shape, generator=rng, device=rng.device).to(odds.device)
            frame = (chance < odds.sigmoid()) * 0.5
            frames.append(frame)
        cells = torch.cat(frames, 1).view(len(like), steps, tracks, PITCHES).transpose(1, 2)
        velocity = torch.zeros_like(like.velocity)
        low, high = max(LOWEST, like.lowest), min(LOWEST + PITCHES, like.lowest + velocity.shape[-1])
        velocity[..., low - like.lowest : high - like.lowest] = cells[..., low - LOWEST : high - LOWEST]
        velocity = velocity * like.support
        rolls = replace(like, velocity=velocity, onset=torch.zeros_like(like.onset))
        return replace(rolls, onset=beginnings(rolls))

    def validity(self, clean: Mapping[str, float], untrained: Mapping[str, float]) -> Sequence[ValidityCheck]:
        """Check that the clean arm learned order in time: its gain on shuffled beats is small."""
        gain = clean["nll"] - untrained["nll"]
        ratio = (clean["nll_shuffled"] - untrained["nll_shuffled"]) / gain if gain > 0 else math.inf
        meaning = "The gain on frames out of order is a small share: more is learned than which notes there are."
        return [ValidityCheck("structure", ratio < 0.5, ratio, 0.5, meaning)]

    def view(self, data: Rolls) -> Tensor:
        """List the cells that sound.

        Returns:
            int64 [cell, 5]: roll, track, step, pitch, and MIDI velocity, or 1 where velocities are not read.
        """
        cells = (data.velocity > 0).nonzero()
        velocity = (
            (data.velocity[data.velocity > 0] * 127).round().long() if self.velocity else torch.ones_like(cells[:, 0])
        )
        cells[:, 3] += data.lowest
        return torch.cat([cells, velocity.to(cells)[:, None]], 1)


class _Network(nn.Module):
    """A GRU over frames and their position in the bar, with a linear head, and a bias for cells that already sound."""

    def __init__(self, cells: int, bar: int, width: int, layers: int) -> None:
        super().__init__()
        self.bar = bar  # steps: the network is told where in the bar a frame is
        self.body = nn.GRU(cells + bar, width, layers, batch_first=True)
        self.head = nn.Linear(width, cells)
        self.lasts = nn.Parameter(torch.full((cells,), _SUSTAIN_LOG_ODDS))
        nn.init.constant_(self.head.bias, _ONSET_LOG_ODDS)

    def forward(self, frames: Tensor, state: Tensor | None = None, first: int = 0) -> tuple[Tensor, Tensor]:
        """Compute the log odds of the frame after each.

        Args:
            frames: float [roll, step, cell].
            state: of the recurrent layers, None at the beginning.
            first: number of the first step, which gives its position in the bar.

        Returns:
            float [roll, step, cell], and the new state.
        """
        step = (first + torch.arange(frames.shape[1], device=frames.device)) % self.bar
        clock = functional.one_hot(step, self.bar).to(frames.dtype).expand(len(frames), -1, -1)
        with differentiable_recurrence(self.body):
            hidden, state = self.body(torch.cat([frames, clock], 2), state)
        return self.head(hidden) + self.lasts * (frames > 0), state


def _frames(rolls: Rolls, velocity: bool) -> Tensor:
    """Arrange cells from C1 to B7 as [roll, step, track * pitch]: velocities, or 1 where a cell sounds."""
    cells = rolls.velocity if velocity else (rolls.velocity > 0).to(rolls.velocity.dtype)
    low_padding, high_padding = rolls.lowest - LOWEST, LOWEST + PITCHES - rolls.lowest - cells.shape[-1]
    return functional.pad(cells, (low_padding, high_padding)).transpose(1, 2).flatten(2)  # negative padding cuts


def _inside(rolls: Rolls) -> Tensor:
    """Mark the steps with music: float [roll, step], 0 in the padding."""
    return rolls.support[:, 0, :, 0].to(rolls.velocity.dtype)


def _nats(model: nn.Module, inputs: Tensor, targets: Tensor, inside: Tensor) -> Tensor:
    """Average the negative log-likelihood of each frame given those before it: [roll]."""
    odds, _ = model(functional.pad(inputs, (0, 0, 1, 0))[:, :-1])
    nats = functional.binary_cross_entropy_with_logits(odds, targets, reduction="none").sum(2)
    return (nats * inside).sum(1) / inside.sum(1).clamp(min=1)


def _shuffled(rolls: Rolls) -> Rolls:
    """Shuffle the beats of every roll in an order seeded by its id; an incomplete beat stays at the end."""
    steps, beat = rolls.velocity.shape[2], rolls.steps_per_beat
    order = torch.arange(steps, device="cpu").repeat(len(rolls), 1)
    offsets = torch.arange(beat, device="cpu")
    for i, beats in enumerate(name_orders(rolls.ids, (rolls.lengths // beat).tolist())):
        order[i, : len(beats) * beat] = (beats[:, None] * beat + offsets).flatten()
    index = order.to(rolls.device)[:, None, :, None].expand_as(rolls.velocity)
    return replace(rolls, velocity=rolls.velocity.gather(2, index), onset=rolls.onset.gather(2, index))
