"""The range of the noise, and the two things that move it without a gradient: the regulariser and a control's level.

Conventions: u, `low` and `high` are [item, track, ...] (for recordings: clip, part, channel, window); the noise's
amplitude is `low + (high - low) sigmoid(u)` where `high > low`, else 0 (Meerza et al. 2025: the sigmoid that keeps the
noise between the threshold in quiet and the dominant note). u is kept within -5..5.

The regulariser is `alpha * sum_m w_m r_m`, r_m the norm of track m's noise over the norm of its bound `high`, so 0..1
whatever the loudness, the length and the bound. It takes a proximal step of its own after each sign step, the block
soft-threshold r_m -> max(0, r_m - t alpha w_m) (Parikh and Boyd 2014, section 6.5.1), and so is a weight beside the
loss. Added to the loss before the sign is taken it is a veto: its slope has one sign everywhere, and the sign forgets
how small it is. Adam forgets it too, since it divides each slope by its own size.

Chosen by measurement (24 clips of the chorales, tiny MusicGen, 8 rounds, alpha 0.3, seed 0; random noise in the same
bounds: 8.7 dB SNR): inside the sign 22.5 dB, Adam on u at 0.5 23.7 dB; proximal with t = s / 4, s / 2 and s for a sign
step of s: 5.7, 7.0 and 12.6 dB; without regulariser 4.6 dB. t is s / 2. More rounds end louder (32 rounds of 8
clips: 5.4 dB).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["U_MAX", "Bounds", "amplitude", "matched_level", "track_weights"]

U_MAX = 5.0  # sigmoid(5) = 0.993: beyond it sign steps would only have to come back
_SHARE = 0.5  # t / s
_HALVINGS = 14  # of an interval of 4 * U_MAX: to 0.001, some 0.01 dB


def amplitude(u: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Compute the noise's amplitude between its bounds; 0 where they leave no room. Differentiable in u."""
    return torch.where(high > low, low + (high - low) * u.sigmoid(), 0.0)


@dataclass(frozen=True, eq=False)
class Bounds:
    """The bounds of every parameter u, and the weight of each track's noise.

    Attributes:
        low: least amplitude where there is noise, in the shape of u.
        high: most amplitude.
        weight: alpha * w_m of the regulariser, [item, track].
    """

    low: Tensor
    high: Tensor
    weight: Tensor

    def select(self, index: Any) -> Bounds:
        """Select items."""
        return Bounds(self.low[index], self.high[index], self.weight[index])

    def shortened(self, u: Tensor, step: float) -> Tensor:
        """Take the regulariser's proximal step.

        Args:
            u: [item, track, ...], within -U_MAX..U_MAX.
            step: the size of the sign step that it follows.

        Returns:
            u of the noise whose norm is shorter by `step / 2 * weight` of its bound's norm, and not below `low`.
        """
        noise, is_open = amplitude(u, self.low, self.high), self.high > self.low
        share = _norm(noise) / _norm(torch.where(is_open, self.high, 0.0)).clamp_min(1e-12)
        factor = (1 - _SHARE * step * self.weight / share.clamp_min(1e-12)).clamp_min(0)
        room = torch.where(is_open, self.high - self.low, 1.0)
        shorter = (noise * factor.view(*factor.shape, *[1] * (u.dim() - 2)) - self.low) / room
        moved = shorter.clamp(0, 1).logit().clamp(-U_MAX, U_MAX)
        return torch.where(is_open & (factor < 1).view(*factor.shape, *[1] * (u.dim() - 2)), moved, u)


def track_weights(energy: Tensor) -> Tensor:
    """Compute the weights of the regulariser: 1 - the track's share of its item, 1 for the only track that sounds.

    Args:
        energy: [item, track], 0 for a silent track.

    Returns:
        [item, track], within 0..1. The paper's weight of a lone track would be 0 and switch the regulariser off.
    """
    share = energy / energy.sum(1, keepdim=True).clamp_min(1e-12)
    is_lone = (energy > 0).sum(1, keepdim=True) == 1
    return torch.where(is_lone, 1.0, 1 - share)


def matched_level(u: Tensor, level: Callable[[Tensor], Tensor], target: Tensor) -> Tensor:
    """Shift u by one number an item so that random noise has a given level: a matched control.

    Args:
        u: [item, ...].
        level: u -> the noise's level of each item, [item], which rises with u.
        target: the level wanted, [item]. What the bounds do not reach ends at the nearest bound.

    Returns:
        u, shifted.
    """
    below, above = torch.full_like(target, -2 * U_MAX), torch.full_like(target, 2 * U_MAX)
    shape = (-1, *[1] * (u.dim() - 1))
    for _ in range(_HALVINGS):
        middle = (below + above) / 2
        is_low = level(u + middle.to(u.dtype).view(shape)) < target
        below, above = torch.where(is_low, middle, below), torch.where(is_low, above, middle)
    return u + ((below + above) / 2).to(u.dtype).view(shape)


def _norm(noise: Tensor) -> Tensor:
    """Euclidean norm over all but item and track: [item, track]."""
    return noise.flatten(2).square().sum(2).sqrt()
