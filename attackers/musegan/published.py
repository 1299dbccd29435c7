"""The networks and the training of `size="full"`, as published: github.com/salu133445/musegan, `src/musegan`.

Shapes: a window is [track, step, pitch], in -1..1 for these networks; inside, [channel, bar, step, pitch]; z is
[window, 128].

* Generator: a trunk that all tracks share, then for each track two private streams, pitch before time and time before
  pitch, and their merger. Batch normalisation, tanh; a cell sounds where it is positive.
* Critic: the same in mirror image, beside a stream of chroma a beat and one of onsets and offsets; no normalisation.
* Wasserstein distance with gradient penalty 10 (Gulrajani et al., NIPS 2017), five critic updates for one of the
  generator, Adam (0.5, 0.9); over the last tenth of the steps the learning rate falls to 0.

A bar is 4 beats. With 12 steps a beat, as published, it is 16 times 3 steps; here 16 times any number. Steps count the
critic's updates: the published schedule counts those too, so that its rate is 0 after 50,000 of them, or 10,000 of the
generator. Otherwise than there, z is not cut at two standard deviations, and no critic has a head start.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from bench.api import Rolls
from bench.errors import DataError
from bench.notes.pitches import PITCHES
from bench.training.learning import batches

from .networks import Gan, Shape
from .training import BETAS, Peak, Read, descend

__all__ = ["full", "wasserstein"]

_LATENT, _SIXTEENTHS = 128, 16
_CRITIC_UPDATES, _PENALTY, _DECAY = 5, 10.0, 0.9
_Size = tuple[int, int, int]  # bars, steps, pitches


def full(shape: Shape, velocity: bool) -> Gan:
    """Build the published networks.

    Args:
        shape: tracks, bars, beats a bar, steps a beat.
        velocity: whether to read and generate velocities.

    Raises:
        DataError: a bar has not 4 beats, or the steps of a beat are no multiple of 4.
    """
    tracks, bars, beats, steps = shape
    if beats != 4 or steps % 4:
        raise DataError(
            f"musegan: a bar of {beats} beats of {steps} steps, expected for size 'full' 4 beats whose steps are a "
            "multiple of 4, such as 4 or 12"
        )
    substeps = steps // 4  # steps of a sixteenth
    return Gan(_Generator(tracks, bars, substeps), _Critic(tracks, bars, substeps), None, shape, _LATENT, velocity)


def wasserstein(
    peak: Peak, train: Rolls, read: Read, rng: Generator, *, steps: int, batch: int, lr: float, interval: int
) -> None:
    """Train generator and critic in place as WGAN-GP (Gulrajani et al., NIPS 2017).

    Args:
        peak: the model, its evaluation and its log; keeps the best state.
        train: windows.
        read: a batch of windows -> cells in 0..1.
        rng: the only source of random numbers.
        steps: updates of the critic; every fifth is followed by one of the generator.
        batch: windows a step.
        lr: learning rate of both, falling to 0 over the last tenth of the steps.
        interval: steps between evaluations.
    """
    model = peak.model
    generator, critic = model.generator_parameters(), list(model.critic.parameters())
    generator_optimizer, critic_optimizer = (
        torch.optim.Adam(parameters, lr=lr, betas=BETAS) for parameters in (generator, critic)
    )
    model.train()
    for step, index in enumerate(islice(batches(len(train), batch, rng), steps), start=1):
        for group in (*generator_optimizer.param_groups, *critic_optimizer.param_groups):
            group["lr"] = lr * min(1.0, (1 - (step - 1) / steps) / (1 - _DECAY))
        real = 2 * read(train.select(index)) - 1
        with torch.no_grad():
            fake = _sample(model, len(real), rng)
        loss = (model.critic(fake) - model.critic(real)).mean() + _PENALTY * _gradient_penalty(
            model.critic, real, fake, rng
        )
        descend(loss, critic_optimizer, critic)
        peak.losses.append(loss.detach())
        if step % _CRITIC_UPDATES == 0:
            descend(-model.critic(_sample(model, len(real), rng)).mean(), generator_optimizer, generator)
        if step % interval == 0 or step == steps:
            peak.evaluate(step)


def _sample(model: Gan, count: int, rng: Generator) -> Tensor:
    """Windows in -1..1 as the critic reads them: without binary neurons, as published."""
    z = model.prior(count, rng)
    return 2 * model.logits(z).sigmoid() * model.velocities(z) - 1


def _gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, rng: Generator) -> Tensor:
    """The mean square of how far the critic's slope is from 1, between real windows and generated ones."""
    share = torch.rand(len(real), 1, 1, 1, generator=rng, device=rng.device).to(real.device)
    mixture = (share * real + (1 - share) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(critic(mixture).sum(), mixture, create_graph=True)
    return ((1e-8 + slope.square().flatten(1).sum(1)).sqrt() - 1).square().mean()


class _Generator(nn.Module):
    """z -> log odds [window, track, step, pitch]: twice what the published one puts into tanh."""

    def __init__(self, tracks: int, bars: int, substeps: int) -> None:
        super().__init__()
        all_bars, octave, steps = (bars, 1, 1), (1, 1, 12), (1, substeps, 1)
        self.shared = nn.Sequential(
            *_up(_LATENT, 512, all_bars), *_up(512, 256, (1, 4, 3)), *_up(256, 128, (1, 4, 3), (1, 4, 2))
        )  # [128, bar, 16, 7]
        self.pitch_time = _each(tracks, lambda: [*_up(128, 32, octave), *_up(32, 16, steps)])
        self.time_pitch = _each(tracks, lambda: [*_up(128, 32, steps), *_up(32, 16, octave)])
        self.merged = _each(tracks, lambda: _up(32, 1, (1, 1, 1))[:2])
        self.apply(_initialised)

    def forward(self, z: Tensor) -> Tensor:
        shared = self.shared(z[:, :, None, None, None])
        private = zip(self.pitch_time, self.time_pitch, self.merged, strict=True)
        tracks = [merged(torch.cat([first(shared), second(shared)], 1)) for first, second, merged in private]
        return 2 * torch.cat(tracks, 1).flatten(2, 3)


class _Critic(nn.Module):
    """Windows in -1..1 -> [window], higher for what looks real."""

    def __init__(self, tracks: int, bars: int, substeps: int) -> None:
        super().__init__()
        octave, steps = (1, 1, 12), (1, substeps, 1)
        self.bars, self.beat = bars, 4 * substeps
        self.pitch_time = _each(tracks, lambda: [*_down(tracks, 16, octave), *_down(16, 32, steps)])
        self.time_pitch = _each(tracks, lambda: [*_down(tracks, 16, steps), *_down(16, 32, octave)])
        self.merged = _each(tracks, lambda: _down(64, 64, (1, 1, 1)))  # [64, bar, 16, 7]
        self.shared = nn.Sequential(*_down(64 * tracks, 128, (1, 4, 3), (1, 4, 2)), *_down(128, 256, (1, 4, 3)))
        self.chroma = nn.Sequential(*_down(tracks, 32, octave), *_down(32, 64, (1, 4, 1)))
        self.edges = nn.Sequential(*_down(tracks, 16, steps), *_down(16, 32, (1, 4, 1)), *_down(32, 64, (1, 4, 1)))
        pair = min(2, bars)
        self.streams = nn.Sequential(*_down(256 + 64 + 64, 512, (pair, 1, 1), (1, 1, 1)))
        self.head = nn.Linear(512 * (bars - pair + 1), 1)
        self.apply(_initialised)

    def forward(self, windows: Tensor) -> Tensor:
        cells = windows.reshape(*windows.shape[:2], self.bars, -1, PITCHES)
        private = zip(self.pitch_time, self.time_pitch, self.merged, strict=True)
        tracks = [merged(torch.cat([first(cells), second(cells)], 1)) for first, second, merged in private]
        chroma = windows.reshape(*cells.shape[:3], -1, self.beat, PITCHES // 12, 12).sum((4, 5))
        edges = (cells - functional.pad(cells, (0, 0, 1, 0))[:, :, :, :-1]).sum(4, keepdim=True)
        streams = torch.cat([self.shared(torch.cat(tracks, 1)), self.chroma(chroma), self.edges(edges)], 1)
        score: Tensor = self.head(self.streams(streams).flatten(1))
        return score[:, 0]


def _up(inputs: int, outputs: int, size: _Size, stride: _Size | None = None) -> list[nn.Module]:
    """A transposed convolution, normalised as TensorFlow does by default, and rectified."""
    normalisation = nn.BatchNorm3d(outputs, eps=1e-3, momentum=0.01)
    return [nn.ConvTranspose3d(inputs, outputs, size, stride or size), normalisation, nn.ReLU()]


def _down(inputs: int, outputs: int, size: _Size, stride: _Size | None = None) -> list[nn.Module]:
    """A convolution and a leaky rectifier."""
    return [nn.Conv3d(inputs, outputs, size, stride or size), nn.LeakyReLU(0.2)]


def _each(tracks: int, private: Callable[[], list[nn.Module]]) -> nn.ModuleList:
    """A private network for every track."""
    return nn.ModuleList(nn.Sequential(*private()) for _ in range(tracks))


def _initialised(module: nn.Module) -> None:
    """Initialise a layer as the published code does."""
    if isinstance(module, nn.Conv3d | nn.ConvTranspose3d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.05, a=-0.1, b=0.1)
        assert module.bias is not None
        nn.init.zeros_(module.bias)
