"""The adversarial networks of `size="small"`, and what the networks of both sizes share.

Shapes: a window is [track, step, pitch], values in 0..1; z is [window, latent].

* The generator is of low rank: every track and bar is a rhythm [step, rank] times pitches [rank, pitch], on top of the
  log odds that counting gives. The published transposed convolutions learn nothing in a minute (music.md, section 5);
  this one draws in one stroke what they draw cell by cell.
* Its encoder serves the warm start alone: an autoencoder (Kingma and Welling, ICLR 2014) before the game begins.
* The critic reads a window as the published one does: octaves first, then beats, and the other way round; spectral
  norms (Miyato et al., ICLR 2018) bound its slope.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from bench.notes.pitches import PITCHES

from .windows import binary

__all__ = ["Gan", "Shape", "small"]

_RARE = -5.0  # log odds of a cell that sounds, before anything is known
_SPREAD = 0.1  # standard deviation of a velocity about what the generator says
Shape = tuple[int, int, int, int]  # tracks, bars, beats a bar, steps a beat


class Gan(nn.Module):
    """A generator, its critic, an optional encoder, and the marginal log odds of every cell."""

    marginal: Tensor
    counted: Tensor

    def __init__(
        self, generator: nn.Module, critic: nn.Module, encoder: nn.Module | None, shape: Shape, latent: int,
        velocity: bool,
    ) -> None:  # fmt: skip
        """Assemble the networks.

        Args:
            generator: z [window, latent] -> log odds [window, track, step, pitch]; with an encoder, added to the
                marginal.
            critic: windows -> float [window], higher for real ones.
            encoder: windows -> mean and log variance of z, [window, 2 * latent]; None for the published size.
            shape: tracks, bars, beats a bar, steps a beat.
            latent: width of z.
            velocity: whether to read and generate velocities.
        """
        super().__init__()
        self.tracks, self.bars, beats, steps = shape
        self.latent, self.bar = latent, beats * steps
        self.generator, self.critic, self.encoder = generator, critic, encoder
        self.loudness = nn.Linear(latent, self.tracks * self.bars * self.bar) if velocity else None
        self.register_buffer("marginal", torch.full((self.tracks, self.bar, PITCHES), _RARE))
        self.register_buffer("counted", torch.tensor(False))  # true: every cell is drawn by `marginal` alone

    def logits(self, z: Tensor) -> Tensor:
        """Compute the log odds that a cell sounds.

        Returns:
            float [window, track, step, pitch].
        """
        marginal = self.marginal.repeat(1, self.bars, 1)
        if self.counted:
            return marginal.expand(len(z), -1, -1, -1)
        residual: Tensor = self.generator(z)
        return residual if self.encoder is None else residual + marginal

    def velocities(self, z: Tensor) -> Tensor:
        """Compute the velocity of what sounds.

        Returns:
            float [window, track, step, 1] in 0..1; a scalar 1 where velocities are not used.
        """
        if self.loudness is None:
            return z.new_ones(())
        return torch.sigmoid(self.loudness(z)).view(len(z), self.tracks, -1, 1)

    def generator_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the generator and of its velocities."""
        return [*self.generator.parameters(), *(self.loudness.parameters() if self.loudness is not None else ())]

    def count(self, windows: Tensor) -> None:
        """Set the marginal log odds to the frequencies in some windows, plus 1/2, and use nothing else from then on.

        Args:
            windows: cells [window, track, step, pitch].
        """
        onsets = (windows > 0).to(windows.dtype).view(-1, self.tracks, self.bars, self.bar, PITCHES).sum((0, 2))
        self.marginal.copy_(((onsets + 0.5) / (len(windows) * self.bars + 1.0)).logit())
        self.counted.fill_(True)

    def prior(self, count: int, rng: Generator) -> Tensor:
        """Draw z from the standard normal distribution.

        Returns:
            float [window, latent] for `count` windows.
        """
        return torch.randn(count, self.latent, generator=rng, device=rng.device).to(self.marginal.device)

    def sample(self, z: Tensor, rng: Generator | None) -> Tensor:
        """Generate windows, with a straight-through gradient through the binary cells.

        Args:
            z: float [window, latent].
            rng: draws each cell by its probability; None: a cell sounds where its probability exceeds 1/2.

        Returns:
            Velocities [window, track, step, pitch].
        """
        logits = self.logits(z)
        chance = logits.sigmoid()
        if rng is None:
            is_on = logits > 0
        else:
            is_on = torch.rand(chance.shape, generator=rng, device=rng.device).to(chance.device) < chance
        return (chance + (is_on.to(chance.dtype) - chance).detach()) * self.velocities(z)

    def seen(self, windows: Tensor) -> Tensor:
        """Return cells in 0..1 as the critic reads them: the published one in -1..1."""
        return windows if self.encoder is not None else 2 * windows - 1

    def bound(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Compute both terms of the evidence lower bound (Kingma and Welling, ICLR 2014, eq. 3), in nats.

        z is drawn in training mode (from torch's global generator, as dropout is); otherwise it is the posterior's
        mean.

        Args:
            windows: cells [window, track, step, pitch].

        Returns:
            Log-likelihood, and divergence of the posterior from the prior, float [window] each.
        """
        assert self.encoder is not None
        mean, log_variance = self.encoder(windows).chunk(2, 1)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp() if self.training else mean
        cells = binary(windows)
        error = functional.binary_cross_entropy_with_logits(self.logits(z), cells, reduction="none")
        likelihood = -error.flatten(1).sum(1)
        if self.loudness is not None:
            velocity_error = (windows - self.velocities(z)) / _SPREAD
            likelihood = likelihood - 0.5 * (velocity_error.square() * cells.detach()).flatten(1).sum(1)
        return likelihood, 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


def small(shape: Shape, velocity: bool) -> Gan:
    """Build the networks of the small size: 6.7 million parameters for five tracks and two bars of 16 steps."""
    latent = 64
    return Gan(_LowRank(shape, latent), _Critic(shape), _Encoder(shape, latent), shape, latent, velocity)


class _LowRank(nn.Module):
    """z -> log odds relative to the marginal: rhythm [step, rank] times pitch [rank, pitch] for each track and bar."""

    def __init__(self, shape: Shape, latent: int, width: int = 256, rank: int = 12) -> None:
        super().__init__()
        tracks, bars, beats, steps = shape
        self.rhythms, self.pitches = (tracks, bars, beats * steps, rank), (tracks, bars, rank, PITCHES)
        self.body = nn.Sequential(*_dense(latent, width), *_dense(width, width))
        self.rhythm = nn.Linear(width, tracks * bars * beats * steps * rank)
        self.pitch = nn.Linear(width, tracks * bars * rank * PITCHES)

    def forward(self, z: Tensor) -> Tensor:
        hidden = self.body(z)
        rhythm, pitch = self.rhythm(hidden).view(-1, *self.rhythms), self.pitch(hidden).view(-1, *self.pitches)
        cells: Tensor = rhythm @ pitch
        return cells.flatten(2, 3)


class _Encoder(nn.Sequential):
    """Windows [window, track, step, pitch] -> mean and log variance of z, [window, 2 * latent]."""

    def __init__(self, shape: Shape, latent: int, width: int = 256) -> None:
        tracks, bars, beats, steps = shape
        super().__init__(
            nn.Flatten(), *_dense(tracks * bars * beats * steps * PITCHES, width), *_dense(width, width),
            nn.Linear(width, 2 * latent),
        )  # fmt: skip


class _Critic(nn.Module):
    """Windows [window, track, step, pitch] -> float [window], higher for real ones."""

    def __init__(self, shape: Shape, width: int = 32) -> None:
        super().__init__()
        tracks, bars, beats, steps = shape
        octave, beat = (1, 12), (steps, 1)
        self.octaves_first = _stack(_conv(tracks, width, octave), _conv(width, 2 * width, beat))
        self.beats_first = _stack(_conv(tracks, width, beat), _conv(width, 2 * width, octave))
        pair = min(2, bars * beats)  # beats
        self.trunk = _stack(spectral_norm(nn.Conv2d(4 * width, 4 * width, (pair, 3), (pair, 2))))
        self.head = spectral_norm(nn.Linear(4 * width * (bars * beats // pair) * 3, 1))

    def forward(self, windows: Tensor) -> Tensor:
        features = torch.cat([self.octaves_first(windows), self.beats_first(windows)], 1)
        score: Tensor = self.head(self.trunk(features).flatten(1))
        return score[:, 0]


def _dense(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """A linear layer, normalised and rectified."""
    return nn.Linear(inputs, outputs), nn.LayerNorm(outputs), nn.ReLU()


def _conv(inputs: int, outputs: int, size: tuple[int, int]) -> nn.Module:
    """A spectrally normalised convolution without overlap."""
    return spectral_norm(nn.Conv2d(inputs, outputs, size, size))


def _stack(*layers: nn.Module) -> nn.Sequential:
    """Layers, each followed by a leaky rectifier."""
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.LeakyReLU(0.2))))
