"""Crafting of perturbations against surrogates: what the noise-based defenses share.

A perturbation is `bound * unit[key]`: a bound for every sample of every clip, zero where nothing may be added, and a
unit perturbation within -1..1 for every key. The key of a clip is the clip itself, its class, or the set, so that
sample-wise, class-wise and universal noise are one code. Signs of gradients are all that moves it (PGD, Madry et al.
2018), by a step in units of the bound; all clips of a batch at once.

Of rolls, what is perturbed is the velocity of every note, in place of the audio of a clip: the bound is zero but at
onsets, a note sounds at the velocity of its onset throughout, and no note falls silent.

Two ways to the gradient
------------------------
`min_min` (Huang et al., "Unlearnable Examples", ICLR 2021, eq. 2): surrogates learn from the perturbed clips and the
noise descends their loss, in turns, until the loss is so small that nothing seems left to learn.
`perturb` against `pretrained` surrogates (Fowl et al., "Adversarial Examples Make Strong Poisons", NeurIPS 2021): the
noise ascends the loss of models that know the clean clips, or descends it towards a wrong class.

While the noise moves, the surrogates are in evaluation mode and hold still; every surrogate is read by its own `loss`
alone, so that classifiers and generators are crafted against alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, overload

import torch
from torch import Generator, Tensor, nn

from bench.api import Adaptation, Attacker, Clips, Data, Knowledge, Rolls
from bench.errors import DataError, UsageError
from bench.notes.velocities import SOFTEST, beginnings, rounded, sustained
from bench.training.learning import batches, seeded

__all__ = [
    "Noise", "Per", "Schedule", "fresh", "heard", "min_min", "perturb", "pretrained", "room", "shifted", "surrogates",
]  # fmt: skip

Per = Literal["clip", "class", "set"]

_HELD_OUT = 10  # one clip in so many tells a surrogate when to stop
_TINY = 1e-9


@dataclass(frozen=True)
class Schedule:
    """How long surrogates and noise take turns."""

    rounds: int = 6  # at most
    learner_steps: int = 20  # of the surrogates, a round
    noise_steps: int = 4  # a round: on every clip, or of a shared perturbation; "joint" has none
    step: float = 0.35  # of the bound
    stop: float = 0.01  # mean loss over the perturbed clips
    batch: int = 128
    lr: float = 0.0  # Adam's, for the surrogates; 0: their own
    alternation: Literal["alternating", "joint"] = "alternating"  # "joint": each learner step moves the noise too
    restart: Literal["warm", "signal"] = "warm"  # "signal": every pass begins from clip(x + delta), see `signal_copy`


@dataclass(eq=False)
class Noise:
    """A perturbation that is being crafted."""

    bound: Tensor  # [clip, 1, sample] or [roll, track, step, pitch], at least 0
    unit: Tensor  # [key, channel, sample] or [key, track, step, pitch], within -1..1
    key: Tensor  # int64 [clip]
    shared: bool  # whether one unit perturbation serves several clips; if not, each clip's key is its own place

    @classmethod
    def silent(cls, data: Data, bound: Tensor, per: Per) -> Noise:
        """No perturbation yet. Raises `DataError` where there should be one a class and the clips have no labels."""
        if per == "class":
            if data.labels is None:
                raise DataError("one perturbation a class, but the clips have no labels: expected per = 'clip'")
            key, keys = data.labels, len(data.classes)
        elif per == "clip":
            key, keys = torch.arange(len(data), device=data.device), len(data)
        else:
            key, keys = torch.zeros(len(data), dtype=torch.int64, device=data.device), 1
        return cls(bound, torch.zeros(keys, *_sound(data).shape[1:], device=data.device), key, per != "clip")

    def of(self, index: Tensor) -> Noise:
        """The perturbation of the clips at `index`: what they share is this one's own, what is theirs alone a copy."""
        if self.shared:
            return Noise(self.bound[index], self.unit, self.key[index], True)
        return Noise(self.bound[index], self.unit[index], torch.arange(len(index), device=index.device), False)

    def put(self, index: Tensor, part: Noise) -> None:
        """Take back what was got by `of`, changed."""
        if not self.shared:
            self.unit[index] = part.unit

    def added(self, clips: Data) -> Data:
        """The clips, all that this is for, perturbed."""
        unit = self.unit[self.key] if self.shared else self.unit
        if isinstance(clips, Clips):
            return clips.with_audio((self.bound * unit).add_(clips.audio).clamp_(-1.0, 1.0))
        return sustained(clips, rounded((clips.velocity + self.bound * unit).clamp(min=SOFTEST)))

    @overload
    def everywhere(self, data: Clips) -> Clips: ...

    @overload
    def everywhere(self, data: Rolls) -> Rolls: ...

    def everywhere(self, data: Data) -> Data:
        """The whole set, perturbed. Where the bound reaches into the padding, the padding counts as recording."""
        if not isinstance(data, Clips):
            return self.added(data)
        reach = (self.bound[:, 0] > 0) * torch.arange(1, data.audio.shape[-1] + 1, device=data.device)
        return replace(self.added(data), lengths=torch.maximum(data.lengths, reach.amax(1)))

    def move(self, slope: Tensor, step: float) -> None:
        """One sign step down the slope of a loss with respect to the perturbed audio, or velocities of onsets.

        Where the slope is not a number its sign is 0.
        """
        if self.shared:
            slope = torch.zeros_like(self.unit).index_add_(0, self.key, slope * self.bound)
        self.unit.add_(slope.sign(), alpha=-step).clamp_(-1.0, 1.0)

    def restart(self, clips: Data) -> None:
        """From clip(x + delta, +-bound) on, see `signal_copy`; of a perturbation that is not shared."""
        wrong = self.bound * self.unit + _sound(clips)
        self.unit = torch.where(self.bound > 0, wrong / self.bound.clamp_min(_TINY), 0.0).clamp(-1.0, 1.0)


def room(data: Data, epsilon: float, *, padding: bool) -> Tensor:
    """The constant bound [clip, 1, sample]: epsilon within the recording, or in its padding too.

    Of rolls [roll, track, step, pitch]: epsilon, in whole MIDI velocities, where notes begin.
    """
    if not isinstance(data, Clips):
        return math.floor(127 * epsilon + 1e-6) / 127 * beginnings(data).to(data.velocity.dtype)
    return epsilon * (torch.ones_like(data.support) if padding else data.support).to(data.audio.dtype)


def surrogates(
    knowledge: Knowledge, name: str, domain: str = "audio", otherwise: str = ""
) -> tuple[Attacker[Any], ...]:
    """The surrogates for recordings or for rolls, or a `UsageError` that names the defense and what to do otherwise."""
    found = tuple(s for s in knowledge.surrogates if domain in s.domains)
    if not found:
        raise UsageError(
            f"{name} has no surrogate to descend: knowledge is '{knowledge.name}', expected "
            f"'white-box', 'ensemble' or 'black-box'{otherwise}"
        )
    return found


def min_min(
    noise: Noise,
    data: Data,
    against: Sequence[Attacker[Any]],
    rng: Generator,
    schedule: Schedule,
    expects: Sequence[Adaptation[Any]] = (),
) -> list[float]:
    """Turn surrogates and noise by turns towards one small loss, in place. Returns the loss of every round."""
    with seeded(rng):  # the surrogates' dropout
        models, learners = fresh(against, data, rng, schedule.lr)
        order = batches(len(data), schedule.batch, rng)
        losses: list[float] = []
        for _ in range(schedule.rounds):
            learning: list[Tensor] = []
            for _ in range(schedule.learner_steps):
                index = next(order).to(data.device)
                part = noise.of(index)
                batch = heard(part.added(data.select(index)), expects, rng)
                learning.append(_learnt(batch, against, models, learners, schedule.alternation == "joint"))
                if (slope := _sound(batch).grad) is not None:
                    part.move(slope, schedule.step)
                    noise.put(index, part)
            if schedule.alternation == "joint":
                losses.append(float(torch.stack(learning).mean()))
            else:
                loss = perturb(
                    noise, data, against, models, rng, steps=schedule.noise_steps, step=schedule.step,
                    batch=schedule.batch, restart=schedule.restart, expects=expects,
                )  # fmt: skip
                losses.append(loss)
            if losses[-1] < schedule.stop:
                break
    return losses


def perturb(
    noise: Noise,
    data: Data,
    against: Sequence[Attacker[Any]],
    models: Sequence[nn.Module],
    rng: Generator,
    *,
    steps: int,
    step: float,
    batch: int,
    restart: Literal["warm", "signal"] = "warm",
    upwards: bool = False,
    target: Callable[[Any], Any] = lambda clips: clips,
    expects: Sequence[Adaptation[Any]] = (),
) -> float:
    """Sign steps of the noise, in place, down the mean of the models' losses; `upwards`, up it.

    A perturbation of each clip takes `steps` steps; a shared one as many, each on a random batch of four times the
    size. target: what the clips are labelled as in the loss. Returns the mean loss before the last step.
    """
    last: list[Tensor] = []
    way = -step if upwards else step
    with _still(models):
        for index in _parts(noise, len(data), steps, batch, rng):
            at = index.to(data.device)
            clips, part = target(data.select(at)), noise.of(at)
            if restart == "signal":
                part.restart(clips)
            for _ in range(1 if noise.shared else steps):
                audio = _sound(part.added(clips)).requires_grad_()
                changed = heard(_with_sound(clips, audio), expects, rng)
                loss = torch.stack([a.loss(m, changed) for a, m in zip(against, models, strict=True)]).mean(0)
                if loss.requires_grad:  # a model that is blind to velocities has no slope
                    (slope,) = torch.autograd.grad(loss.sum(), audio)
                    part.move(slope, way)
            noise.put(at, part)
            last.append(loss.detach())
    return float(torch.cat(last).mean()) if last else float("nan")


def fresh(
    against: Sequence[Attacker[Any]], data: Data, rng: Generator, lr: float = 0.0
) -> tuple[list[nn.Module], list[torch.optim.Adam]]:
    """Surrogates that know nothing yet, in training mode, and what trains them; lr: of all, or 0 for their own."""
    models = [attacker.model(data, rng).train() for attacker in against]
    learners = [
        torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr or attacker.lr)
        for attacker, model in zip(against, models, strict=True)
    ]
    return models, learners


def pretrained(against: Sequence[Attacker[Any]], data: Data, rng: Generator) -> list[nn.Module]:
    """The surrogates as they come out of their own training on the clean clips, of which every tenth is held out."""
    held_out = torch.arange(len(data), device=data.device) % _HELD_OUT == _HELD_OUT - 1
    if len(data) < 2 * _HELD_OUT:
        train, validation = data, data
    else:
        train, validation = (data.select(which.nonzero()[:, 0]) for which in (~held_out, held_out))
    return [attacker.learn(train, validation, rng) for attacker in against]


def heard(batch: Any, expects: Sequence[Adaptation[Any]], rng: Generator) -> Any:
    """The batch as an attacker may hear it: under one of the expected adaptations or none, drawn anew at every step.

    Where an adaptation leaves torch, its gradient is taken for that of the identity (straight-through).
    """
    drawn = int(torch.randint(len(expects) + 1, (), generator=rng, device=rng.device))
    for hook in ("transform", "augment") if drawn < len(expects) else ():
        change = expects[drawn].transform if hook == "transform" else expects[drawn].augment
        changed = change(batch, rng)
        now, was = _sound(changed), _sound(batch)
        if changed.ids != batch.ids or (not now.requires_grad and now.shape != was.shape):
            continue  # a filter, or a length that no gradient can be carried back from
        batch = changed if now.requires_grad else _with_sound(changed, now + was - was.detach())
    return batch


def shifted(clips: Clips, by: int) -> Clips:
    """The clips under the labels `by` classes on: the targets of a targeted attack. One class has no other."""
    if clips.labels is None:
        raise DataError("a targeted attack needs labels, expected a data set of classes or targeted = false")
    return replace(clips, labels=(clips.labels + by) % len(clips.classes))


def _sound(data: Data) -> Tensor:
    """[clip, channel, sample] or [roll, track, step, pitch]"""
    return data.audio if isinstance(data, Clips) else data.velocity


def _with_sound(data: Data, sound: Tensor) -> Data:
    """The same items at other samples or velocities, as they are given."""
    return data.with_audio(sound) if isinstance(data, Clips) else replace(data, velocity=sound)


def _learnt(
    batch: Data,
    against: Sequence[Attacker[Any]],
    models: Sequence[nn.Module],
    learners: Sequence[torch.optim.Optimizer],
    joint: bool,
) -> Tensor:
    """One step of every surrogate; returns their mean loss. `joint`: the audio collects its gradient on the way."""
    if joint:
        _sound(batch).requires_grad_()
    total = []
    for attacker, model, learner in zip(against, models, learners, strict=True):
        model.train()
        learner.zero_grad(set_to_none=True)
        loss = attacker.loss(model, batch).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        learner.step()
        total.append(loss.detach())
    return torch.stack(total).mean()


@contextmanager
def _still(models: Sequence[nn.Module]) -> Iterator[None]:
    """In evaluation mode and without gradients of their own; afterwards as before."""
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


def _parts(noise: Noise, clips: int, steps: int, batch: int, rng: Generator) -> Iterator[Tensor]:
    """Which clips are worked on at once: all in turn, or random ones for each step of a shared noise."""
    if not noise.shared:
        yield from torch.split(torch.arange(clips, device=noise.unit.device), batch)
        return
    order = batches(clips, 4 * batch, rng)
    for _ in range(steps):
        yield next(order)
