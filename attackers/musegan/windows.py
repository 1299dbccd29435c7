"""The networks' input: windows of whole bars, seven octaves from C1, binary or with velocities.

A window is [track, step, pitch]. A roll's bars beyond its last whole window are not read; a roll shorter than one
window is padded with silence.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from bench.api import Rolls
from bench.notes.pitches import LOWEST, PITCHES
from bench.notes.velocities import beginnings
from bench.seeds import name_generator


def cut(rolls: Rolls, bars: int) -> tuple[Rolls, Tensor]:
    """Cut rolls into windows of whole bars; differentiable in velocities.

    Args:
        rolls: a set; what remains after its last whole window is left out, and a shorter roll is padded with silence.
        bars: bars of a window.

    Returns:
        The windows as a set of 84 pitches from C1, and int64 [window], the index of each window's roll.
    """
    size = bars * rolls.beats_per_bar * rolls.steps_per_beat
    tracks, steps = rolls.velocity.shape[1:3]
    count = -(-steps // size)
    low_padding, high_padding = rolls.lowest - LOWEST, LOWEST + PITCHES - rolls.lowest - rolls.velocity.shape[-1]
    window = torch.arange(count, device=rolls.device)
    owner, number = (window < (rolls.lengths // size).clamp(min=1)[:, None]).nonzero().unbind(1)

    def windows(cells: Tensor) -> Tensor:
        cells = functional.pad(cells, (low_padding, high_padding, 0, count * size - steps))  # negative padding cuts
        return cells.view(-1, tracks, count, size, PITCHES).transpose(1, 2)[owner, number]

    owners, numbers = owner.tolist(), number.tolist()
    windows_set = replace(
        rolls,
        velocity=windows(rolls.velocity),
        onset=windows(rolls.onset),
        ids=tuple(f"{rolls.ids[i]}/{k}" for i, k in zip(owners, numbers, strict=True)),
        groups=tuple(rolls.groups[i] for i in owners),
        lengths=torch.full_like(owner, size),
        tempo=rolls.tempo[owner],
        lowest=LOWEST,
        labels=None if rolls.labels is None else rolls.labels[owner],
        texts=tuple(rolls.texts[i] for i in owners) if rolls.texts else (),
    )
    return windows_set, owner


def by_roll(values: Tensor, owner: Tensor, rolls: int) -> Tensor:
    """Average values over each roll's windows.

    Args:
        values: float [window].
        owner: int64 [window], the index of each window's roll.
        rolls: how many rolls there are.

    Returns:
        float [roll].
    """
    total = torch.zeros(rolls, dtype=values.dtype, device=values.device).index_add(0, owner, values)
    return total / torch.bincount(owner, minlength=rolls)


def binary(velocity: Tensor) -> Tensor:
    """Set velocities to 1 where a cell sounds, else 0, with a straight-through gradient."""
    return velocity + ((velocity.detach() > 0).to(velocity.dtype) - velocity.detach())


def with_velocity(like: Rolls, velocity: Tensor) -> Rolls:
    """Replace the velocities of a set; a note then begins only where the previous cell is silent.

    Args:
        like: the set.
        velocity: float [roll, track, step, pitch].
    """
    rolls = replace(like, velocity=velocity, onset=torch.zeros_like(velocity, dtype=torch.bool))
    return replace(rolls, onset=beginnings(rolls))


def shuffled(windows: Rolls) -> Rolls:
    """Shuffle the beats of every track, in an order of its own that is seeded by the window's id."""
    beat, (count, tracks, steps) = windows.steps_per_beat, windows.velocity.shape[:3]
    order = torch.empty(count, tracks, steps // beat, device="cpu")
    for i, name in enumerate(windows.ids):
        torch.rand(order[i].shape, generator=name_generator(name), out=order[i], device="cpu")
    offsets = torch.arange(beat, device=windows.device)
    step = (order.argsort(2).to(windows.device)[..., None] * beat + offsets).flatten(2)
    return with_velocity(windows, windows.velocity.gather(2, step[..., None].expand_as(windows.velocity)))
