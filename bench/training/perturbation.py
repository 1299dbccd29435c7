"""Perturbations being crafted: a bound for every sample or note, and a unit perturbation within it.

A perturbation is `bound * unit[key]`: a bound for every sample of every clip, zero where nothing may be added, and a
unit perturbation within -1..1 for every key. The key of a clip is the clip itself, its class, or the set, so that one
implementation covers sample-wise, class-wise and universal noise.

In rolls the velocities of notes are perturbed: the bound is zero except at onsets, a note keeps the velocity of its
onset throughout, and no note becomes silent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from bench.api import Clips, Data, Rolls
from bench.errors import DataError
from bench.notes.velocities import SOFTEST, beginnings, rounded, sustained
from bench.vocabulary import PerDomain

__all__ = ["Noise", "Scope", "noise_bound"]

Scope = Literal["clip", "class", "set"]
"""The items that share one perturbation."""

S = TypeVar("S", bound=Clips | Rolls)
_TINY = 1e-9


@dataclass(eq=False)
class Noise:
    """A perturbation that is being crafted.

    Attributes:
        bound: [clip, 1, sample] or [roll, track, step, pitch], at least 0.
        unit: [key, channel, sample] or [key, track, step, pitch], within -1..1.
        key: int64 [clip], the row of `unit` that perturbs a clip.
        shared: whether one unit perturbation serves several clips; if not, each clip's key is its own index.
    """

    bound: Tensor
    unit: Tensor
    key: Tensor
    shared: bool

    @classmethod
    def silent(cls, data: Data, bound: Tensor, per: Scope) -> Noise:
        """Create a perturbation of zeros.

        Args:
            data: The items to perturb.
            bound: As `noise_bound` gives it.
            per: The items that share one perturbation.

        Returns:
            The perturbation.

        Raises:
            DataError: `per` is "class" and the items have no labels.
        """
        if per == "class":
            if data.labels is None:
                raise DataError("per = 'class', but the items have no labels: expected per = 'clip' or 'set'")
            key, keys = data.labels, len(data.classes)
        elif per == "clip":
            key, keys = torch.arange(len(data), device=data.device), len(data)
        else:
            key, keys = torch.zeros(len(data), dtype=torch.int64, device=data.device), 1
        return cls(bound, torch.zeros(keys, *data.signal.shape[1:], device=data.device), key, per != "clip")

    def select(self, index: Tensor) -> Noise:
        """Return the perturbation of some items; shared rows of `unit` are views of this one's, others copies.

        Args:
            index: int64 [item].

        Returns:
            The perturbation, to be passed to `update` when it has been changed.
        """
        if self.shared:
            return Noise(self.bound[index], self.unit, self.key[index], True)
        return Noise(self.bound[index], self.unit[index], torch.arange(len(index), device=index.device), False)

    def update(self, index: Tensor, part: Noise) -> None:
        """Store the perturbation of some items.

        Args:
            index: int64 [item], as it was given to `select`.
            part: What `select` gave, changed.
        """
        if not self.shared:
            self.unit[index] = part.unit

    def added(self, data: S) -> S:
        """Perturb the items that this perturbation is for, differentiably.

        Args:
            data: As many items as `key` has, in the same order.

        Returns:
            The same items: audio within -1..1, or whole velocities of at least 1.
        """
        unit = self.unit[self.key] if self.shared else self.unit
        perturbed: S = _ADDED.of(data)(data, self.bound * unit)
        return perturbed

    def everywhere(self, data: S) -> S:
        """Perturb the whole set; noise in the padding of clips extends their recorded length.

        Args:
            data: The set.

        Returns:
            The perturbed set.
        """
        perturbed: S = _LENGTHENED.of(data)(self.added(data), self.bound)
        return perturbed

    def move(self, slope: Tensor, step: float) -> None:
        """Take one sign step down the gradient of a loss, in place.

        Args:
            slope: Gradient with respect to the perturbed audio, or the velocities of onsets; NaN has the sign 0.
            step: In units of the bound.
        """
        if self.shared:
            slope = torch.zeros_like(self.unit).index_add_(0, self.key, slope * self.bound)
        self.unit.add_(slope.sign(), alpha=-step).clamp_(-1.0, 1.0)

    def restart(self, data: Data) -> None:
        """Continue from clip(x + delta, +-bound), as the defense `signal_copy` does; for noise that is not shared.

        Args:
            data: The clean items.
        """
        offset = self.bound * self.unit + data.signal
        self.unit = torch.where(self.bound > 0, offset / self.bound.clamp_min(_TINY), 0.0).clamp(-1.0, 1.0)


def noise_bound(data: Data, epsilon: float, *, padding: bool) -> Tensor:
    """Return a constant bound.

    Args:
        data: The items to perturb.
        epsilon: Of full scale; for rolls it is rounded down to whole MIDI velocities (of 127).
        padding: Whether noise may lie in the padding of clips.

    Returns:
        For clips [clip, 1, sample]: epsilon within the recording, or in its padding too. For rolls [roll, track, step,
        pitch]: epsilon where notes begin.
    """
    return _BOUND.of(data)(data, epsilon, padding)


def _clips_bound(data: Clips, epsilon: float, padding: bool) -> Tensor:
    return epsilon * (torch.ones_like(data.support) if padding else data.support).to(data.audio.dtype)


def _rolls_bound(data: Rolls, epsilon: float, padding: bool) -> Tensor:
    return math.floor(127 * epsilon + 1e-6) / 127 * beginnings(data).to(data.velocity.dtype)


def _clips_added(clips: Clips, change: Tensor) -> Clips:
    """Add a change to clips; `change` is overwritten."""
    return clips.with_audio(change.add_(clips.audio).clamp_(-1.0, 1.0))


def _rolls_added(rolls: Rolls, change: Tensor) -> Rolls:
    return sustained(rolls, rounded((rolls.velocity + change).clamp(min=SOFTEST)))


def _clips_lengthened(clips: Clips, bound: Tensor) -> Clips:
    reach = (bound[:, 0] > 0) * torch.arange(1, clips.audio.shape[-1] + 1, device=clips.device)
    return replace(clips, lengths=torch.maximum(clips.lengths, reach.amax(1)))


_BOUND: PerDomain[Callable[[Any, float, bool], Tensor]] = PerDomain(audio=_clips_bound, midi=_rolls_bound)
_ADDED: PerDomain[Callable[[Any, Tensor], Any]] = PerDomain(audio=_clips_added, midi=_rolls_added)
_LENGTHENED: PerDomain[Callable[[Any, Tensor], Any]] = PerDomain(
    audio=_clips_lengthened, midi=lambda rolls, bound: rolls
)
