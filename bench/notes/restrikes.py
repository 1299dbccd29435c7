"""Notes struck again while they sound ("ghosts"): where this is possible, how it is written, how it is undone.

Two notes of one pitch cannot overlap on a channel: common parsers cut the first, swap the two or lengthen it. A
*ghost*, a note inside a note of the same pitch, is therefore written as three adjacent notes: note | ghost | note. On
the grid only onsets and velocities change; a MIDI file represents the result exactly.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from bench.api import Rolls
from bench.notes.rolls import Notes, notes_of
from bench.notes.velocities import beginnings, sustained
from bench.sound.masking import threshold_in_quiet

__all__ = ["dominant", "merged", "remerge", "split", "threshold_velocity", "touching"]


def threshold_velocity(pitch: Tensor, level_127_db: float = 80.0) -> Tensor:
    """Compute H(f), the least MIDI velocity that is audible in quiet.

    `H(f) = clip(ceil(127 * 10^((T_q(f) - L_127) / 40)), 1, 127)`: Terhardt's threshold in quiet T_q in dB SPL (Acustica
    1979), and the velocity law of DLS, a gain of 40 log10(v / 127) dB.

    Args:
        pitch: MIDI pitches, any shape.
        level_127_db: dB SPL at the listener of a note of velocity 127.

    Returns:
        float64 in the shape of `pitch`, whole numbers 1..127.
    """
    hz = 440.0 * 2 ** ((pitch.double() - 69) / 12)
    return (127 * 10 ** ((threshold_in_quiet(hz) - level_127_db) / 40)).ceil().clamp(1, 127)


def dominant(rolls: Rolls, window: int) -> Tensor:
    """Find the pitch of the largest cumulative velocity in every window.

    Args:
        rolls: the set.
        window: steps; the last window may be cut short by the end of the rolls.

    Returns:
        int64 [roll, track, window], the pitch cell, -1 where nothing sounds.
    """
    velocity = rolls.velocity.detach()
    padded = functional.pad(velocity, (0, 0, 0, -velocity.shape[2] % window))
    total = padded.reshape(*padded.shape[:2], -1, window, padded.shape[3]).sum(3)
    return torch.where(total.amax(-1) > 0, total.argmax(-1), -1)


def split(rolls: Rolls, mask: Tensor, velocity: Tensor) -> Rolls:
    """Add ghosts of one step: note | ghost | note.

    Args:
        rolls: The set.
        mask: bool [roll, track, step, pitch], the ghosts; cells that are silent or begin a note are ignored.
        velocity: The same shape, 0..1, of the ghosts; differentiable.

    Returns:
        Rolls in which a note continues at its own velocity after a ghost, if it continues.
    """
    begins, sounds = beginnings(rolls), rolls.velocity.detach() > 0
    ghost = mask & sounds & ~begins
    after = functional.pad(ghost, (0, 0, 1, 0))[:, :, :-1] & sounds
    # The cell after a ghost has the masking note's velocity, which is constant along the note.
    return sustained(replace(rolls, onset=begins | ghost | after), torch.where(ghost, velocity, rolls.velocity))


def remerge(rolls: Rolls, longest: int = 1) -> Rolls:
    """Undo ghosts: note | ghost | note, or note | ghost at its end, becomes one note again.

    A ghost is softer than the note directly before it. If the note directly after it is as loud as the one before, to a
    whole MIDI velocity, it is merged as well. A note that contains a ghost is not itself taken for one. This undoes
    `split`, and also merges genuine repeats that are as short, softer and without a gap.

    Args:
        rolls: The set.
        longest: The most steps of a ghost.

    Returns:
        The set without ghosts.
    """
    notes = notes_of(rolls)
    abuts = touching(notes)
    loud = (notes.velocity * 127).round()
    candidate = abuts & (notes.duration <= longest) & (loud < loud.roll(1))
    enclosed = candidate & abuts.roll(-1) & (loud.roll(-1) == loud.roll(1))
    ghost = enclosed | (candidate & ~enclosed.roll(-1))
    return merged(rolls, notes, ghost | enclosed.roll(1))


def touching(notes: Notes) -> Tensor:
    """Tell which notes begin where the one before them, of the same pitch on the same track, ends.

    Args:
        notes: Ordered by pitch, then time, as `notes_of` gives them.

    Returns:
        bool [note].
    """
    same = torch.stack([notes.roll, notes.track, notes.pitch]).diff(dim=1).eq(0).all(0)
    return functional.pad(same & (notes.end[:-1] == notes.start[1:]), (1, 0))


def merged(rolls: Rolls, notes: Notes, continuing: Tensor) -> Rolls:
    """Let notes continue the one that they touch, at its velocity.

    Args:
        rolls: The set.
        notes: Its notes.
        continuing: bool [note]; of notes that are `touching` only.

    Returns:
        The set in which only the other notes begin.
    """
    first = ~continuing
    onset = torch.zeros_like(rolls.onset)
    onset[notes.roll[first], notes.track[first], notes.start[first], notes.pitch[first] - rolls.lowest] = True
    return sustained(replace(rolls, onset=onset), rolls.velocity)
