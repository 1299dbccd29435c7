"""A small U-Net on spectra, trained on pairs of clean and protected clips, restores published clips.

The audio form of BridgePure, with a regression in place of its diffusion bridge: the defense is public, so an attacker
with a few clean clips has as many pairs of what goes in and what comes out, and learns the way back.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from bench.api import Adaptation, Clips, Needs, check_range
from bench.sound.levels import energy
from bench.sound.spectra import istft, stft
from bench.training.learning import Budget, fit, seeded

_BATCH = 8
_EVALUATIONS = 8
_HELD_OUT = 5  # one pair of so many chooses the checkpoint
_AT_ONCE = 32  # recordings restored together
_LEAST = 1e-8


@dataclass(frozen=True)
class PairsUnet(Adaptation[Clips]):
    """Restore clips by a U-Net that reads spectra and says which share of each cell is noise, to be subtracted.

    The network's last layer begins at zero, so that untrained it changes nothing, and the checkpoint is the best on
    held-out pairs: one that adds more than it removes is not kept.

    Attributes:
        strength: share of the change that is made, 0 (none) to 1 (all).
        steps: updates of the training; more removes more of what the pairs show.
        width: channels of the first level.
        frames: frames of the excerpts that it is trained on.
        lr: learning rate of AdamW.
    """

    domains = ("audio",)
    requires = ("pairs",)
    sweep = ("strength", 0.25, 1.0)
    paper = "Wang et al. 2025, NeurIPS (BridgePure: limited protection leakage can break black-box data protection)"
    needs = Needs(memory_gb=3.0)
    presets = {"smoke": {"steps": 10, "width": 8}, "full": {"steps": 1500, "width": 32}}

    strength: float = 1.0
    steps: int = 150
    width: int = 16
    frames: int = 64
    lr: float = 3e-3

    def __post_init__(self) -> None:
        check_range(self, "strength", least=0, most=1)
        check_range(self, "steps", least=1)
        check_range(self, "width", least=1)
        check_range(self, "frames", least=4)
        check_range(self, "lr", above=0)

    def transform_with_pairs(self, data: Clips, clean: Clips, protected: Clips, rng: Generator) -> Clips:
        pairs = _Pairs(*(_spectra(items, protected) for items in (protected, clean)))
        held = torch.arange(len(pairs), device=data.device) % _HELD_OUT == _HELD_OUT - 1
        if len(pairs) < _HELD_OUT:
            train, choosing = pairs, pairs
        else:
            train, choosing = (pairs.select(mask.nonzero()[:, 0]) for mask in (~held, held))
        with seeded(rng):
            model = _UNet(self.width).to(data.device)
        budget = Budget(self.steps, _BATCH, self.lr, -(-self.steps // _EVALUATIONS))
        fit(model, _error, train, choosing, rng, budget, _quality, augment=self._excerpt)
        with torch.no_grad():
            parts = _spectra(data, data)
            noise = torch.cat([_noise(model, rows) for rows in parts.split(_AT_ONCE)])
        cells = torch.view_as_complex(noise.movedim(1, -1).contiguous()).unflatten(0, data.audio.shape[:2])
        removed = istft(cells, data.rate, data.audio.shape[-1]) * _level(data)
        return data.with_audio((data.audio - self.strength * removed).clamp(-1.0, 1.0) * data.support)

    def _excerpt(self, pairs: _Pairs, rng: Generator, model: nn.Module) -> _Pairs:
        """Cut out the same frames of all pairs of a batch, drawn at random."""
        room = pairs.protected.shape[-1] - self.frames
        if room <= 0:
            return pairs
        start = int(torch.randint(room + 1, (), generator=rng, device=rng.device))
        return _Pairs(*(side[..., start : start + self.frames] for side in (pairs.protected, pairs.clean)))


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Spectra of both sides, [recording, 2, bin, frame]: real and imaginary parts."""

    protected: Tensor
    clean: Tensor

    def __len__(self) -> int:
        return len(self.protected)

    def select(self, index: Tensor) -> _Pairs:
        return _Pairs(self.protected[index], self.clean[index])


class _UNet(nn.Module):
    """Three levels, each of half the bins and frames of the one above; gives the share of noise in each cell."""

    def __init__(self, width: int):
        super().__init__()
        self.enter = nn.Conv2d(2, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.deep = nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.up = nn.Conv2d(4 * width, width, 3, padding=1)
        self.leave = nn.Conv2d(2 * width, 1, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        if self.leave.bias is not None:
            nn.init.zeros_(self.leave.bias)

    def forward(self, spectra: Tensor) -> Tensor:
        """Compute the shares, [recording, 1, bin, frame]."""
        bins, frames = spectra.shape[-2:]
        first = functional.silu(self.enter(functional.pad(spectra, (0, -frames % 4, 0, -bins % 4))))
        second = functional.silu(self.down(first))
        third = functional.silu(self.deep(second))
        third = functional.silu(third + self.middle(third))
        second = functional.silu(self.up(torch.cat([second, _doubled(third)], 1)))
        share: Tensor = self.leave(torch.cat([first, _doubled(second)], 1))
        return share[..., :bins, :frames]


def _doubled(features: Tensor) -> Tensor:
    """Repeat every bin and frame."""
    return features.repeat_interleave(2, -1).repeat_interleave(2, -2)


def _noise(model: nn.Module, spectra: Tensor) -> Tensor:
    """Compute the part of spectra that is noise; the network reads them with square roots for magnitudes."""
    compressed = spectra / spectra.norm(dim=1, keepdim=True).clamp_min(_LEAST).sqrt()
    noise: Tensor = model(compressed) * spectra
    return noise


def _error(model: nn.Module, pairs: _Pairs) -> Tensor:
    """Compute the squared error of restored spectra, [recording]."""
    restored = pairs.protected - _noise(model, pairs.protected)
    return (restored - pairs.clean).square().mean((1, 2, 3))


def _quality(model: nn.Module, pairs: _Pairs) -> float:
    return -float(_error(model, pairs).mean())


def _spectra(clips: Clips, level_of: Clips) -> Tensor:
    """Compute spectra at a level of 1: [clip and channel, 2, bin, frame]."""
    cells = stft(clips.audio.detach() / _level(level_of), clips.rate).flatten(0, 1)
    return torch.view_as_real(cells).movedim(-1, 1)


def _level(clips: Clips) -> Tensor:
    """Compute the root mean square of each recording without its padding, [clip, 1, 1]."""
    count = clips.lengths.clamp_min(1).view(-1, 1, 1) * clips.audio.shape[1]
    return (energy(clips.audio) / count).sqrt().clamp_min(1e-5)
